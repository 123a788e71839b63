/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The matching engine. Rules are data in the maps of tables.h; these functions are the
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
 * Long loops are cut into chunks, each a call of a global function, so that the verifier
 * of every kernel sees short ones.
 */
#ifndef BITTERN_MATCH_H
#define BITTERN_MATCH_H

#include "workspace.h"

/* Of dirty accumulators. */
#define CHUNK 32
#define PAGE  (CHUNK * CHUNK)
#define PAGES (GROUPS * MAX_BLOCKS / PAGE)

/* Of cells, whose loop has more in it. */
#define CELL_CHUNK 8
#define CELL_PAGE  (CELL_CHUNK * 64)
#define CELL_PAGES (GROUPS * MAX_BLOCKS / CELL_PAGE)

static __always_inline void hit_cell(struct workspace *w, __u64 cell)
{
	struct match_scratch *s = &w->match;
	__u32 bits = cell;
	__u32 group = (cell >> 48) & (GROUPS - 1), block = (cell >> 32) & (MAX_BLOCKS - 1);
	__u64 at = MASKED(group * MAX_BLOCKS | block, GROUPS * MAX_BLOCKS - 1);
	__u32 n;

	if (!bits)
		return;
	if (!group)
		s->led = 1;
	if (!w->hits.bits[at]) {
		n = s->dirty_count;
		if (n < GROUPS * MAX_BLOCKS) {
			w->hits.dirty[MASKED(n, GROUPS * MAX_BLOCKS - 1)] = at;
			s->dirty_count = n + 1;
		}
	}
	w->hits.bits[at] |= bits;
}

/* Hits cells from offset to end, at most CELL_CHUNK of them. */
__noinline int hit_cells(__u32 workspace, __u32 offset, __u32 end)
{
	struct workspace *w = workspace_of(workspace);

	if (!w)
		return 0;
	for (__u32 i = 0; i < CELL_CHUNK; i++) {
		__u32 at = offset + i;
		__u64 *cell;

		if (at >= end)
			break;
		cell = bpf_map_lookup_elem(&cells, &at);
		if (!cell)
			break;
		hit_cell(w, *(volatile __u64 *)cell);
	}
	return 0;
}

/* The same of CELL_PAGE. */
__noinline int hit_page(__u32 workspace, __u32 offset, __u32 end)
{
	for (__u32 i = 0; i < CELL_PAGE; i += CELL_CHUNK, offset += CELL_CHUNK) {
		if (offset >= end)
			break;
		hit_cells(workspace, offset, end);
	}
	return 0;
}

/* It is written once, so that CPUs don't fight for it. */
static __always_inline void note_hit(__u32 row)
{
	__u64 *noted = bpf_map_lookup_elem(&row_hits, &row);

	if (noted && !*(volatile __u64 *)noted)
		*(volatile __u64 *)noted = 1;
}

/* Nearly every row has one cell: those with more pay for the loop. */
__noinline int hit_row(__u32 workspace, __u32 row)
{
	struct workspace *w = workspace_of(workspace);
	__u64 *place = bpf_map_lookup_elem(&rows, &row);
	__u32 offset, end;
	__u64 span, *cell;

	if (!w || !place)
		return 0;
	span = *(volatile __u64 *)place;
	offset = span >> 32;
	end = offset + (__u32)span;
	if (offset == end)
		return 0;
	note_hit(row);
	cell = bpf_map_lookup_elem(&cells, &offset);
	if (!cell)
		return 0;
	hit_cell(w, *(volatile __u64 *)cell);
	offset++;
	for (__u32 i = 0; i < CELL_PAGES; i++, offset += CELL_PAGE) {
		if (offset >= end)
			break;
		hit_page(workspace, offset, end);
	}
	return 0;
}

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

/* A slot of which every group was hit: it survives if it is visible. */
__noinline int judge_slot(__u32 workspace, __u32 id, __u64 epoch)
{
	struct workspace *w = workspace_of(workspace);
	struct slot *slot = bpf_map_lookup_elem(&slots, &id);
	__u32 k;

	if (!w || !slot || !visible(slot, epoch))
		return 0;
	k = w->match.survivors;
	if (k < RECORD_VERSIONS)
		w->match.versions[MASKED(k, RECORD_VERSIONS - 1)] = slot->version;
	w->match.survivors = k + 1;
	return 0;
}

/* Judges the 32 slots of a block of which group 0 was hit. */
__noinline int judge_block(__u32 workspace, __u32 number, __u64 epoch)
{
	struct workspace *w = workspace_of(workspace);
	__u64 block = MASKED(number, MAX_BLOCKS - 1);
	struct match_scratch *s;
	__u32 alive, first;

	if (!w)
		return 0;
	s = &w->match;
	alive = w->hits.bits[block] & ~w->hits.bits[GROUP_NOT * MAX_BLOCKS + block];
	for (__u32 g = 1; g < MAX_GROUPS; g++) {
		__u64 at = g * MAX_BLOCKS + block;
		__u32 key = (s->class * MAX_GROUPS + g) * (class_slots / SLOTS_PER_CELL) + block;
		__u64 *none = bpf_map_lookup_elem(&no_group, &key);

		if (none)
			alive &= w->hits.bits[at] | (__u32)*none;
	}
	first = s->class * class_slots + block * SLOTS_PER_CELL;
	for (int n = 0; n < SLOTS_PER_CELL && alive; n++, alive &= alive - 1)
		judge_slot(workspace, first + lowest_bit(alive), epoch);
	return 0;
}

/* Judges what the accumulators from the given index of dirty on, at most CHUNK, lead to. */
__noinline int judge_dirty(__u32 workspace, __u32 from, __u64 epoch)
{
	struct workspace *w = workspace_of(workspace);

	if (!w)
		return 0;
	for (__u32 i = 0; i < CHUNK; i++) {
		__u32 at = from + i;

		if (at >= w->match.dirty_count)
			break;
		at = w->hits.dirty[MASKED(at, GROUPS * MAX_BLOCKS - 1)];
		if (at < MAX_BLOCKS) /* of group 0 */
			judge_block(workspace, at, epoch);
	}
	return 0;
}

/* Zeroes the accumulators, in the same way. */
__noinline int clean_dirty(__u32 workspace, __u32 from)
{
	struct workspace *w = workspace_of(workspace);

	if (!w)
		return 0;
	for (__u32 i = 0; i < CHUNK; i++) {
		__u32 at = from + i;

		if (at >= w->match.dirty_count)
			break;
		at = w->hits.dirty[MASKED(at, GROUPS * MAX_BLOCKS - 1)];
		w->hits.bits[MASKED(at, GROUPS * MAX_BLOCKS - 1)] = 0;
	}
	return 0;
}

/* PAGE of them: judged if clean is not set, zeroed if it is. */
__noinline int end_page(__u32 workspace, __u32 from, __u64 epoch, bool clean)
{
	struct workspace *w = workspace_of(workspace);

	if (!w)
		return 0;
	for (__u32 i = 0; i < CHUNK; i++, from += CHUNK) {
		if (from >= w->match.dirty_count)
			break;
		if (clean)
			clean_dirty(workspace, from);
		else
			judge_dirty(workspace, from, epoch);
	}
	return 0;
}

/* always says that some clauses are hit by every event of the class. */
static __always_inline void match_begin(struct workspace *w, __u32 class, bool always)
{
	w->match.class = class;
	w->match.dirty_count = 0;
	w->match.survivors = 0;
	w->match.led = 0;
	if (always)
		hit_row(w->id, class);
}

__noinline int judge_hits(__u32 workspace, __u64 epoch)
{
	struct workspace *w = workspace_of(workspace);

	if (!w)
		return 0;
	for (__u32 i = 0; i < PAGES; i++) {
		if (!w->match.led || i * PAGE >= w->match.dirty_count)
			break;
		end_page(workspace, i * PAGE, epoch, false);
	}
	for (__u32 i = 0; i < PAGES; i++) {
		if (i * PAGE >= w->match.dirty_count)
			break;
		end_page(workspace, i * PAGE, epoch, true);
	}
	return 0;
}

/*
 * Judges all that was hit since match_begin by the given epoch. Afterwards
 * versions holds the survivors' versions; survivors counts them, and may be
 * more than there is room for. A version with several surviving clauses is there
 * as many times.
 */
static __always_inline void match_end(struct workspace *w, __u64 epoch)
{
	if (w->match.dirty_count)
		judge_hits(w->id, epoch);
}

#endif
