/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A record while it is put together.
 */
#ifndef BITTERN_RECORD_H
#define BITTERN_RECORD_H

#include "workspace.h"
#include <bpf/bpf_helpers.h>

/* The first bytes of a word, NUL behind them. */
static __always_inline __u64 cut_word(__u64 word, __u32 length)
{
	return length < 8 ? word & ((1ULL << 8 * length) - 1) : word;
}

static __always_inline void begin_event(struct event *e, __u32 class)
{
	__builtin_memset(&e->record, 0, sizeof(e->record));
	e->record.header.class = class;
	e->record.file_uid = e->record.file_gid = NO_ID;
	e->record.new_uid = e->record.new_euid = e->record.new_gid = NO_ID;
}

/* The string has been written to the data, at its end: it is padded with NUL to eight bytes. */
static __always_inline void end_string(struct event *e, struct span *span, __u32 offset,
				       __u32 length)
{
	__u64 *last = (__u64 *)&e->data[MASKED(offset + (length & ~7U), DATA_BYTES - 1)];

	*last = cut_word(*last, length & 7);
	span->offset = offset;
	span->length = length;
	e->record.header.data = offset + ((length + 7) & ~7U);
}

/* Appends a string to the data, padded with NUL to eight bytes. */
static __always_inline void put_string(struct event *e, struct span *span, const void *from,
				       __u32 length)
{
	__u32 offset = MASKED(e->record.header.data, DATA_BYTES - 1);

	length = AT_MOST(length, PATH_BYTES);
	*(__u64 *)&e->data[offset + (length & ~7U)] = 0;
	if (bpf_probe_read_kernel(&e->data[offset], length, from))
		length = 0;
	span->offset = offset;
	span->length = length;
	e->record.header.data = offset + ((length + 7) & ~7U);
}

#define SAME_STEP 8

/* Whether the first words of two strings, at most SAME_STEP, are the same. */
__noinline int same_words(__u32 workspace, __u32 a, __u32 b, __u32 words)
{
	struct workspace *w = workspace_of(workspace);

	if (!w)
		return 0;
	for (__u32 i = 0; i < SAME_STEP; i++) {
		if (i >= words)
			break;
		if (*(__u64 *)&w->event.data[MASKED(a + 8 * i, DATA_BYTES - 8)] !=
		    *(__u64 *)&w->event.data[MASKED(b + 8 * i, DATA_BYTES - 8)])
			return 0;
	}
	return 1;
}

/* Whether two strings of the same length, which are padded to words, are the same. */
__noinline int same_text(__u32 workspace, __u32 a, __u32 b, __u32 length)
{
	__u32 words = (length + 7) / 8;

	for (__u32 i = 0; i < PATH_BYTES / 8; i += SAME_STEP) {
		if (i >= words)
			break;
		if (!same_words(workspace, a + 8 * i, b + 8 * i, words - i))
			return 0;
	}
	return 1;
}

/*
 * Takes back string b, the last one put, if it is the same as a: mostly a program
 * is invoked by its own path. It is then sent once and looked up once.
 */
static __always_inline void share_string(struct workspace *w, struct span a, struct span *b)
{
	if (a.length != b->length || !a.length || !same_text(w->id, a.offset, b->offset, a.length))
		return;
	w->event.record.header.data = b->offset;
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

#endif
