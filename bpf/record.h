/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A record while it is put together.
 */
#ifndef BITTERN_RECORD_H
#define BITTERN_RECORD_H

#include "event.h"
#include "tables.h"
#include <bpf/bpf_helpers.h>

struct event {
	struct record record;
	/* Past DATA_BYTES: room to overrun by one string, and for the versions. */
	char data[DATA_BYTES + PATH_BYTES];
};

static __always_inline void begin_event(struct event *e, __u32 class)
{
	__builtin_memset(&e->record, 0, sizeof(e->record));
	e->record.header.class = class;
	e->record.header.time = bpf_ktime_get_boot_ns();
}

/* Appends a string to the data, padded with NUL to eight bytes. */
static __always_inline void put_string(struct event *e, struct span *span, const void *from,
				       __u32 length)
{
	__u32 offset = e->record.header.data & (DATA_BYTES - 1);

	length = AT_MOST(length, PATH_BYTES);
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

#endif
