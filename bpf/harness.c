// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Judges an event that user space has written, by the same functions and the same
 * maps as the hooks: for tests and benchmarks with BPF_PROG_RUN. It has scratch
 * memory of its own, so it and the hooks do not disturb each other.
 *
 * Hooks: none (socket filter type, since that can be repeated by BPF_PROG_RUN).
 */
#include "fields.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* What user space wants judged, and the answer; one for each possible CPU. */
struct trial {
	struct event event;
	__u64 epoch;
	__u32 survivors;
	__u32 pad;
	__u64 versions[RECORD_VERSIONS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set by the loader */
	__type(key, __u32);
	__type(value, struct trial);
} trials SEC(".maps");

/* About 100 microseconds on a fast machine. */
#define PAUSES 200

__noinline int idle(__u32 n)
{
	volatile __u32 done = 0;

	for (__u32 i = 0; i < 200; i++)
		done += n;
	return done;
}

static __always_inline void pause(void)
{
	for (__u32 i = 0; i < PAUSES; i++)
		idle(i);
}

static __always_inline int judge_trial(bool late, bool slow)
{
	__u64 epoch = current_epoch();
	__u32 cpu = bpf_get_smp_processor_id();
	struct trial *t = bpf_map_lookup_elem(&trials, &cpu);
	struct workspace *s;
	struct wanted w = {};
	struct looks others;

	if (!t)
		return 0;
	s = take_workspace(t->event.record.header.class & 15);
	if (!s)
		return 0;
	if (slow)
		pause();
	s->event.record = t->event.record;
	bpf_probe_read_kernel(s->event.data, MASKED(t->event.record.header.data, DATA_BYTES - 1),
			      t->event.data);
	read_wanted(&w, s->event.record.header.class);
	match_begin(s, s->event.record.header.class, w.always);
	match_event(s, &w.first);
	if (s->match.led) {
		others = other_looks(&w);
		match_event(s, &others);
	}
	if (slow)
		pause();
	if (late)
		epoch = current_epoch();
	match_end(s, epoch);
	t->epoch = epoch;
	t->survivors = s->match.survivors;
	bpf_probe_read_kernel(t->versions, sizeof(t->versions), s->match.versions);
	give_back(s);
	return 0;
}

SEC("socket")
int judge(void *ctx)
{
	return judge_trial(false, false);
}

/*
 * Dawdles after the epoch and after the hits: long enough for a writer that does not
 * wait for grace periods to take away what this program is about to look at.
 */
SEC("socket")
int judge_slow(void *ctx)
{
	return judge_trial(false, true);
}

/* The mistake that the order of look-ups prevents; a test shows that it loses events. */
SEC("socket")
int judge_late(void *ctx)
{
	return judge_trial(true, false);
}
