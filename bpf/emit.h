/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * From an event that is put together to a verdict and, if anything matches, a record
 * in the ring.
 */
#ifndef BITTERN_EMIT_H
#define BITTERN_EMIT_H

#include "cgroup.h"
#include "selftest.h"
#include "subject.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* set by the loader */
} matches SEC(".maps");

/* Number of the last record of each class on this CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENT_CLASS_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} sequences SEC(".maps");

/* Appends the survivors and sends the record. A record that finds no room counts. */
static __always_inline void emit(struct workspace *s, __u64 epoch)
{
	struct event *e = &s->event;
	struct record_header *h = &e->record.header;
	__u32 class = h->class;
	__u64 *last = bpf_map_lookup_elem(&sequences, &class);
	__u32 size;

	put_cgroup_path(s, current_task());
	size = finish_record(e, &s->match);
	h->epoch = epoch;
	h->cpu = bpf_get_smp_processor_id();
	if (last)
		h->sequence = ADD(last, 1);
	e->record.cgroup = bpf_get_current_cgroup_id();
	count(class, COUNTER_MATCHES);
	if (h->flags & RECORD_SPILLED)
		count(class, COUNTER_SPILLS);
	if (bpf_ringbuf_output(&matches, e, size, 0))
		count(class, COUNTER_LOST_RING_FULL);
}

/* Judges an event of the current process by the given epoch. */
static __always_inline void judge_event(struct workspace *s, const struct wanted *w, __u64 epoch)
{
	__u32 class = s->event.record.header.class;
	struct looks others;

	count(class, COUNTER_EVENTS);
	match_begin(s, class, w->always);
	need_parts(s, parts_of(&w->first));
	match_event(s, &w->first);
	if (s->match.led) {
		others = other_looks(w);
		need_parts(s, parts_of(&others));
		match_event(s, &others);
	}
	match_end(s, epoch);
	if (!s->match.survivors)
		return;
	need_parts(s, PARTS);
	emit(s, epoch);
}

/* What an event is judged by. */
struct terms {
	__u64 epoch;
	struct wanted wanted;
};

/*
 * Begins an event of the current process, which is watched: NULL if no rule asks for the
 * class, or there is no room. Nothing may be looked up before.
 */
static __always_inline struct workspace *begin_watched(struct terms *by, __u32 class)
{
	struct workspace *s;

	by->epoch = current_epoch();
	if (!read_wanted(&by->wanted, class))
		return NULL;
	s = take_workspace(class);
	if (!s)
		return NULL;
	begin_event(&s->event, class);
	s->known = 0;
	return s;
}

/* The same of a process that may not be watched. Programs of cgroups don't ask: they are attached
 * to what is. */
static __always_inline struct workspace *begin(struct terms *by, __u32 class)
{
	return is_watched() ? begin_watched(by, class) : NULL;
}

/* The same of a class that tells operations apart. */
static __always_inline struct workspace *begin_operation(struct terms *by, __u32 class,
							 __u32 operation)
{
	struct workspace *s;

	if (is_self_test())
		return NULL;
	s = begin(by, class);
	if (s)
		s->event.record.operation = operation;
	return s;
}

/* Judges the event, and ends it. */
static __always_inline void judge(struct workspace *s, const struct terms *by)
{
	judge_event(s, &by->wanted, by->epoch);
	give_back(s);
}

#endif
