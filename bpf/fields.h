/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Which values the keys of a field are compared with: the one place that says so.
 * rules.KernelField and event.Event.Strings and Number say the same in Go.
 */
#ifndef BITTERN_FIELDS_H
#define BITTERN_FIELDS_H

#include "numbers.h"
#include "record.h"
#include "text.h"

/* The look-ups that live rules of a class need, read once for an event. */
struct wanted {
	struct looks all, first; /* as in class_use */
	bool always;		 /* there are clauses that every event hits */
};

#define TEXT_OF(field)	 ((__u64)((1 << WAYS) - 1) << ((field) * WAYS))
#define GRAM_OF(field)	 (0xfULL << ((field) * 4))
#define NUMBER_OF(field) (1ULL << (field))

static __always_inline bool wants(const struct looks *l, __u32 field)
{
	return l->text & TEXT_OF(field) || l->gram & GRAM_OF(field);
}

static __always_inline bool wants_identity(const struct looks *l)
{
	return l->number &
	       (NUMBER_OF(KEY_PID) | NUMBER_OF(KEY_UID) | NUMBER_OF(KEY_EUID) | NUMBER_OF(KEY_GID));
}

/* Whether something of what the process runs is looked at, its parent left out. */
static __always_inline bool wants_subject(const struct looks *l)
{
	const __u64 number = NUMBER_OF(KEY_EXECUTABLE_TRUNCATED) |
			     NUMBER_OF(KEY_EXECUTABLE_DELETED) | NUMBER_OF(KEY_EXECUTABLE_MEMFD) |
			     NUMBER_OF(KEY_ARGS_TRUNCATED);

	return wants(l, KEY_EXECUTABLE) || wants(l, KEY_COMMAND_LINE) || wants(l, KEY_SCRIPT) ||
	       l->number & number;
}

static __always_inline bool wants_parent(const struct looks *l)
{
	const __u64 number = NUMBER_OF(KEY_PARENT_PID) |
			     NUMBER_OF(KEY_PARENT_EXECUTABLE_TRUNCATED) |
			     NUMBER_OF(KEY_PARENT_ARGS_TRUNCATED);

	return wants(l, KEY_PARENT_EXECUTABLE) || wants(l, KEY_PARENT_COMMAND_LINE) ||
	       l->number & number;
}

static __always_inline void read_looks(struct looks *to, struct looks *from)
{
	to->text = *(volatile __u64 *)&from->text;
	to->gram = *(volatile __u64 *)&from->gram;
	to->number = *(volatile __u64 *)&from->number;
}

/* False if no rule of the class is live: the event need not be looked at. */
static __always_inline bool read_wanted(struct wanted *w, __u32 class)
{
	struct control_block *c = controls();
	__u64 *always = bpf_map_lookup_elem(&rows, &class);

	if (!c || !always || class >= EVENT_CLASS_COUNT)
		return false;
	read_looks(&w->all, &c->in_use[class].all);
	read_looks(&w->first, &c->in_use[class].first);
	/* The low half counts the cells of clauses that every event hits. */
	w->always = (__u32) * (volatile __u64 *)always;
	return w->all.text || w->all.gram || w->all.number || w->always;
}

/* A string of the event's data. A global function, see workspace.h. */
__noinline int match_data(__u32 workspace, __u32 field, __u32 offset, __u32 size, bool args)
{
	struct workspace *s = workspace_of(workspace);
	struct match_scratch *m;
	__u64 length = size;
	struct event *e;

	if (!s || field >= KEY_STRING_FIELDS)
		return 0;
	e = &s->event;
	m = &s->match;
	/* The NUL that ends the last argument is no part of the command line. */
	if (args && length && !e->data[MASKED(offset + length - 1, DATA_BYTES - 1)])
		length--;
	length = AT_MOST(length, PATH_BYTES);
	m->length = length;
	m->ways = m->looks.text >> (field * WAYS) & ((1 << WAYS) - 1);
	m->gram_lengths = m->looks.gram >> (field * 4) & 0xf;
	m->args = args;
	try_ways(m, field, ends_of(m, e, offset));
	if (!REREAD(m->ways) && !REREAD(m->gram_lengths))
		return 0;
	load_text(s, &e->data[MASKED(offset, DATA_BYTES - 1)]);
	match_text(workspace, m, field);
	return 0;
}

static __always_inline void match_span(struct workspace *s, __u32 field, struct span span,
				       bool args)
{
	match_data(s->id, field, span.offset, span.length, args);
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

static __always_inline void match_known(struct workspace *s, __u32 field, struct span span)
{
	if (span.length)
		match_span(s, field, span, false);
}

/*
 * Looks one side of a connection up, by its bits: the version of IP, then the address. A
 * global function, see workspace.h.
 */
__noinline int hit_address(__u32 workspace, __u32 field)
{
	struct workspace *s = workspace_of(workspace);
	__u8 *address, family, *text;
	__u32 lengths, *row;
	struct record *r;

	if (!s)
		return 0;
	r = &s->event.record;
	address = field == KEY_SOURCE_IP ? r->source : r->address;
	family = field == KEY_SOURCE_IP ? r->source_family : r->family;
	if (!family)
		return 0;
	text = (__u8 *)s->match.key.text;
	s->match.key.tag = OF_CLASS(s->match.class, field * WAYS + WAY_FORWARD);
	if (type_code(family, address) == 1) {
		s->match.key.bits = 32 + 8 + 32;
		text[0] = 4;
		for (int i = 0; i < 4; i++)
			text[1 + i] = family == 4 ? address[i] : address[12 + i];
	} else {
		s->match.key.bits = 32 + 8 + 128;
		text[0] = 6;
		for (int i = 0; i < 16; i++)
			text[1 + i] = address[i];
	}
	/* Keys that are no whole number of bytes are in the filter by those that are whole. */
	lengths = filtered_lengths(s->match.class, field) & 0xff;
	if (!may_begin(s->match.key.tag, cut_word(s->match.key.text[0], family == 4 ? 5 : 8),
		       lengths))
		return 0;
	row = bpf_map_lookup_elem(&texts, &s->match.key);
	if (row)
		hit_row(workspace, *row);
	return 0;
}

/* All fields from that one on. */
#define TEXT_FROM(field) (~0ULL << ((field) * WAYS))
#define GRAM_FROM(field) (~0ULL << ((field) * 4))

/* The strings that only some classes have. */
static __always_inline void match_strings(struct workspace *s)
{
	struct record *r = &s->event.record;
	struct looks *l = &s->match.looks;

	if (wants(l, KEY_CWD))
		match_known(s, KEY_CWD, r->cwd);
	if (wants(l, KEY_FILE_PATH))
		match_known(s, KEY_FILE_PATH, r->file_path);
	if (wants(l, KEY_NEW_PATH))
		match_known(s, KEY_NEW_PATH, r->new_path);
	if (wants(l, KEY_TARGET_PATH))
		match_known(s, KEY_TARGET_PATH, r->target_path);
	if (wants(l, KEY_TARGET_EXECUTABLE))
		match_known(s, KEY_TARGET_EXECUTABLE, r->target_executable);
	if (wants(l, KEY_MOUNT_SOURCE))
		match_known(s, KEY_MOUNT_SOURCE, r->mount_source);
	if (wants(l, KEY_MOUNT_TYPE))
		match_known(s, KEY_MOUNT_TYPE, r->mount_type);
	if (wants(l, KEY_KERNEL_NAME))
		match_known(s, KEY_KERNEL_NAME, r->kernel_name);
	if (wants(l, KEY_DESTINATION_IP))
		hit_address(s->id, KEY_DESTINATION_IP);
	if (wants(l, KEY_SOURCE_IP))
		hit_address(s->id, KEY_SOURCE_IP);
}

/* What the process and its parent run. */
static __always_inline void match_process(struct workspace *s)
{
	struct record *r = &s->event.record;
	struct looks *l = &s->match.looks;

	if (wants(l, KEY_EXECUTABLE))
		match_paths(s, KEY_EXECUTABLE, r->executable, r->invoked);
	if (wants(l, KEY_PARENT_EXECUTABLE))
		match_paths(s, KEY_PARENT_EXECUTABLE, r->parent_executable, r->parent_invoked);
	if (wants(l, KEY_COMMAND_LINE))
		match_span(s, KEY_COMMAND_LINE, r->args, true);
	if (wants(l, KEY_PARENT_COMMAND_LINE))
		match_span(s, KEY_PARENT_COMMAND_LINE, r->parent_args, true);
	if (wants(l, KEY_SCRIPT) && r->header.flags & RECORD_SCRIPT)
		match_known(s, KEY_SCRIPT, r->invoked);
}

/*
 * Makes the given look-ups of what the event of a workspace holds, between match_begin and
 * match_end. Strings that are empty are not known, so nothing matches them; a command line
 * is always known.
 */
static __always_inline void match_event(struct workspace *s, const struct looks *l)
{
	s->match.looks = *l;
	if (l->text & ~TEXT_FROM(KEY_FILE_PATH) || l->gram & ~GRAM_FROM(KEY_FILE_PATH))
		match_process(s);
	if (l->text & TEXT_FROM(KEY_FILE_PATH) || l->gram & GRAM_FROM(KEY_FILE_PATH) ||
	    wants(l, KEY_CWD))
		match_strings(s);
	if (l->number)
		match_numbers(s->id);
}

/* What is wanted and not among the first look-ups. */
static __always_inline struct looks other_looks(const struct wanted *w)
{
	struct looks l = {
		.text = w->all.text & ~w->first.text,
		.gram = w->all.gram & ~w->first.gram,
		.number = w->all.number & ~w->first.number,
	};

	return l;
}

#endif
