/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Of swap.pml: the writer and its reclaimer. */

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
#ifdef FORGET_REST
			waiting = false;
#endif
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
		/* The lock is given up now and then; here, after each slot. What is left is still waiting. */
		if
		:: s == NONE -> locked = false; reclaimer_at = YIELD
		:: else
		fi
	   }
	:: d_step { reclaimer_at == YIELD && !locked -> locked = true; reclaimer_at = EMPTY }
	:: d_step { reclaimer_at == EMPTY && s == NONE && !b_dead -> waiting = false; reclaimer_at = EVICT }
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
	} unless { d_step { killed -> s = NONE; reclaimer_at = GONE } }
}

/* ---- The writer: commit.go ---- */

#define STAGED(c) ((c) && (c) != TAKE_AWAY)
#define LIVE_SLOTS   ((live[0] -> BIT(live[0] - 1) : 0) | (live[1] -> BIT(live[1] - 1) : 0))
#define STAGED_SLOTS ((staged[0] -> BIT(staged[0] - 1) : 0) | (staged[1] -> BIT(staged[1] - 1) : 0))

#define STAMPED(r) (staged[r] && born[staged[r] - 1] != NEVER)
#define DOOMED(r)  (live[r] && died[live[r] - 1] != NEVER)

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
	:: else -> SEEN(15)
		commit_refused = dead || b_dead || b_rows || b_blocks;
		refuse()
	fi
}

/* Only a table that is really full is an excuse. */
inline refuse()
{
	assert(!commit_refused);
	refused++;
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
	:: x && y && live[0] && live[1] -> SEEN(8) skip /* both rules change at once */
	:: else
	fi;
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
	kicked = true; refused = 0;
	end_commit()
}

#define ROW_OF(k)   (key_row[k] -> BIT(key_row[k] - 1) : 0)
#define KEY_ROWS    (ROW_OF(A) | ROW_OF(B) | ROW_OF(N))
#define KEY_BLOCK(k) (key_row[k] -> BLOCK_OF(key_row[k] - 1) : 0)
#define KEY_BLOCKS  (KEY_BLOCK(A) | KEY_BLOCK(B) | KEY_BLOCK(N))
#define KEY_LOOKS   ((KEY_BITS(A) | KEY_BITS(B) -> TEXTS : 0) | (KEY_BITS(N) -> NUMBERS : 0))

active proctype Writer()
{
	byte clause[2], staged[2]; /* of the swap; slots + 1 */
	byte rule, c, s = NONE, k = NONE, r;
	bool fails, waited, other;
	byte refused; /* since the last epoch; more than two say nothing new */
	byte todo; /* slots to empty */
	mtype then;
	byte in = NONE, group, bits, span, to, kept; /* of rows.set */
	mtype after;

	{
end:	do
	/* A new version of one rule, or of both, or the end of one. */
	:: atomic {
		at == COMMIT && epoch < COMMITS && !locked && refused < 2 ->
		if
		:: clause[0] = (now_clause[0] == 1 -> 2 : 1)
		:: clause[1] = (now_clause[1] == 3 -> 4 : 3)
#ifndef FEW
		:: d_step {
			!refused ->
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
		:: !free_slots && (waited || !(dead || waiting)) ->
			SEEN(4)
			commit_refused = (LIVE_SLOTS | STAGED_SLOTS) != ALL_SLOTS;
			refuse()
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

	/* The journal could not be written: the epoch does not come. */
	:: d_step { at == SWAP && aborts -> aborts--; at = UNDO }
	:: d_step {
		at == UNDO ->
		if
		:: STAMPED(0) -> born[staged[0] - 1] = NEVER
		:: !STAMPED(0) && STAMPED(1) -> born[staged[1] - 1] = NEVER
#ifndef UNDO_NO_DEATHS
		:: !STAMPED(0) && !STAMPED(1) && DOOMED(0) -> died[live[0] - 1] = NEVER
		:: !STAMPED(0) && !STAMPED(1) && !DOOMED(0) && DOOMED(1) -> died[live[1] - 1] = NEVER
#endif
		:: else -> todo = STAGED_SLOTS; then = FINISH; at = EMPTY
		fi
	   }

	/* reclaimNow */
	:: d_step {
		at == WAIT && waiting && reclaimer_at == YIELD ->
		SEEN(14) /* what is left of a burial, after its grace period */
		todo = b_dead; b_dead = 0;
		waiting = false;
		then = WAIT; at = EMPTY
	   }
	:: d_step {
		at == WAIT && !(waiting && reclaimer_at == YIELD) ->
		if
		:: waiting ->
			dead = dead | b_dead; old_rows = old_rows | b_rows; old_blocks = old_blocks | b_blocks;
			waiting = false; b_dead = 0; b_rows = 0; b_blocks = 0; b_keys = 0
		:: else
		fi;
		if
		:: dead || old_rows || old_blocks || deleted ->
#ifndef NO_GRACE
			grace_writer = running;
#endif
			at = GRACE
		:: else -> at = SLOT
		fi
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

	/* All is done, and the reclaimer has nothing left to do. */
	:: d_step {
		at == COMMIT && epoch == COMMITS && !locked && !kicked && reclaimer_at == IDLE && !done ->
		resources_leaked =
			(free_slots | LIVE_SLOTS) != ALL_SLOTS || free_slots & LIVE_SLOTS || dead ||
			(free_rows | old_rows | KEY_ROWS) != ALL_ROWS || free_rows & old_rows ||
			(free_rows | old_rows) & KEY_ROWS ||
			(free_blocks | old_blocks | KEY_BLOCKS) != ALL_BLOCKS || free_blocks & old_blocks ||
			(free_blocks | old_blocks) & KEY_BLOCKS ||
			(KEY_BITS(A) | KEY_BITS(B) | KEY_BITS(N)) & free_slots || in_use != KEY_LOOKS;
		assert(!resources_leaked);
		done = true
	   }
	od
	} unless {
		/* Its memory goes: runs that differ in nothing else are one. */
		d_step {
			killed ->
			last = 0; live[0] = 0; live[1] = 0; uses[0] = 0; uses[1] = 0; uses[2] = 0; uses[3] = 0;
			free_slots = 0; free_rows = 0; free_blocks = 0; dead = 0; old_rows = 0; old_blocks = 0;
			b_dead = 0; b_rows = 0; b_blocks = 0; b_keys = 0; deleted = 0;
			locked = false; kicked = false; waiting = false; grace_writer = 0; grace_reclaimer = 0;
			clause[0] = 0; clause[1] = 0; staged[0] = 0; staged[1] = 0;
			rule = 0; c = 0; s = NONE; k = NONE; r = 0; todo = 0; then = 0; end_set();
			fails = false; waited = false; other = false; refused = 0; aborts = 0;
			at = GONE
		}
	}
}
