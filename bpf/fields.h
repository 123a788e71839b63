/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Which values the keys of a field are compared with: the one place that says so.
 * rules.KernelField and event.Event.Strings and Number say the same in Go.
 */
#ifndef BITTERN_FIELDS_H
#define BITTERN_FIELDS_H

#include "text.h"

/* The look-ups that a live rule of a class needs, read once for an event. */
struct wanted {
	__u64 text, gram, number;
};

#define TEXT_OF(field) ((__u64)((1 << WAYS) - 1) << ((field) * WAYS))
#define GRAM_OF(field) (0xfULL << ((field) * 4))

static __always_inline bool wants(const struct wanted *w, __u32 field)
{
	return w->text & TEXT_OF(field) || w->gram & GRAM_OF(field);
}

/* Whether a rule of the class looks at a string of the process or of its parent. */
static __always_inline bool wants_process(const struct wanted *w)
{
	const __u64 text = TEXT_OF(KEY_EXECUTABLE) | TEXT_OF(KEY_PARENT_EXECUTABLE) |
			   TEXT_OF(KEY_COMMAND_LINE) | TEXT_OF(KEY_PARENT_COMMAND_LINE);
	const __u64 gram = GRAM_OF(KEY_EXECUTABLE) | GRAM_OF(KEY_PARENT_EXECUTABLE) |
			   GRAM_OF(KEY_COMMAND_LINE) | GRAM_OF(KEY_PARENT_COMMAND_LINE);
	const __u64 number = 1ULL << KEY_PARENT_PID | 1ULL << KEY_EXECUTABLE_TRUNCATED |
			     1ULL << KEY_ARGS_TRUNCATED | 1ULL << KEY_PARENT_EXECUTABLE_TRUNCATED |
			     1ULL << KEY_PARENT_ARGS_TRUNCATED;

	return w->text & text || w->gram & gram || w->number & number;
}

/* False if no rule of the class is live: the event need not be looked at. */
static __always_inline bool read_wanted(struct wanted *w, __u32 class)
{
	struct control_block *c = controls();
	__u64 *always = bpf_map_lookup_elem(&rows, &class);

	if (!c || !always || class >= EVENT_CLASS_COUNT)
		return false;
	w->text = *(volatile __u64 *)&c->in_use[class].text;
	w->gram = *(volatile __u64 *)&c->in_use[class].gram;
	w->number = *(volatile __u64 *)&c->in_use[class].number;
	/* The low half counts the cells of clauses that every event hits. */
	return w->text || w->gram || w->number || (__u32) * (volatile __u64 *)always;
}

static __always_inline void match_span(struct workspace *s, __u32 field, struct span span,
				       bool args)
{
	struct event *e = &s->event;
	__u32 length = span.length;

	/* The NUL that ends the last argument is no part of the command line. */
	if (args && length && !e->data[(span.offset + length - 1) & (DATA_BYTES - 1)])
		length--;
	if (length > PATH_BYTES)
		length = PATH_BYTES;
	load_text(&s->match, &e->data[span.offset & (DATA_BYTES - 1)], length);
	match_text(s->id, field, length, args);
}

/* Two values of one field; the second is mostly the same as the first. */
static __always_inline void match_paths(struct workspace *s, __u32 field, struct span one,
					struct span other)
{
	if (one.length)
		match_span(s, field, one, false);
	if (other.length && !same_span(other, one))
		match_span(s, field, other, false);
}

static __always_inline void match_numbers(struct match_scratch *m, const struct record *r,
					  __u64 wanted)
{
	__u32 flags = r->header.flags;

#define NUMBER(field, value) match_number(m, wanted, field, value)
#define FLAG(field, flag)    NUMBER(field, !!(flags & (flag)))
	NUMBER(KEY_PID, r->pid);
	NUMBER(KEY_PARENT_PID, r->parent_pid);
	NUMBER(KEY_ARGS_COUNT, r->args_count);
	NUMBER(KEY_UID, r->uid);
	NUMBER(KEY_EUID, r->euid);
	NUMBER(KEY_GID, r->gid);
	FLAG(KEY_EXECUTABLE_TRUNCATED, RECORD_EXECUTABLE_TRUNCATED);
	FLAG(KEY_ARGS_TRUNCATED, RECORD_ARGS_TRUNCATED);
	FLAG(KEY_CWD_TRUNCATED, RECORD_CWD_TRUNCATED);
	FLAG(KEY_PARENT_EXECUTABLE_TRUNCATED, RECORD_PARENT_EXECUTABLE_TRUNCATED);
	FLAG(KEY_PARENT_ARGS_TRUNCATED, RECORD_PARENT_ARGS_TRUNCATED);
	NUMBER(KEY_EXIT_CODE, r->exit_code >> 8 & 0xff);
	NUMBER(KEY_EXIT_SIGNAL, r->exit_code & 0x7f);
	FLAG(KEY_FILE_PATH_TRUNCATED, RECORD_FILE_PATH_TRUNCATED);
	FLAG(KEY_OPEN_READ, RECORD_OPEN_READ);
	FLAG(KEY_OPEN_WRITE, RECORD_OPEN_WRITE);
	FLAG(KEY_OPEN_CREATE, RECORD_OPEN_CREATE);
	FLAG(KEY_OPEN_TRUNCATE, RECORD_OPEN_TRUNCATE);
	NUMBER(KEY_DESTINATION_PORT, r->port);
#undef FLAG
#undef NUMBER
}

/*
 * Looks up all that the event of a workspace holds, between match_begin and match_end.
 * Paths that are empty are not known, so nothing matches them; a command line is always
 * known. A global function, see match_text.
 */
__noinline int match_event(__u32 workspace)
{
	struct workspace *s = bpf_map_lookup_elem(&workspaces, &workspace);
	struct wanted w = {};
	struct record *r;

	if (!s)
		return 0;
	r = &s->event.record;
	read_wanted(&w, r->header.class);
	if (wants(&w, KEY_EXECUTABLE))
		match_paths(s, KEY_EXECUTABLE, r->executable, r->invoked);
	if (wants(&w, KEY_PARENT_EXECUTABLE))
		match_paths(s, KEY_PARENT_EXECUTABLE, r->parent_executable, r->parent_invoked);
	if (wants(&w, KEY_CWD) && r->cwd.length)
		match_span(s, KEY_CWD, r->cwd, false);
	if (wants(&w, KEY_COMMAND_LINE))
		match_span(s, KEY_COMMAND_LINE, r->args, true);
	if (wants(&w, KEY_PARENT_COMMAND_LINE))
		match_span(s, KEY_PARENT_COMMAND_LINE, r->parent_args, true);
	if (wants(&w, KEY_FILE_PATH) && r->file_path.length)
		match_span(s, KEY_FILE_PATH, r->file_path, false);
	if (w.number)
		match_numbers(&s->match, r, w.number);
	return 0;
}

#endif
