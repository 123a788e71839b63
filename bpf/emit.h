/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * From an event that is put together to a verdict and, if anything matches, a record
 * in the ring.
 */
#ifndef BITTERN_EMIT_H
#define BITTERN_EMIT_H

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
	__u32 size = finish_record(e, &s->match);

	h->epoch = epoch;
	h->cpu = bpf_get_smp_processor_id();
	if (last)
		h->sequence = __sync_fetch_and_add(last, 1) + 1;
	e->record.cgroup = bpf_get_current_cgroup_id();
	count(class, COUNTER_MATCHES);
	if (h->flags & RECORD_SPILLED)
		count(class, COUNTER_SPILLS);
	if (bpf_ringbuf_output(&matches, e, size, 0))
		count(class, COUNTER_LOST_RING_FULL);
}

/*
 * Judges an event of the current process by the given epoch. What its process and parent
 * run is read when it is needed.
 */
static __always_inline void judge_event(struct workspace *s, const struct wanted *w, __u64 epoch,
					bool executed)
{
	bool complete = executed || wants_process(w);

	__u32 class = s->event.record.header.class;

	count(class, COUNTER_EVENTS);
	match_begin(&s->match, class);
	if (complete)
		read_process(s->id, executed);
	match_event(s->id);
	match_end(&s->match, epoch);
	if (!s->match.survivors)
		return;
	if (!complete)
		read_process(s->id, false);
	emit(s, epoch);
}

#endif
