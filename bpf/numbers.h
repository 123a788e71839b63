/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The numbers of an event, and what is looked up as if it were one: flags, and the codes of
 * the values of enumerated fields.
 */
#ifndef BITTERN_NUMBERS_H
#define BITTERN_NUMBERS_H

#include "text.h"
#include <bpf/bpf_endian.h>

/* The code of network.type's value. An IPv4 address that is mapped into IPv6 is one of IPv4. */
static __always_inline __u32 type_code(__u32 family, const __u8 *address)
{
	const __u32 *words = (const __u32 *)address;

	if (family == 4 || (family == 6 && !words[0] && !words[1] && words[2] == bpf_htonl(0xffff)))
		return 1;
	return family == 6 ? 2 : 0;
}

#define NUMBER(field, value) match_number(s, field, value)
#define FLAG(field, flag)    NUMBER(field, !!(flags & (flag)))
#define KNOWN(field, value, none)             \
	do {                                  \
		if ((value) != (none))        \
			NUMBER(field, value); \
	} while (0)

static __always_inline void match_process_numbers(struct workspace *s, const struct record *r)
{
	__u32 flags = r->header.flags;

	NUMBER(KEY_PID, r->pid);
	NUMBER(KEY_PARENT_PID, r->parent_pid);
	NUMBER(KEY_UID, r->uid);
	NUMBER(KEY_EUID, r->euid);
	NUMBER(KEY_GID, r->gid);
	FLAG(KEY_EXECUTABLE_TRUNCATED, RECORD_EXECUTABLE_TRUNCATED);
	FLAG(KEY_EXECUTABLE_DELETED, RECORD_EXECUTABLE_DELETED);
	FLAG(KEY_EXECUTABLE_MEMFD, RECORD_EXECUTABLE_MEMFD);
	FLAG(KEY_ARGS_TRUNCATED, RECORD_ARGS_TRUNCATED);
	FLAG(KEY_PARENT_EXECUTABLE_TRUNCATED, RECORD_PARENT_EXECUTABLE_TRUNCATED);
	FLAG(KEY_PARENT_ARGS_TRUNCATED, RECORD_PARENT_ARGS_TRUNCATED);
}

#define BITS_AT_ONCE 8

/* One look-up for each of some bits that is set; the code of bit n is n+1. A global function,
 * see workspace.h. */
__noinline int hit_bits(__u32 workspace, __u32 field, __u64 bits, __u32 first)
{
	for (__u32 i = 0; i < BITS_AT_ONCE; i++) {
		if (bits >> i & 1)
			hit_number(workspace, field, first + i + 1);
	}
	return 0;
}

static __always_inline void match_bits(struct workspace *s, __u32 field, __u64 bits)
{
	if (!wants_number(s, field))
		return;
	for (__u32 i = 0; i < 64; i += BITS_AT_ONCE)
		hit_bits(s->id, field, bits >> i, i);
}

/* The code of network.transport's value. */
static __always_inline __u32 transport_code(__u32 protocol)
{
	return protocol == 6 ? 1 : protocol == 17 ? 2 : 0;
}

static __always_inline void match_network_numbers(struct workspace *s, const struct record *r)
{
	NUMBER(KEY_DESTINATION_PORT, r->port);
	NUMBER(KEY_SOURCE_PORT, r->source_port);
	KNOWN(KEY_TRANSPORT, transport_code(r->transport), 0);
	if (r->family)
		NUMBER(KEY_NETWORK_TYPE, type_code(r->family, r->address));
	else if (r->source_family)
		NUMBER(KEY_NETWORK_TYPE, type_code(r->source_family, r->source));
}

static __always_inline void match_file_numbers(struct workspace *s, const struct record *r)
{
	__u32 flags = r->header.flags;

	FLAG(KEY_FILE_PATH_TRUNCATED, RECORD_FILE_PATH_TRUNCATED);
	FLAG(KEY_PATH_CLAIMED, RECORD_PATH_CLAIMED);
	FLAG(KEY_OPEN_READ, RECORD_OPEN_READ);
	FLAG(KEY_OPEN_WRITE, RECORD_OPEN_WRITE);
	FLAG(KEY_OPEN_CREATE, RECORD_OPEN_CREATE);
	FLAG(KEY_OPEN_TRUNCATE, RECORD_OPEN_TRUNCATE);
	FLAG(KEY_NEW_PATH_TRUNCATED, RECORD_NEW_PATH_TRUNCATED);
	if (flags & RECORD_MODE_KNOWN) {
		NUMBER(KEY_MODE_SETUID, !!(r->mode & 04000));
		NUMBER(KEY_MODE_SETGID, !!(r->mode & 02000));
		NUMBER(KEY_MODE_EXECUTABLE, !!(r->mode & 0111));
		NUMBER(KEY_MODE_WORLD_WRITABLE, !!(r->mode & 0002));
	}
	KNOWN(KEY_FILE_UID, r->file_uid, NO_ID);
	KNOWN(KEY_FILE_GID, r->file_gid, NO_ID);
}

static __always_inline void match_privilege_numbers(struct workspace *s, const struct record *r)
{
	match_bits(s, KEY_CAPABILITY, r->capabilities);
	match_bits(s, KEY_NAMESPACE, r->namespaces);
	KNOWN(KEY_TARGET_PID, r->target_pid, 0);
	KNOWN(KEY_NEW_UID, r->new_uid, NO_ID);
	KNOWN(KEY_NEW_EUID, r->new_euid, NO_ID);
	KNOWN(KEY_NEW_GID, r->new_gid, NO_ID);
}

/* The numbers of the event of a workspace. A global function, see workspace.h. */
__noinline int match_numbers(__u32 workspace)
{
	struct workspace *s = workspace_of(workspace);
	struct record *r;

	if (!s)
		return 0;
	r = &s->event.record;
	match_process_numbers(s, r);
	KNOWN(KEY_OPERATION, r->operation, 0);
	switch (r->header.class) {
	case EVENT_PROCESS_EXEC:
		NUMBER(KEY_ARGS_COUNT, r->args_count);
		NUMBER(KEY_CWD_TRUNCATED, !!(r->header.flags & RECORD_CWD_TRUNCATED));
		break;
	case EVENT_PROCESS_EXIT:
		NUMBER(KEY_EXIT_CODE, r->exit_code >> 8 & 0xff);
		NUMBER(KEY_EXIT_SIGNAL, r->exit_code & 0x7f);
		break;
	case EVENT_NETWORK_CONNECT:
	case EVENT_NETWORK_LISTEN:
		match_network_numbers(s, r);
		break;
	case EVENT_PRIVILEGE_CHANGE:
		match_privilege_numbers(s, r);
		match_file_numbers(s, r);
		break;
	case EVENT_KERNEL_CHANGE:
		KNOWN(KEY_KERNEL_TYPE, r->kernel_type, 0);
		match_file_numbers(s, r);
		break;
	default:
		match_file_numbers(s, r);
	}
	return 0;
}

#undef KNOWN
#undef FLAG
#undef NUMBER

#endif
