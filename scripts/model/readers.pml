/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Of swap.pml: those that judge events. */

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
