/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A model of the swap: readers judge events, a writer commits rule versions, its reclaimer
 * sets free what has died, a crash ends both at any step, and a successor scrubs what they
 * left. scripts/model/run.sh has spin check it; docs/engine.md, "The model", is the summary.
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
 * Macros choose what a search looks at: COMMITS, KILLS, ABORTS and READERS; FEW leaves out commits
 * of both rules and ends of rules; NO_READERS leaves the writer alone; PROGRESS asks whether the
 * writer gets its commits done. The others put a bug in: see run.sh. Names of properties are those
 * of the variables that are asserted.
 */

#ifndef COMMITS
#define COMMITS 3 /* epochs */
#endif
#ifndef KILLS
#define KILLS 0 /* crashes at most */
#endif
#ifndef ABORTS
#define ABORTS 0 /* commits at most that fail for a reason of their own, and are abandoned */
#endif
#ifndef READERS
#define READERS 1
#endif

#define NEVER 255
#define NONE  255

#define SLOTS	   4
#define A	   0
#define B	   1
#define N	   2
#define ROWS	   4
#define ONES	   4 /* blocks of one cell, at offsets 0 to 3 ... */
#define CELLS	   8 /* ... and two blocks of two, at 4 and 6 */
#define ALL_SLOTS  15
#define ALL_ROWS   15
#define ALL_BLOCKS (15 | 1 << 4 | 1 << 6) /* by offset */

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
byte uses[SLOTS]; /* keys of the slot's clause */
byte free_rows = ALL_ROWS, old_rows; /* old: may still be read */
byte free_blocks = ALL_BLOCKS, old_blocks;
byte deleted; /* keys, since the last grace period */
bool kicked; /* the reclaimer has something to do */
bool waiting; /* it waits for a grace period for these: */
byte b_dead, b_rows, b_blocks, b_keys;
bool clearing; /* it is half-way through the dead of its burial */

/* Where writer and reclaimer are. */
mtype = { COMMIT, SLOT, GROUPS, ROW, INSERT, USE, SET, MOVE, PUBLISH, APPEND, COUNT, ADDED, WHOLE,
	  EMPTY, WAIT, GRACE, BORN, DIED, SWAP, FINISH, SCRUB, IDLE, YIELD, EVICT };
mtype at = COMMIT, reclaimer_at = IDLE;

/* ---- For assertions ---- */

byte now_id[2], now_clause[2]; /* of the versions that are live at the epoch */
byte newest; /* number of the newest version that has ever been live */

byte kills = KILLS, aborts = ABORTS;
bool killed, reclaimer_gone, done;

/* Properties, set where they are asserted; 1 is bad. */
hidden byte event_lost, judged_twice, keys_mixed, version_not_live, epoch_backwards, id_reused;
hidden byte slot_emptied_under_reader, row_reused_under_reader, block_reused_under_reader;
hidden byte commit_refused, resources_leaked, scrub_lost_a_rule;

hidden byte i, x, y; /* of a single step */

/* ---- Readers: bpf/match.h ---- */

mtype = { BEGIN, LOOKS, SHORT_KEY, LONG_KEY, NUMBER, SPAN, CELL_1, CELL_2, EPOCH, ALIVE, DEATH, BIRTH, VERSION };

#define HIT(c)                                             \
	if                                                 \
	:: (c) >> 4 == 1 -> hit0 = hit0 | ((c) & 15)        \
	:: (c) >> 4 == 2 -> hit1 = hit1 | ((c) & 15)        \
	:: (c) >> 4 == 3 -> hit_not = hit_not | ((c) & 15)  \
	:: else                                            \
	fi

/* Loads the epoch, and notes what must come out. */
inline load_epoch()
{
	epoch_backwards = epoch < rd_last;
	assert(!epoch_backwards);
	rd_last = epoch;
	rd_epoch[me] = epoch;
	id0 = now_id[0];
	id1 = now_id[1];
	want0 = MATCHES(now_clause[0], event);
	want1 = MATCHES(now_clause[1], event)
}

inline end_event()
{
	event_lost = (want0 && !found0) || (want1 && !found1);
	assert(!event_lost);
	event = 0; id0 = 0; id1 = 0; want0 = 0; want1 = 0; found0 = 0; found1 = 0;
	looks = 0; hit0 = 0; hit1 = 0; hit_not = 0; s = 0; word = 0;
	rd_epoch[me] = 0; rd_row[me] = 0; rd_span[me] = 0;
	running = running & ~BIT(me);
	grace_writer = grace_writer & ~BIT(me);
	grace_reclaimer = grace_reclaimer & ~BIT(me);
	rd = BEGIN
}

/* The next look-up, or the judgement. */
inline look_on()
{
	rd_span[me] = 0;
	if
	:: looks & TEXTS && event & 1 -> looks = looks & ~TEXTS; rd = SHORT_KEY
	:: !(looks & TEXTS && event & 1) && looks & NUMBERS && event & 4 -> looks = 0; rd = NUMBER
	:: else ->
#ifdef LATE_EPOCH
		rd = EPOCH
#else
		to_slots()
#endif
	fi
}

inline to_slots()
{
	if
	:: hit0 & ~hit_not -> rd = ALIVE
	:: else -> end_event()
	fi
}

inline follow()
{
	if
	:: rd_row[me] -> rd = SPAN
	:: else -> look_on()
	fi
}

inline next_slot()
{
	if
	:: alive -> s = LOWEST(alive); alive = alive & ~BIT(s); rd = DEATH
	:: else -> end_event()
	fi
}

proctype Reader(byte me)
{
	mtype rd = BEGIN;
	byte event, looks, hit0, hit1, hit_not, alive, s, word, rd_last;
	byte id0, id1;
	bool want0, want1, found0, found1;

end:	do
	:: atomic {
		rd == BEGIN ->
		if
		:: event = 7
		:: event = 5
		:: event = 4
		:: event = 3
		fi;
		d_step {
			running = running | BIT(me);
#ifndef LATE_EPOCH
			load_epoch();
#endif
			rd = LOOKS
		}
	   }
	:: d_step { rd == LOOKS -> looks = in_use; look_on() }
	/* A trie is walked from its root: short keys come first, and the longest wins. */
	:: d_step {
		rd == SHORT_KEY -> rd_row[me] = key_row[A];
		if
		:: event & 2 -> rd = LONG_KEY
		:: else -> follow()
		fi
	   }
	:: d_step { rd == LONG_KEY -> rd_row[me] = (key_row[B] -> key_row[B] : rd_row[me]); follow() }
	:: d_step { rd == NUMBER -> rd_row[me] = key_row[N]; follow() }
	:: d_step {
		rd == SPAN -> rd_span[me] = row[rd_row[me] - 1]; rd_row[me] = 0;
		if
		:: rd_span[me] & 3 -> rd = CELL_1
		:: else -> look_on()
		fi
	   }
	:: d_step {
		rd == CELL_1 -> HIT(cell[rd_span[me] >> 2]);
		if
		:: (rd_span[me] & 3) == 2 -> rd = CELL_2
		:: else -> look_on()
		fi
	   }
	:: d_step { rd == CELL_2 -> HIT(cell[(rd_span[me] >> 2) + 1]); look_on() }
#ifdef LATE_EPOCH
	:: d_step { rd == EPOCH -> load_epoch(); to_slots() }
#endif
	:: d_step {
		rd == ALIVE -> alive = hit0 & ~hit_not & (hit1 | no_group);
		looks = 0; hit0 = 0; hit1 = 0; hit_not = 0;
		next_slot()
	   }
#ifndef READ_BORN_FIRST
	:: d_step { rd == DEATH -> word = died[s]; rd = BIRTH }
	:: d_step {
		rd == BIRTH ->
		if
		:: born[s] <= rd_epoch[me] && rd_epoch[me] < word -> rd = VERSION
#else
	:: d_step { rd == DEATH -> word = born[s]; rd = BIRTH }
	:: d_step {
		rd == BIRTH ->
		if
		:: word <= rd_epoch[me] && rd_epoch[me] < died[s] -> rd = VERSION
#endif
		:: else -> next_slot()
		fi;
		word = 0
	   }
	:: d_step {
		rd == VERSION -> word = version[s];
		if
		:: died[s] <= epoch -> SEEN(13) skip /* a dead version is still the right one */
		:: else
		fi;
		version_not_live = (word != id0 && word != id1);
		assert(!version_not_live);
		keys_mixed = (word == id0 && !want0) || (word == id1 && !want1);
		assert(!keys_mixed);
		judged_twice = (word == id0 && found0) || (word == id1 && found1);
		assert(!judged_twice);
		found0 = found0 || word == id0;
		found1 = found1 || word == id1;
		word = 0;
		next_slot()
	   }
	od
}

/* A slot that a reader may find visible, and what one holds, must stay. */
#define SEES(n, s)	   (running & BIT(n) && born[s] <= rd_epoch[n] && rd_epoch[n] < died[s])
#define HOLDS_ROW(n, r)	   (rd_row[n] == (r) + 1)
#define HOLDS_BLOCK(n, at) ((rd_span[n] & 3) && rd_span[n] >> 2 == (at))
#if READERS == 1
#define ANY_READER(what, x) what(0, x)
#else
#define ANY_READER(what, x) (what(0, x) || what(1, x))
#endif
#ifdef VERDICTS /* a bug is to show in what readers say, or at the end */
#define NOT_UNDER_READER(property, what, x) skip
#else
#define NOT_UNDER_READER(property, what, x) property = ANY_READER(what, x); assert(!property)
#endif

/* ---- Of the writer and its reclaimer: slot.go, row.go, index.go ---- */

#define CELL(k, n)	cell[(row[key_row[k] - 1] >> 2) + n]
#define CELL_BITS(k, n) (key_row[k] && (row[key_row[k] - 1] & 3) > n -> CELL(k, n) & 15 : 0)
#define KEY_BITS(k)	(CELL_BITS(k, 0) | CELL_BITS(k, 1))

#define USED(k) ((uses[0] | uses[1] | uses[2] | uses[3]) & BIT(k))
#define USED_LOOKS ((USED(A) || USED(B) -> TEXTS : 0) | (USED(N) -> NUMBERS : 0))

#define BLOCK_OF(r) (row[r] & 3 -> BIT(row[r] >> 2) : 0)

/* Removes the slot's bit from the row of a key. */
inline remove(k, s)
{
	if
	:: CELL_BITS(k, 0) & BIT(s) -> CELL(k, 0) = CELL(k, 0) & ~BIT(s)
	:: CELL_BITS(k, 1) & BIT(s) -> CELL(k, 1) = CELL(k, 1) & ~BIT(s)
	:: else
	fi
}

/* One store of slotTable.reclaim. When it is done, s is NONE. */
inline give_up(s)
{
	if
	:: KEY_BITS(B) & BIT(s) && !(uses[s] & BIT(B)) && !(uses[s] & BIT(A)) ->
		/* of A, which is gone: longer keys say what the shorter ones do */
		remove(B, s)
	:: else ->
		if
		:: in_use & ~USED_LOOKS -> in_use = in_use & USED_LOOKS
		:: else ->
			if
			:: uses[s] -> x = LOWEST(uses[s]); remove(x, s); uses[s] = uses[s] & ~BIT(x)
#ifndef BORN_AFTER_DIED
			:: !uses[s] && born[s] != NEVER ->
				NOT_UNDER_READER(slot_emptied_under_reader, SEES, s);
				born[s] = NEVER
			:: else -> died[s] = NEVER; free_slots = free_slots | BIT(s); s = NONE
#else
			:: !uses[s] && died[s] != NEVER -> died[s] = NEVER
			:: else -> born[s] = NEVER; free_slots = free_slots | BIT(s); s = NONE
#endif
			fi
		fi
	fi
}

/* index.remove and rows.drop. */
inline delete(k)
{
	SEEN(1) /* a key was deleted */
	x = key_row[k] - 1;
	key_row[k] = 0;
#ifndef REUSE_KEY
	deleted = deleted | BIT(k);
	old_rows = old_rows | BIT(x);
	old_blocks = old_blocks | BLOCK_OF(x);
#else
	free_rows = free_rows | BIT(x);
	free_blocks = free_blocks | BLOCK_OF(x);
#endif
	locked = false;
	reclaimer_at = IDLE
}

/* ---- The reclaimer: reclaim.go ---- */

active proctype Reclaimer()
{
	byte s = NONE;

again:
	{
end:	do
	/* takeBurial */
	:: d_step {
		reclaimer_at == IDLE && kicked && !locked -> kicked = false;
		if
		:: dead || old_rows || old_blocks || deleted ->
			b_dead = dead; b_rows = old_rows; b_blocks = old_blocks; b_keys = deleted;
			dead = 0; old_rows = 0; old_blocks = 0;
			waiting = true;
#ifndef NO_GRACE
			grace_reclaimer = running;
#endif
			reclaimer_at = GRACE
		:: else
		fi
	   }
	:: d_step {
		reclaimer_at == GRACE && !grace_reclaimer && !locked ->
		if
		:: waiting ->
			locked = true;
			waiting = false; clearing = true;
			free_rows = free_rows | b_rows;
			free_blocks = free_blocks | b_blocks;
			deleted = deleted & ~b_keys;
			b_rows = 0; b_blocks = 0; b_keys = 0;
			reclaimer_at = EMPTY
		:: else ->
			SEEN(2) /* a commit could not wait, and has done it */
			reclaimer_at = IDLE
		fi
	   }
	:: d_step { reclaimer_at == EMPTY && s == NONE && b_dead -> s = LOWEST(b_dead); b_dead = b_dead & ~BIT(s) }
	:: d_step {
		reclaimer_at == EMPTY && s != NONE -> give_up(s);
		/* The lock is given up now and then; here, after each slot. */
		if
		:: s == NONE && b_dead -> locked = false; reclaimer_at = YIELD
		:: else
		fi
	   }
	:: d_step { reclaimer_at == YIELD && !locked -> locked = true; reclaimer_at = EMPTY }
	:: d_step { reclaimer_at == EMPTY && s == NONE && !b_dead -> clearing = false; reclaimer_at = EVICT }
	/* One key that no slot uses, or none: which, is open here. */
	:: d_step { reclaimer_at == EVICT && key_row[A] && !USED(A) -> delete(A) }
	:: d_step { reclaimer_at == EVICT && key_row[B] && !USED(B) -> delete(B) }
	:: d_step { reclaimer_at == EVICT && key_row[N] && !USED(N) -> delete(N) }
#ifndef KEEP_LOCK
	:: d_step { reclaimer_at == EVICT -> locked = false; reclaimer_at = IDLE }
#else
	:: d_step { reclaimer_at == EVICT -> reclaimer_at = IDLE }
#endif
	od
	} unless { killed };
	d_step { s = NONE; reclaimer_at = IDLE; reclaimer_gone = true };
end2:	d_step { !killed -> reclaimer_gone = false };
	goto again
}

/* ---- The writer: commit.go ---- */

#define STAGED(c) ((c) && (c) != TAKE_AWAY)
#define STAGED_SLOTS ((staged[0] -> BIT(staged[0] - 1) : 0) | (staged[1] -> BIT(staged[1] - 1) : 0))

/* To the next rule of the swap. */
inline next_rule()
{
	do
	:: rule < 2 && !STAGED(clause[rule]) -> rule++
	:: else -> break
	od;
	if
	:: rule < 2 -> c = clause[rule]; at = SLOT
	:: else ->
		c = 0;
		if
		:: fails -> SEEN(3) todo = STAGED_SLOTS; then = FINISH; at = EMPTY
		:: else -> rule = 0; next_birth()
		fi
	fi
}

/* Stamps: the new versions' first, then the old ones'. */
inline next_birth()
{
	do
	:: rule < 2 && !staged[rule] -> rule++
	:: else -> break
	od;
	if
	:: rule < 2 -> at = BORN
	:: else ->
#ifdef EARLY_SWAP
		at = SWAP
#else
		rule = 0; next_death()
#endif
	fi
}

inline next_death()
{
	do
	:: rule < 2 && !(clause[rule] && live[rule]) -> rule++
	:: else -> break
	od;
	if
	:: rule < 2 -> at = DIED
	:: else ->
#ifdef EARLY_SWAP
		end_commit()
#else
		at = SWAP
#endif
	fi
}

/* Half a clause must not be born with the rest: its slot is emptied. */
inline no_room()
{
	todo = BIT(s); s = NONE; k = NONE; other = false;
	if
	:: !waited -> waited = true; then = WAIT; at = EMPTY
	:: else -> refuse()
	fi
}

inline refuse()
{
	/*
	 * The one case: the reclaimer has given the lock up half-way, and what it is about to set
	 * free is on no list that the commit could wait for.
	 */
	SEEN(4)
	commit_refused = !clearing;
	assert(!commit_refused);
	refused = true;
	todo = todo | STAGED_SLOTS; then = FINISH; at = EMPTY
}

/* index.acquire: a key is inserted once, with its row. */
inline next_key()
{
	k = (other -> OTHER_KEY(c) : FIRST_KEY(c));
	if
	:: key_row[k] -> at = USE
	:: !key_row[k] && !(deleted & BIT(k)) && free_rows -> at = ROW
	:: !key_row[k] && (deleted & BIT(k) || !free_rows) -> SEEN(5) no_room()
	fi
}

/* To the clause's other key, or the next rule. */
inline next_use()
{
	if
	:: !other && OTHER_KEY(c) != NONE -> other = true; next_key()
	:: else ->
		staged[rule] = s + 1;
		s = NONE; k = NONE; other = false; waited = false;
		rule++;
		next_rule()
	fi
}

/* rows.set: hits of row "in" are to count for a group (+ 1) of the slots in bits. */
inline set()
{
	span = row[in];
	if
	:: (span & 3) >= 1 && cell[span >> 2] >> 4 == group -> to = span >> 2; at = SET
	:: (span & 3) == 2 && cell[(span >> 2) + 1] >> 4 == group -> to = (span >> 2) + 1; at = SET
	:: else ->
		if
		:: (span & 3) == 1 && span >> 2 >= ONES -> to = (span >> 2) + 1; at = APPEND
		:: else ->
			/* grow: cells without bits are left behind; there is no block of four. */
			kept = ((span & 3) >= 1 && cell[span >> 2] & 15 -> cell[span >> 2] : 0);
			assert(!(kept && (span & 3) == 2 && cell[(span >> 2) + 1] & 15));
			kept = ((span & 3) == 2 && cell[(span >> 2) + 1] & 15 -> cell[(span >> 2) + 1] : kept);
			x = (kept -> free_blocks & (BIT(4) | BIT(6)) : free_blocks & 15);
			if
			:: x ->
				to = (x & 15 -> LOWEST(x) : (x & BIT(4) -> 4 : 6));
				NOT_UNDER_READER(block_reused_under_reader, HOLDS_BLOCK, to);
				free_blocks = free_blocks & ~BIT(to);
				at = (kept -> MOVE : PUBLISH)
			:: else ->
				SEEN(6) /* no block */
				if
				:: after == INSERT ->
					/* rows.drop */
					old_rows = old_rows | BIT(in); old_blocks = old_blocks | BLOCK_OF(in)
				:: else
				fi;
				end_set();
				no_room()
			fi
		fi
	fi
}

inline end_set()
{
	in = NONE; group = 0; bits = 0; span = 0; to = 0; kept = 0; after = 0
}

inline has_set()
{
	if
	:: after == INSERT -> r = in; end_set(); at = INSERT
	:: after == ADDED && k == A && key_row[B] ->
		SEEN(7) /* the longer key is told too */
		end_set();
		in = key_row[B] - 1; group = 1; bits = BIT(s); after = WHOLE;
		set()
	:: else -> end_set(); next_use()
	fi
}

inline end_commit()
{
	clause[0] = 0; clause[1] = 0; staged[0] = 0; staged[1] = 0;
	rule = 0; c = 0; fails = false; waited = false;
	locked = false;
	at = COMMIT
}

/* The store of the epoch, and what is true from then on. */
inline swap()
{
	epoch++;
	x = (staged[0] -> version[staged[0] - 1] : 0);
	y = (staged[1] -> version[staged[1] - 1] : 0);
	if
	:: x && y && live[0] && live[1] -> SEEN(14) skip /* both rules change at once */
	:: else
	fi;
	id_reused = (x && x >> 1 <= newest) || (y && y >> 1 <= newest);
	assert(!id_reused);
	newest = (x || y -> (x | y) >> 1 : newest);
	now_id[0] = (clause[0] -> x : now_id[0]);
	now_id[1] = (clause[1] -> y : now_id[1]);
	now_clause[0] = (clause[0] -> (clause[0] == TAKE_AWAY -> 0 : clause[0]) : now_clause[0]);
	now_clause[1] = (clause[1] -> (clause[1] == TAKE_AWAY -> 0 : clause[1]) : now_clause[1])
}

inline bury()
{
	dead = dead | (clause[0] && live[0] -> BIT(live[0] - 1) : 0) | (clause[1] && live[1] -> BIT(live[1] - 1) : 0);
	live[0] = (clause[0] -> staged[0] : live[0]);
	live[1] = (clause[1] -> staged[1] : live[1]);
	kicked = true;
	end_commit()
}

/* What a successor finds. */
#define ABSENT(s)  (born[s] > epoch) /* free, half staged, half emptied, or not committed */
#define STAMPED(s) (born[s] > epoch && born[s] != NEVER)
#define TO_DIE(s)  (born[s] <= epoch && died[s] > epoch && died[s] != NEVER)
#define HALF(s)	   (born[s] == NEVER && died[s] != NEVER)
#define SOME(p)	   (p(0) || p(1) || p(2) || p(3))
#define FIRST(p)   (p(0) -> 0 : (p(1) -> 1 : (p(2) -> 2 : 3)))
#define MASK(p)	   ((p(0) -> 1 : 0) | (p(1) -> 2 : 0) | (p(2) -> 4 : 0) | (p(3) -> 8 : 0))
#define STALE(k, n) (CELL_BITS(k, n) & MASK(ABSENT))
#define PRESENT_LOOKS                                                           \
	(((KEY_BITS(A) | KEY_BITS(B)) & ~MASK(ABSENT) -> TEXTS : 0) |           \
	 (KEY_BITS(N) & ~MASK(ABSENT) -> NUMBERS : 0))

#define ROW_OF(k)   (key_row[k] -> BIT(key_row[k] - 1) : 0)
#define KEY_ROWS    (ROW_OF(A) | ROW_OF(B) | ROW_OF(N))
#define KEY_BLOCK(k) (key_row[k] -> BLOCK_OF(key_row[k] - 1) : 0)
#define KEY_BLOCKS  (KEY_BLOCK(A) | KEY_BLOCK(B) | KEY_BLOCK(N))
#define LIVE_SLOTS  ((live[0] -> BIT(live[0] - 1) : 0) | (live[1] -> BIT(live[1] - 1) : 0))

/*
 * What a successor owes, before it commits anything:
 *
 *  1. born of slots that were stamped for an epoch that did not come: "never" again;
 *  2. died of slots that were stamped so: "never" again, they live on;
 *  3. died of slots that were being emptied (born is "never" already): "never";
 *  4. no cell of a row that a key leads to has a bit of a slot with born "never": the next clause
 *     in that slot would have those keys too;
 *  5. in-use bits (and those of the filters) that nothing needs are cleared; those that live or dead
 *     slots need stay set all the time: not all cleared and then made anew;
 *  6. slots that have died wait for a grace period of its own, with their cells and in-use bits in
 *     place; slots with born "never" are free at once, since no reader can see them;
 *  7. rows and cells that no key leads to, and keys that are not there, may have been given up a
 *     moment ago: they wait for that grace period too. One wait at the end of the scrub would do;
 *  8. ids of versions go on behind the highest in any slot, emptied ones included (so these must
 *     keep theirs), since records in the ring may name them;
 *  9. it may crash as well, so each store must leave something that the next one can scrub.
 *
 * 1 to 5 are stores, in any order. Rules are known by their versions' ids: what id means which rule
 * must outlive the writer. Here an id says so itself.
 */
#ifdef NO_SCRUB
#define TO_SCRUB false
#else
#define TO_SCRUB                                                                               \
	(SOME(STAMPED) || STAMPED_DEATHS || SOME(HALF) || STALE_CELLS || in_use & ~PRESENT_LOOKS)
#endif
#ifdef SCRUB_NO_DEATHS
#define STAMPED_DEATHS false
#else
#define STAMPED_DEATHS SOME(TO_DIE)
#endif
#ifdef SCRUB_NO_CELLS
#define STALE_CELLS false
#else
#define STALE_CELLS (STALE(A, 0) || STALE(B, 0) || STALE(B, 1) || STALE(N, 0) || STALE(N, 1))
#endif

/* Its bookkeeping is made anew from the kernel's memory. */
inline adopt()
{
	i = 0;
	do
	:: i < SLOTS ->
		/*
		 * A slot has the keys in whose rows its bits are. A bit in the row of a longer key is
		 * the shorter one's, if that has it.
		 */
		uses[i] = (KEY_BITS(A) & BIT(i) -> BIT(A) : 0) | (KEY_BITS(N) & BIT(i) -> BIT(N) : 0) |
			  (KEY_BITS(B) & BIT(i) && !(KEY_BITS(A) & BIT(i)) -> BIT(B) : 0);
		if
		:: born[i] <= epoch && died[i] > epoch -> live[version[i] & 1] = i + 1
		/* When it died is not known to be a grace period ago: it waits for one of ours. */
#ifndef SCRUB_NO_DEAD
		:: born[i] <= epoch && died[i] <= epoch -> SEEN(8) dead = dead | BIT(i)
#endif
		:: born[i] == NEVER && died[i] == NEVER -> free_slots = free_slots | BIT(i)
		:: else /* only without the scrub */
		fi;
#ifndef SCRUB_NEW_IDS
		/* No id is given twice. Emptied slots still hold theirs, so the newest is there. */
		last = (version[i] >> 1 > last -> version[i] >> 1 : last);
#endif
		i++
	:: else -> break
	od;
	i = 0;
	/*
	 * Rows and blocks that no key leads to, and keys that are not there, may have been given
	 * up a moment ago: they wait for the same grace period.
	 */
#ifndef SCRUB_NO_GRACE
	old_rows = ALL_ROWS & ~KEY_ROWS;
	old_blocks = ALL_BLOCKS & ~KEY_BLOCKS;
	deleted = (key_row[A] -> 0 : BIT(A)) | (key_row[B] -> 0 : BIT(B)) | (key_row[N] -> 0 : BIT(N));
#else
	free_rows = ALL_ROWS & ~KEY_ROWS;
	free_blocks = ALL_BLOCKS & ~KEY_BLOCKS;
#endif
#ifndef NO_SCRUB
	scrub_lost_a_rule = (live[0] -> version[live[0] - 1] : 0) != now_id[0] ||
			    (live[1] -> version[live[1] - 1] : 0) != now_id[1];
	assert(!scrub_lost_a_rule);
#endif
	kicked = true;
	at = COMMIT
}

active proctype Writer()
{
	byte clause[2], staged[2]; /* of the swap; slots + 1 */
	byte rule, c, s = NONE, k = NONE, r;
	bool fails, waited, other, refused;
	byte todo; /* slots to empty */
	mtype then;
	byte in = NONE, group, bits, span, to, kept; /* of rows.set */
	mtype after;

again:
	{
end:	do
	/* A new version of one rule, or of both, or the end of one. */
	:: atomic {
		at == COMMIT && epoch < COMMITS && !locked && !(refused && clearing) ->
		if
		:: clause[0] = (now_clause[0] == 1 -> 2 : 1)
		:: clause[1] = (now_clause[1] == 3 -> 4 : 3)
#ifndef FEW
		:: d_step {
			true ->
			clause[0] = (now_clause[0] == 1 -> 2 : 1);
			clause[1] = (now_clause[1] == 3 -> 4 : 3)
		   }
		:: live[1] -> clause[1] = TAKE_AWAY
#endif
		fi;
		if
		:: aborts -> aborts--; fails = true
		:: true
		fi;
		d_step {
			locked = true;
			refused = false;
			last++;
			next_rule()
		}
	   }
	:: d_step {
		at == SLOT ->
		if
		:: free_slots ->
			s = LOWEST(free_slots);
			if
			:: version[s] -> SEEN(11) skip /* a slot is used again */
			:: else
			fi;
			free_slots = free_slots & ~BIT(s);
			version[s] = 2 * last + rule;
			at = GROUPS
		:: !free_slots && !waited && (dead || waiting) -> SEEN(9) waited = true; at = WAIT
		:: !free_slots && (waited || !(dead || waiting)) -> refuse()
		fi
	   }
	:: d_step {
		at == GROUPS -> no_group = (c == 2 -> no_group & ~BIT(s) : no_group | BIT(s));
		next_key()
	   }
	:: d_step {
		at == ROW -> r = LOWEST(free_rows);
		NOT_UNDER_READER(row_reused_under_reader, HOLDS_ROW, r);
		free_rows = free_rows & ~BIT(r);
		row[r] = 0;
		if
		:: k == B && CELL_BITS(A, 0) ->
			/* A longer key says what the shorter one does, which is in groups 0 only. */
			SEEN(10)
			in = r; group = CELL(A, 0) >> 4; bits = CELL(A, 0) & 15; after = INSERT;
			set()
		:: else -> at = INSERT
		fi
	   }
	:: d_step { at == INSERT -> key_row[k] = r + 1; r = 0; at = USE }
	:: d_step {
		at == USE -> uses[s] = uses[s] | BIT(k);
		in_use = in_use | LOOK(k);
		in = key_row[k] - 1; group = (other -> OTHER_GROUP(c) + 1 : 1); bits = BIT(s); after = ADDED;
		set()
	   }
	:: d_step { at == SET -> cell[to] = cell[to] | bits; has_set() }
	:: d_step { at == MOVE -> cell[to] = kept; at = PUBLISH }
	:: d_step {
		at == PUBLISH ->
		if
		:: span & 3 && ANY_READER(HOLDS_BLOCK, span >> 2) -> SEEN(12) skip /* a row moves under a reader */
		:: else
		fi;
#ifndef BLOCK_AT_ONCE
		old_blocks = old_blocks | BLOCK_OF(in);
#else
		free_blocks = free_blocks | BLOCK_OF(in);
#endif
		row[in] = to << 2 | (kept -> 1 : 0);
		to = to + (kept -> 1 : 0);
		span = row[in];
		at = APPEND
	   }
	:: d_step { at == APPEND -> cell[to] = group << 4 | bits; at = COUNT }
	:: d_step { at == COUNT -> row[in] = span + 1; has_set() }

	:: d_step { at == BORN -> born[staged[rule] - 1] = epoch + 1; rule++; next_birth() }
#ifndef EARLY_SWAP
	:: d_step { at == DIED -> died[live[rule] - 1] = epoch + 1; rule++; next_death() }
	:: d_step { at == SWAP -> swap(); bury() }
#else
	:: d_step { at == SWAP -> swap(); rule = 0; next_death() }
	:: d_step { at == DIED -> died[live[rule] - 1] = epoch; rule++; next_death() }
#endif

	/* reclaimNow */
	:: d_step {
		at == WAIT ->
		if
		:: waiting ->
			dead = dead | b_dead; old_rows = old_rows | b_rows; old_blocks = old_blocks | b_blocks;
			waiting = false; b_dead = 0; b_rows = 0; b_blocks = 0; b_keys = 0
		:: else
		fi;
#ifndef NO_GRACE
		grace_writer = running;
#endif
		at = GRACE
	   }
	:: d_step {
		at == GRACE && !grace_writer ->
		free_rows = free_rows | old_rows;
		free_blocks = free_blocks | old_blocks;
		old_rows = 0; old_blocks = 0; deleted = 0;
		todo = dead; dead = 0;
		then = SLOT; at = EMPTY
	   }
	:: d_step { at == EMPTY && s == NONE && todo -> s = LOWEST(todo); todo = todo & ~BIT(s) }
	:: d_step { at == EMPTY && s != NONE -> give_up(s) }
	:: d_step {
		at == EMPTY && s == NONE && !todo ->
		if
		:: then == FINISH -> end_commit()
		:: else -> at = then
		fi;
		then = 0
	   }

	/* Stamps for an epoch that did not come: births ... */
	:: d_step { at == SCRUB && TO_SCRUB && SOME(STAMPED) -> x = FIRST(STAMPED); born[x] = NEVER }
	/* ... and deaths. */
	:: d_step { at == SCRUB && TO_SCRUB && STAMPED_DEATHS -> x = FIRST(TO_DIE); died[x] = NEVER }
	/* Slots that were being emptied. Nobody sees them any more. */
	:: d_step { at == SCRUB && TO_SCRUB && SOME(HALF) -> x = FIRST(HALF); died[x] = NEVER }
	/* Bits of slots that hold nothing: the next clause there would have those keys too. */
	:: d_step { at == SCRUB && TO_SCRUB && STALE_CELLS && STALE(A, 0) -> CELL(A, 0) = CELL(A, 0) & ~MASK(ABSENT) }
	:: d_step { at == SCRUB && TO_SCRUB && STALE_CELLS && STALE(B, 0) -> CELL(B, 0) = CELL(B, 0) & ~MASK(ABSENT) }
	:: d_step { at == SCRUB && TO_SCRUB && STALE_CELLS && STALE(B, 1) -> CELL(B, 1) = CELL(B, 1) & ~MASK(ABSENT) }
	:: d_step { at == SCRUB && TO_SCRUB && STALE_CELLS && STALE(N, 0) -> CELL(N, 0) = CELL(N, 0) & ~MASK(ABSENT) }
	:: d_step { at == SCRUB && TO_SCRUB && STALE_CELLS && STALE(N, 1) -> CELL(N, 1) = CELL(N, 1) & ~MASK(ABSENT) }
	/* In-use bits that nothing needs. Those that are needed must stay set all the time. */
	:: d_step { at == SCRUB && TO_SCRUB && in_use & ~PRESENT_LOOKS -> in_use = in_use & PRESENT_LOOKS }
#ifndef SCRUB_NEW_BITS
	:: d_step { at == SCRUB && !TO_SCRUB -> adopt() }
#else
	:: d_step { at == SCRUB && !TO_SCRUB -> in_use = 0; at = FINISH }
	:: d_step { at == FINISH -> in_use = PRESENT_LOOKS; adopt() }
#endif

	/* All is done, and the reclaimer has nothing left to do. */
	:: d_step {
		at == COMMIT && epoch == COMMITS && !locked && !kicked && reclaimer_at == IDLE && !done ->
		resources_leaked =
			(free_slots | LIVE_SLOTS) != ALL_SLOTS || free_slots & LIVE_SLOTS || dead ||
			(free_rows | old_rows | KEY_ROWS) != ALL_ROWS || free_rows & old_rows ||
			(free_rows | old_rows) & KEY_ROWS ||
			(free_blocks | old_blocks | KEY_BLOCKS) != ALL_BLOCKS || free_blocks & old_blocks ||
			(free_blocks | old_blocks) & KEY_BLOCKS ||
			(KEY_BITS(A) | KEY_BITS(B) | KEY_BITS(N)) & free_slots || in_use != PRESENT_LOOKS;
		assert(!resources_leaked);
		done = true
	   }
	od
	} unless { killed };
	d_step {
		reclaimer_gone ->
		locked = false; last = 0; live[0] = 0; live[1] = 0; free_slots = 0; dead = 0;
		uses[0] = 0; uses[1] = 0; uses[2] = 0; uses[3] = 0;
		free_rows = 0; old_rows = 0; free_blocks = 0; old_blocks = 0; deleted = 0;
		kicked = false; waiting = false; b_dead = 0; b_rows = 0; b_blocks = 0; b_keys = 0; clearing = false;
		grace_writer = 0; grace_reclaimer = 0;
		clause[0] = 0; clause[1] = 0; staged[0] = 0; staged[1] = 0;
		rule = 0; c = 0; s = NONE; k = NONE; r = 0;
		fails = false; waited = false; other = false; refused = false;
		todo = 0; then = 0; end_set();
		done = false; killed = false;
		at = SCRUB
	};
	goto again
}

/* Ends the writer and its reclaimer at some step. */
active proctype Killer()
{
end:	do
	:: d_step {
#ifndef PROGRESS
		/* A crash while it scrubs does not count: there may be any number. */
		!killed && (kills || KILLS && at == SCRUB) -> kills = (at == SCRUB -> kills : kills - 1);
#else
		!killed && kills -> kills--;
#endif
		killed = true;
		c_code { killed_at[0][now.at] = 1; killed_at[1][now.reclaimer_at] = 1; }
	   }
	:: break
	od
}

init {
	atomic {
		skip;
#ifndef NO_READERS
		run Reader(0);
#endif
#if READERS > 1
		run Reader(1);
#endif
	}
}

#ifdef PROGRESS
/* Whatever happens, the writer gets its commits done, and the reclaimer clears up. */
ltl not_done_in_the_end { []<> done }
#endif
