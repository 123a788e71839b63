// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Judges events that user space has written, by the same functions and the same
 * maps as the hooks: for tests and benchmarks with BPF_PROG_RUN. It has scratch
 * memory of its own, so it and the hooks do not disturb each other.
 *
 * Hooks: none (socket filter type, since that can be repeated by BPF_PROG_RUN).
 */
#include "fields.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* What user space wants judged, and the answer; one for each possible CPU, at least. */
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

/*
 * Judges what a trial holds. The survivors are in the workspace that is returned, which the
 * caller gives back; NULL if there is none.
 */
static __always_inline struct workspace *judge_trial(struct trial *t, __u64 *by, bool late,
						     bool slow)
{
	__u64 epoch = current_epoch();
	struct workspace *s;
	struct wanted w = {};
	struct looks others;

	s = take_workspace(t->event.record.header.class & 15);
	if (!s)
		return NULL;
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
	*by = epoch;
	return s;
}

SEC("socket")
int judge(void *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct trial *t = bpf_map_lookup_elem(&trials, &cpu);
	struct workspace *s;

	if (!t)
		return 0;
	s = judge_trial(t, &t->epoch, false, false);
	if (!s)
		return 0;
	t->survivors = s->match.survivors;
	bpf_probe_read_kernel(t->versions, sizeof(t->versions), s->match.versions);
	give_back(s);
	return 0;
}

/*
 * What follows is for torture: it judges events over and over while rules change, and holds
 * each verdict against what user space has said, before the epoch, that it must be. The trials
 * are then kinds of events.
 */
#define TORTURE_RULES  8
#define TORTURE_KINDS  8
#define TORTURE_EPOCHS (1 << 16) /* more than can go by while a program runs */

struct expectation {
	__u64 epoch;
	__u64 versions[TORTURE_RULES]; /* of each rule; 0 if it is not there */
	__u64 passes; /* bit kind*8+rule: events of the kind are to pass that version */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, TORTURE_EPOCHS); /* by epoch%TORTURE_EPOCHS */
	__type(key, __u32);
	__type(value, struct expectation);
} expectations SEC(".maps");

/* What a CPU saw. Events that were wrong count once. */
struct tally {
	__u64 judged;
	__u64 missed;	 /* fewer versions than were to let it pass */
	__u64 doubled;	 /* more */
	__u64 mixed;	 /* as many, and others */
	__u64 backwards; /* by an epoch before that of the last event */
	__u64 unknown;	 /* it is not known what was expected */
	__u64 epoch;	 /* of the last event */
	/* Of the event that is being checked: */
	__u32 seen, strange; /* rules that have survived, as bits; versions that nobody expected */
	__u64 strange_version;
	/* Of the first event that was wrong: */
	__u64 wrong_epoch;
	__u64 wrong_kind;
	__u64 wrong_wanted, wrong_seen; /* rules, as bits */
	__u64 wrong_version;
	__u64 pad[2]; /* up to a cache line */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* CPUs; set by the loader */
	__type(key, __u32);
	__type(value, struct tally);
} tallies SEC(".maps");

/* The rule that has the version, as a bit; 0 if none has at that epoch. */
__noinline int rule_of(__u32 at, __u64 version)
{
	struct expectation *e = bpf_map_lookup_elem(&expectations, &at);

	if (!e)
		return 0;
	for (int i = 0; i < TORTURE_RULES; i++) {
		if (e->versions[i] == version)
			return 1 << i;
	}
	return 0;
}

/* Takes one survivor into account. A global function, see workspace.h. */
__noinline int check_survivor(__u32 workspace, __u32 cpu, __u32 at, __u32 number)
{
	struct workspace *s = workspace_of(workspace);
	struct tally *y = bpf_map_lookup_elem(&tallies, &cpu);
	__u64 version;
	int bit;

	if (!s || !y)
		return 0;
	version = s->match.versions[MASKED(number, RECORD_VERSIONS - 1)];
	bit = rule_of(at, version);
	y->seen |= bit;
	if (bit || version == y->strange_version) /* another clause of it */
		return 0;
	y->strange++;
	y->strange_version = version;
	return 0;
}

/* Holds the survivors against what they must be. */
__noinline int check(__u32 workspace, __u32 cpu, __u64 epoch, __u32 kind)
{
	struct workspace *s = workspace_of(workspace);
	struct tally *y = bpf_map_lookup_elem(&tallies, &cpu);
	__u32 at = epoch & (TORTURE_EPOCHS - 1), wanted, missing, strange;
	struct expectation *e = bpf_map_lookup_elem(&expectations, &at);

	if (!s || !y)
		return 0;
	if (epoch < y->epoch)
		y->backwards++;
	y->epoch = epoch;
	if (!e || e->epoch != epoch || s->match.survivors > RECORD_VERSIONS) {
		y->unknown++;
		return 0;
	}
	y->seen = y->strange = y->strange_version = 0;
	for (__u32 i = 0; i < RECORD_VERSIONS; i++) {
		if (i >= s->match.survivors)
			break;
		check_survivor(workspace, cpu, at, i);
	}
	wanted = e->passes >> (kind * TORTURE_RULES & 63) & ((1 << TORTURE_RULES) - 1);
	strange = y->strange + __builtin_popcount(y->seen & ~wanted);
	missing = __builtin_popcount(wanted & ~y->seen);
	if (!strange && !missing)
		return 0;
	if (missing > strange)
		y->missed++;
	else if (strange > missing)
		y->doubled++;
	else
		y->mixed++;
	if (y->wrong_epoch)
		return 0;
	y->wrong_epoch = epoch;
	y->wrong_kind = kind;
	y->wrong_wanted = wanted;
	y->wrong_seen = y->seen;
	y->wrong_version = y->strange_version;
	return 0;
}

static __always_inline int torture(bool late, bool slow)
{
	__u32 cpu = bpf_get_smp_processor_id(), kind;
	struct tally *y = bpf_map_lookup_elem(&tallies, &cpu);
	struct workspace *s;
	struct trial *t;
	__u64 epoch = 0;

	if (!y)
		return 0;
	kind = y->judged & (TORTURE_KINDS - 1);
	t = bpf_map_lookup_elem(&trials, &kind);
	if (!t)
		return 0;
	s = judge_trial(t, &epoch, late, slow);
	if (!s)
		return 0;
	y->judged++;
	check(s->id, cpu, epoch, kind);
	give_back(s);
	return 0;
}

SEC("socket")
int torture_fast(void *ctx)
{
	return torture(false, false);
}

/*
 * Dawdles after the epoch and after the hits: long enough for a writer that does not
 * wait for grace periods to take away what this program is about to look at.
 */
SEC("socket")
int torture_slow(void *ctx)
{
	return torture(false, true);
}

/* The mistake that the order of look-ups prevents; a test shows that it loses events. */
SEC("socket")
int torture_late(void *ctx)
{
	return torture(true, false);
}
