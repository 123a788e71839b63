/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A process_exec event while it is put together, and its matching. Shared by the
 * hook and by the harness that judges events without one.
 */
#ifndef BITTERN_EXEC_H
#define BITTERN_EXEC_H

#include "event.h"
#include "text.h"
#include <bpf/bpf_helpers.h>

struct event {
	struct record record;
	/* Past DATA_BYTES: room to overrun by one string, and for the versions. */
	char data[DATA_BYTES + PATH_BYTES];
};

static __always_inline void begin_event(struct event *e)
{
	__builtin_memset(&e->record, 0, sizeof(e->record));
}

/* Appends a string to the data, padded with NUL to eight bytes. */
static __always_inline void put_string(struct event *e, struct span *span, const void *from,
				       __u32 length)
{
	__u32 offset = e->record.header.data & (DATA_BYTES - 1);

	if (length > PATH_BYTES)
		length = PATH_BYTES;
	*(__u64 *)&e->data[offset + (length & ~7U)] = 0;
	if (bpf_probe_read_kernel(&e->data[offset], length, from))
		length = 0;
	span->offset = offset;
	span->length = length;
	e->record.header.data = offset + ((length + 7) & ~7U);
}

struct same_walk {
	const struct event *e;
	__u32 a, b;
	bool differ;
};

static long same_at(__u32 i, void *ctx)
{
	struct same_walk *w = ctx;

	w->differ = *(__u64 *)&w->e->data[(w->a + 8 * i) & (DATA_BYTES - 8)] !=
		    *(__u64 *)&w->e->data[(w->b + 8 * i) & (DATA_BYTES - 8)];
	return w->differ;
}

/*
 * Takes back string b, the last one put, if it is the same as a: mostly a program
 * is invoked by its own path. It is then sent once and looked up once.
 */
static __always_inline void share_string(struct event *e, struct span a, struct span *b)
{
	struct same_walk w = { .e = e, .a = a.offset, .b = b->offset };

	if (a.length != b->length || !a.length)
		return;
	bpf_loop((a.length + 7) / 8, same_at, &w, 0);
	if (w.differ)
		return;
	e->record.header.data = b->offset;
	b->offset = a.offset;
}

static __always_inline bool same_span(struct span a, struct span b)
{
	return a.offset == b.offset && a.length == b.length;
}

/* Appends the survivors' versions; returns the size of the record. */
static __always_inline __u32 finish_record(struct event *e, struct match_scratch *m)
{
	__u32 data = e->record.header.data & (DATA_BYTES - 1) & ~7U;
	__u32 n = m->survivors;

	if (n > RECORD_VERSIONS) {
		n = RECORD_VERSIONS;
		e->record.header.flags |= RECORD_SPILLED;
	}
	bpf_probe_read_kernel(&e->data[data], n * 8, m->versions);
	e->record.header.versions = n;
	return sizeof(e->record) + data + n * 8;
}

static __always_inline void match_span(struct match_scratch *m, struct event *e, __u32 field,
				       struct span span, bool args)
{
	__u32 length = span.length;

	/* The NUL that ends the last argument is no part of the command line. */
	if (args && length && !e->data[(span.offset + length - 1) & (DATA_BYTES - 1)])
		length--;
	if (length > PATH_BYTES)
		length = PATH_BYTES;
	load_text(m, &e->data[span.offset & (DATA_BYTES - 1)], length);
	match_text(field, length, args);
}

/*
 * Looks up all that the event holds, between match_begin and match_end. This is
 * the one place that says which values the keys of a field are compared with.
 * rules.KernelField and event.Event.Strings say the same in Go. Paths that are
 * empty are not known, so nothing matches them; a command line is always known.
 */
static __always_inline void match_exec(struct match_scratch *m, struct event *e)
{
	struct record *r = &e->record;
	struct control_block *c = controls();
	__u32 flags = r->header.flags;
	struct class_use *use;
	__u64 text, grams, numbers;

	match_begin(m, EVENT_PROCESS_EXEC);
	if (!c)
		return;
	use = &c->in_use[EVENT_PROCESS_EXEC];
	text = *(volatile __u64 *)&use->text;
	grams = *(volatile __u64 *)&use->gram;
	numbers = *(volatile __u64 *)&use->number;

#define WANTED(field) \
	((text >> ((field) * WAYS) & ((1 << WAYS) - 1)) || (grams >> ((field) * 4) & 0xf))

	if (WANTED(KEY_EXECUTABLE)) {
		if (r->executable.length)
			match_span(m, e, KEY_EXECUTABLE, r->executable, false);
		if (r->invoked.length && !same_span(r->invoked, r->executable))
			match_span(m, e, KEY_EXECUTABLE, r->invoked, false);
	}
	if (WANTED(KEY_PARENT_EXECUTABLE)) {
		if (r->parent_executable.length)
			match_span(m, e, KEY_PARENT_EXECUTABLE, r->parent_executable, false);
		if (r->parent_invoked.length && !same_span(r->parent_invoked, r->parent_executable))
			match_span(m, e, KEY_PARENT_EXECUTABLE, r->parent_invoked, false);
	}
	if (WANTED(KEY_CWD) && r->cwd.length)
		match_span(m, e, KEY_CWD, r->cwd, false);
	if (WANTED(KEY_COMMAND_LINE))
		match_span(m, e, KEY_COMMAND_LINE, r->args, true);
	if (WANTED(KEY_PARENT_COMMAND_LINE))
		match_span(m, e, KEY_PARENT_COMMAND_LINE, r->parent_args, true);
#undef WANTED

	if (numbers) {
		match_number(m, numbers, KEY_PID, r->pid);
		match_number(m, numbers, KEY_PARENT_PID, r->parent_pid);
		match_number(m, numbers, KEY_ARGS_COUNT, r->args_count);
		match_number(m, numbers, KEY_UID, r->uid);
		match_number(m, numbers, KEY_EUID, r->euid);
		match_number(m, numbers, KEY_GID, r->gid);
		match_number(m, numbers, KEY_EXECUTABLE_TRUNCATED,
			     !!(flags & RECORD_EXECUTABLE_TRUNCATED));
		match_number(m, numbers, KEY_ARGS_TRUNCATED, !!(flags & RECORD_ARGS_TRUNCATED));
		match_number(m, numbers, KEY_CWD_TRUNCATED, !!(flags & RECORD_CWD_TRUNCATED));
		match_number(m, numbers, KEY_PARENT_EXECUTABLE_TRUNCATED,
			     !!(flags & RECORD_PARENT_EXECUTABLE_TRUNCATED));
		match_number(m, numbers, KEY_PARENT_ARGS_TRUNCATED,
			     !!(flags & RECORD_PARENT_ARGS_TRUNCATED));
	}
}

#endif
