/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The matching engine. Rules are data in the maps below; these functions are the
 * same for every rule set.
 *
 * A clause lives in a slot. It has up to MAX_GROUPS groups; an event passes when
 * it hits at least one key of each group and none of the clause's negative keys.
 * A key leads to a row; a row is a list of cells, each of which says: for these
 * 32 slots, a hit counts for that group. Hits are gathered in per-CPU
 * accumulators. Only hits of group 0 make the engine look at a slot, so an event
 * costs the keys that it hits and not the number of rules.
 *
 * Visibility: the caller loads control.epoch once, before any other lookup; a
 * slot counts if born <= epoch < died. Everything a slot needs is in place before
 * the single writer stores the epoch that makes it visible, and stays in place
 * for a grace period after the epoch that hides it. The order is what makes a
 * change atomic. On x86-64 plain loads in program order are enough.
 *
 * Needs 5.17 (bpf_loop).
 */
#ifndef BITTERN_MATCH_H
#define BITTERN_MATCH_H

#include "tables.h"

static __always_inline void hit_cell(struct match_scratch *s, __u64 cell)
{
	__u32 bits = cell;
	__u32 group = (cell >> 48) & (GROUPS - 1), block = (cell >> 32) & (MAX_BLOCKS - 1);
	__u64 at = MASKED(group * MAX_BLOCKS | block, GROUPS * MAX_BLOCKS - 1);
	__u32 n;

	if (!bits)
		return;
	if (!s->hits[at]) {
		n = s->dirty_count;
		if (n < GROUPS * MAX_BLOCKS) {
			s->dirty[MASKED(n, GROUPS * MAX_BLOCKS - 1)] = at;
			s->dirty_count = n + 1;
		}
	}
	s->hits[at] |= bits;
}

struct row_walk {
	struct match_scratch *s;
	__u32 offset;
};

static long hit_cell_at(__u32 i, void *ctx)
{
	struct row_walk *w = ctx;
	__u32 at = w->offset + i;
	__u64 *cell = bpf_map_lookup_elem(&cells, &at);

	if (!cell)
		return 1;
	hit_cell(w->s, *(volatile __u64 *)cell);
	return 0;
}

/*
 * Nearly every row has one cell: those with more pay for the loop. A global function, so
 * that the verifier looks at it once and not once for each kind of key.
 */
__noinline int hit_row(struct match_scratch *s, __u32 row)
{
	__u64 *place = bpf_map_lookup_elem(&rows, &row);
	struct row_walk walk = { .s = s };
	__u64 span, *cell;
	__u32 count;

	if (!s || !place)
		return 0;
	span = *(volatile __u64 *)place;
	count = span;
	walk.offset = span >> 32;
	if (!count)
		return 0;
	cell = bpf_map_lookup_elem(&cells, &walk.offset);
	if (!cell)
		return 0;
	hit_cell(s, *(volatile __u64 *)cell);
	if (count > 1) {
		walk.offset++;
		bpf_loop(count - 1, hit_cell_at, &walk, 0);
	}
	return 0;
}

struct judge_walk {
	struct match_scratch *s;
	__u64 epoch;
	__u32 class;
};

/*
 * Position of the lowest set bit: how many are clear below it. Without branches, each of
 * which would double what the verifier has to look at. x must not be 0.
 */
static __always_inline __u32 lowest_bit(__u32 x)
{
	return __builtin_popcount(~x & (x - 1));
}

/*
 * died is loaded first. When a slot is emptied for reuse, born becomes "never" before
 * died does: whoever sees the new died sees the new born as well. The other way round a
 * slot could look alive for a moment with the born of one clause and the died of the
 * next. The mask, always 0, makes the second load depend on the first, for machines
 * that keep no other order.
 */
static __always_inline bool visible(struct slot *slot, __u64 epoch)
{
	__u64 died = *(volatile __u64 *)&slot->died, after = died;

	asm volatile("%0 &= 0" : "+r"(after));
	return *(volatile __u64 *)((void *)&slot->born + after) <= epoch && epoch < died;
}

/* Judges the 32 slots of the block behind one dirty accumulator of group 0. */
static long judge_at(__u32 i, void *ctx)
{
	struct judge_walk *w = ctx;
	struct match_scratch *s = w->s;
	__u64 epoch = w->epoch;
	__u32 block, alive;

	if (i >= GROUPS * MAX_BLOCKS)
		return 1;
	block = s->dirty[i];
	if (block >= MAX_BLOCKS) /* not of group 0 */
		return 0;
	alive = s->hits[block] & ~s->hits[GROUP_NOT * MAX_BLOCKS + block];
	for (__u32 g = 1; g < MAX_GROUPS; g++) {
		__u32 at = g * MAX_BLOCKS + block;
		__u32 key = (w->class * MAX_GROUPS + g) * (class_slots / SLOTS_PER_CELL) + block;
		__u64 *none = bpf_map_lookup_elem(&no_group, &key);

		if (none)
			alive &= s->hits[at & (GROUPS * MAX_BLOCKS - 1)] | (__u32)*none;
	}
	for (int n = 0; n < SLOTS_PER_CELL && alive; n++, alive &= alive - 1) {
		__u32 id = w->class * class_slots + block * SLOTS_PER_CELL + lowest_bit(alive);
		struct slot *slot = bpf_map_lookup_elem(&slots, &id);
		__u32 k = s->survivors;

		if (!slot)
			continue;
		if (!visible(slot, epoch))
			continue;
		if (k < RECORD_VERSIONS)
			s->versions[k] = slot->version;
		s->survivors = k + 1;
	}
	return 0;
}

static long clean_at(__u32 i, void *ctx)
{
	struct match_scratch *s = ((struct judge_walk *)ctx)->s;

	if (i >= GROUPS * MAX_BLOCKS)
		return 1;
	s->hits[s->dirty[i] & (GROUPS * MAX_BLOCKS - 1)] = 0;
	return 0;
}

static __always_inline void match_begin(struct match_scratch *s, __u32 class)
{
	s->class = class;
	s->dirty_count = 0;
	s->survivors = 0;
	hit_row(s, class);
}

/*
 * Judges all that was hit since match_begin by the given epoch. Afterwards
 * s->versions holds the survivors' versions; s->survivors counts them, and may be
 * more than there is room for. A version with several surviving clauses is there
 * as many times.
 */
static __always_inline void match_end(struct match_scratch *s, __u64 epoch)
{
	struct judge_walk walk = { .s = s, .epoch = epoch, .class = s->class };

	bpf_loop(s->dirty_count, judge_at, &walk, 0);
	bpf_loop(s->dirty_count, clean_at, &walk, 0);
}

#endif
