/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A model of the swap: readers judge events, a writer commits rule versions, its reclaimer sets
 * free what has died, and a crash ends both at any step. After that nobody writes to these tables
 * again, and readers go on. What a successor does is in takeover.pml. scripts/model/run.sh has spin
 * check both; docs/engine.md, "The models", is the summary.
 *
 * Each option of a process is one step: at most one load or store of memory that the other
 * side sees, and what follows from it in memory of its own. Steps of the processes come in
 * every order. That is what x86-64 gives: loads are made in program order, and the writer's
 * stores are seen in program order. That they may be seen late changes nothing, since the
 * writer waits for readers only by system calls, before which its stores are seen. Weaker
 * machines are not modelled; there, a grace period stands before the swap.
 *
 * Two rules change, alone or together. A version is one clause of
 *
 *   key A      the text begins with "a": a short key of the trie
 *   key B      the text begins with "ab": a longer key, which hides A from look-ups
 *   key N      a number: a key of a hash table
 *
 * in groups 0, 1 and "not" (2). A and B share an in-use bit, as keys of one trie do.
 *
 * Readers don't see each other, and the writer sees them only by waiting for them: a second
 * reader can but make it wait longer. So one reader that judges events for ever stands for
 * any number; a run with two shows that nothing hides in that.
 *
 * Macros choose what a search looks at: COMMITS, CRASH, ABORTS, SLOTS, TIGHT (fewer cells) and
 * READERS; FEW leaves out commits of both rules and ends of rules; PROGRESS asks whether the
 * writer gets its commits done. The others put a bug in: see run.sh. Names of properties are those
 * of the variables that are asserted.
 */

#ifndef COMMITS
#define COMMITS 3 /* epochs */
#endif
#ifndef ABORTS
#define ABORTS 0 /* commits at most that fail for a reason of their own, and are abandoned */
#endif
#ifndef READERS
#define READERS 1
#endif
#ifndef SLOTS
#define SLOTS 4 /* enough for two rules and a commit of both; 3 are not */
#endif

#define NEVER 255
#define NONE  255

#define A	   0
#define B	   1
#define N	   2
#define ROWS	   4
#define ONES	   4 /* blocks of one cell, at offsets 0 to 3 ... */
#define CELLS	   8 /* ... and two blocks of two, at 4 and 6 */
#define ALL_SLOTS  (BIT(SLOTS) - 1)
#define ALL_ROWS   15
#ifndef TIGHT
#define ALL_BLOCKS (15 | 1 << 4 | 1 << 6) /* by offset */
#else
#define ALL_BLOCKS (3 | 1 << 4 | 1 << 6)
#endif

#define BIT(n) (1 << (n))
/* The lowest of four bits, of which one is set. */
#define LOWEST(m) ((m) & 1 -> 0 : ((m) & 2 -> 1 : ((m) & 4 -> 2 : 3)))

/*
 * Clauses: A; A and N; B; N and not B. 0 is none; TAKE_AWAY, in a swap, ends the rule. What an
 * event holds: 1 for a text that begins with "a", 2 for "ab", 4 for the number.
 */
#define TAKE_AWAY 5
#define FIRST_KEY(c)   ((c) <= 2 -> A : ((c) == 3 -> B : N)) /* of group 0 */
#define OTHER_KEY(c)   ((c) == 2 -> N : ((c) == 4 -> B : NONE))
#define OTHER_GROUP(c) ((c) == 2 -> 1 : 2)
#define MATCHES(c, e)                                                                        \
	(((c) == 1 && (e) & 1) || ((c) == 2 && ((e) & 5) == 5) || ((c) == 3 && (e) & 2) ||     \
	 ((c) == 4 && ((e) & 6) == 4))

/* What has happened in a run at least once: run.sh wants all of it. Not part of a state. */
c_decl {
	static char seen[32];
	static char killed_at[2][64];
	static void __attribute__((destructor)) tell(void)
	{
		for (int i = 0; i < 32; i++)
			if (seen[i])
				printf("seen %d\n", i);
		for (int i = 0; i < 64; i++) {
			if (killed_at[0][i])
				printf("killed at writer %d\n", i);
			if (killed_at[1][i])
				printf("killed at reclaimer %d\n", i);
		}
	}
}
#define SEEN(n) c_code { seen[n] = 1; };

/* ---- The kernel's memory: it outlives the writer. ---- */

byte epoch;
byte born[SLOTS] = NEVER, died[SLOTS] = NEVER;
byte version[SLOTS]; /* 2*number + rule; numbers begin with 1 */
byte no_group = ALL_SLOTS; /* slots that don't have group 1 */
byte key_row[3];     /* number of its row + 1; 0: the key is not there */
byte row[ROWS];	     /* offset << 2 | cells that count */
byte cell[CELLS];    /* (group + 1) << 4 | bits of slots */
byte in_use;
#define TEXTS	1
#define NUMBERS 2
#define LOOK(k) ((k) == N -> NUMBERS : TEXTS)

/* Readers. What they hold is here for assertions to look at. */
byte running; /* a bit for each that is judging an event */
byte rd_epoch[READERS];
byte rd_row[READERS];  /* row + 1, looked up and not loaded yet */
byte rd_span[READERS]; /* as in row, loaded and not followed yet */

/* Grace periods: readers that were running when one began, and still are. */
byte grace_writer, grace_reclaimer;

/* ---- The writer's memory: a crash wipes it. ---- */

bool locked;
byte last; /* number of the newest version */
byte live[2]; /* slot of each rule's live version + 1 */
byte free_slots = ALL_SLOTS, dead;
byte uses[4]; /* keys of the slot's clause */
byte free_rows = ALL_ROWS, old_rows; /* old: may still be read */
byte free_blocks = ALL_BLOCKS, old_blocks;
byte deleted; /* keys, since the last grace period */
bool kicked; /* the reclaimer has something to do */
bool waiting; /* it waits for a grace period for these, or is clearing them: */
byte b_dead, b_rows, b_blocks, b_keys;

/* Where writer and reclaimer are. */
mtype = { COMMIT, SLOT, GROUPS, ROW, INSERT, USE, SET, MOVE, PUBLISH, APPEND, COUNT, ADDED, WHOLE,
	  EMPTY, WAIT, GRACE, BORN, DIED, SWAP, UNDO, FINISH, IDLE, YIELD, EVICT, GONE };
mtype at = COMMIT, reclaimer_at = IDLE;

/* ---- For assertions ---- */

byte now_id[2], now_clause[2]; /* of the versions that are live at the epoch */
byte aborts = ABORTS;
bool killed, done;

/* Properties, set where they are asserted; 1 is bad. */
hidden byte event_lost, judged_twice, keys_mixed, version_not_live, epoch_backwards;
hidden byte slot_emptied_under_reader, row_reused_under_reader, block_reused_under_reader;
hidden byte commit_refused, resources_leaked;

hidden byte x, y; /* of a single step */

#include "readers.pml"
#include "writer.pml"

#ifdef CRASH
/* Ends the writer and its reclaimer at some step, for good. */
active proctype Killer()
{
end:	do
	:: d_step {
		killed = true;
		c_code { killed_at[0][now.at] = 1; killed_at[1][now.reclaimer_at] = 1; }
	   } -> break
	od
}
#endif

init {
	atomic {
		skip;
		run Reader(0);
#if READERS > 1
		run Reader(1);
#endif
	}
}

#ifdef PROGRESS
/* Whatever happens, the writer gets its commits done, and the reclaimer clears up. */
ltl not_done_in_the_end { []<> done }
#endif
