/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * System calls, for the last fallbacks: hooks at their end. Numbers and descriptors in
 * registers are the kernel's copy. What they point to is not: another thread can change
 * it at any moment, and paths from there are marked as claimed.
 */
#ifndef BITTERN_SYSCALL_H
#define BITTERN_SYSCALL_H

#include "task.h"

/* include/linux/fs.h, include/uapi/asm-generic/fcntl.h and include/uapi/linux/fcntl.h */
#define FMODE_READ    0x1
#define FMODE_WRITE   0x2
#define FMODE_CREATED 0x100000
#define FMODE_EXEC    0x20 /* in f_flags */
#define O_WRONLY      01
#define O_CREAT	      0100
#define O_TRUNC	      01000
#define O_PATH	      010000000
#define AT_FDCWD      -100
#define AT_REMOVEDIR  0x200

#ifdef __TARGET_ARCH_x86

#define TS_COMPAT 0x0002 /* arch/x86/include/asm/thread_info.h */

static __always_inline bool is_compat(void)
{
	return BPF_CORE_READ(current_task(), thread_info.status) & TS_COMPAT;
}

#define X32_BIT 0x40000000 /* arch/x86/include/uapi/asm/unistd.h */

/*
 * The number of the system call: the lower half of the register, since the kernel looks at no
 * more (before 5.14, while its end is hooked). A call of the x32 ABI, which any process may
 * make where the kernel has it, is the one of 64 bits that does the same.
 */
static __always_inline __u32 number_of(struct pt_regs *regs)
{
	__u32 number = regs->orig_ax;

	if (!(number & X32_BIT))
		return number;
	number &= ~X32_BIT;
	/* It has some of its own. */
	switch (number) {
	case 521: /* ptrace */
		return 101;
	case 528: /* kexec_load */
		return 246;
	case 539: /* process_vm_readv */
		return 310;
	case 540: /* process_vm_writev */
		return 311;
	}
	return number;
}

/* Argument n of the system call, counted from 1. */
static __always_inline __u64 argument(struct pt_regs *regs, __u32 n, bool compat)
{
	if (compat)
		return (__u32)(n == 1 ? regs->bx :
			       n == 2 ? regs->cx :
			       n == 3 ? regs->dx :
			       n == 4 ? regs->si :
					regs->di);
	return n == 1 ? regs->di :
	       n == 2 ? regs->si :
	       n == 3 ? regs->dx :
	       n == 4 ? regs->r10 :
			regs->r8;
}

/* System call numbers, of 64 bits and of 32. */
enum {
	NR_OPEN = 2,
	NR_CREAT = 85,
	NR_OPENAT = 257,
	NR_OPEN_BY_HANDLE_AT = 304,
	NR_OPENAT2 = 437,
	NR32_OPEN = 5,
	NR32_CREAT = 8,
	NR32_OPENAT = 295,
	NR32_OPEN_BY_HANDLE_AT = 342,
};

/*
 * The flags given to the system call, or false if it opens no file. By now f_flags has
 * lost O_CREAT and O_TRUNC. Only what openat2 points to could have been changed meanwhile.
 */
static __always_inline bool open_flags(struct pt_regs *regs, __u32 *flags)
{
	__u64 how = 0;

	switch (number_of(regs)) {
	case NR_OPEN:
		*flags = regs->si;
		return !is_compat();
	case NR_CREAT:
		*flags = O_CREAT | O_TRUNC | O_WRONLY;
		return !is_compat();
	case NR_OPENAT:
	case NR_OPEN_BY_HANDLE_AT:
		*flags = regs->dx;
		return !is_compat();
	case NR_OPENAT2: /* the number is the same in both */
		bpf_probe_read_user(&how, sizeof(how), (void *)regs->dx);
		*flags = how;
		return true;
	case NR32_OPEN:
		*flags = regs->cx;
		return is_compat();
	case NR32_CREAT:
		*flags = O_CREAT | O_TRUNC | O_WRONLY;
		return is_compat();
	case NR32_OPENAT:
	case NR32_OPEN_BY_HANDLE_AT:
		*flags = regs->dx;
		return is_compat();
	}
	return false;
}

#endif
#endif
