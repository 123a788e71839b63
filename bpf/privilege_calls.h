/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The system calls that change privileges, as data, for hosts where nothing better than
 * their end can be hooked.
 */
#ifndef BITTERN_PRIVILEGE_CALLS_H
#define BITTERN_PRIVILEGE_CALLS_H

#include "event.h"

#ifdef __TARGET_ARCH_x86

/* include/uapi/linux/ptrace.h */
#define PTRACE_TRACEME 0
#define PTRACE_ATTACH  16
#define PTRACE_SEIZE   0x4206

/* What a system call does, with the arguments that say more. */
struct privilege_call {
	__u8 operation;
	__u8 argument; /* counted from 1: the process, or the flags */
};

#define PRIVILEGE_CALLS 512
#define NR_CLONE	56

/* By the number of the system call of 64 bits. */
const struct privilege_call privilege_calls[PRIVILEGE_CALLS] = {
	[105] = { PRIVILEGE_SETUID },	       /* setuid */
	[113] = { PRIVILEGE_SETUID },	       /* setreuid */
	[117] = { PRIVILEGE_SETUID },	       /* setresuid */
	[122] = { PRIVILEGE_SETUID },	       /* setfsuid */
	[106] = { PRIVILEGE_SETGID },	       /* setgid */
	[114] = { PRIVILEGE_SETGID },	       /* setregid */
	[119] = { PRIVILEGE_SETGID },	       /* setresgid */
	[123] = { PRIVILEGE_SETGID },	       /* setfsgid */
	[126] = { PRIVILEGE_CAPSET },	       /* capset */
	[101] = { PRIVILEGE_PTRACE, 2 },       /* ptrace */
	[310] = { PRIVILEGE_PTRACE, 1 },       /* process_vm_readv */
	[311] = { PRIVILEGE_PTRACE, 1 },       /* process_vm_writev */
	[272] = { PRIVILEGE_UNSHARE, 1 },      /* unshare */
	[NR_CLONE] = { PRIVILEGE_UNSHARE, 1 }, /* clone */
	[308] = { PRIVILEGE_SETNS, 2 },	       /* setns */
	[165] = { PRIVILEGE_MOUNT },	       /* mount */
	[429] = { PRIVILEGE_MOUNT, 4 },	       /* move_mount */
};

/* By the number of the system call of 32 bits. */
const __u16 privilege_calls_compat[PRIVILEGE_CALLS] = {
	[23] = 105,  [70] = 113,  [164] = 117, [138] = 122, [203] = 113, [208] = 117, [213] = 105,
	[215] = 122, [46] = 106,  [71] = 114,  [170] = 119, [139] = 123, [204] = 114, [210] = 119,
	[214] = 106, [216] = 123, [185] = 126, [26] = 101,  [347] = 310, [348] = 311, [310] = 272,
	[120] = 56,  [346] = 308, [21] = 165,  [429] = 429,
};

#endif
#endif
