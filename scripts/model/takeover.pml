/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A model of the take-over: agents follow each other, each killed at any step, while events flow.
 * scripts/model/run.sh has spin check it; docs/engine.md, "The models", is the summary. How an agent
 * changes its own rules is in swap.pml; here it has two epochs, and commits the second some time.
 *
 * Each option of a process is one step, as in swap.pml: one load or store of memory that others see,
 * one system call, or one write to a file. An agent's goroutines are the three program counters
 * "at" (start, then commits), "rd" (the reader of rings) and "gp" (the reporter of losses).
 *
 * Macros choose what a search looks at: EVENTS, KILLS and RING; PROGRESS asks whether the last agent
 * gets everything done. The others put a bug in: see run.sh. Names of properties are those of the
 * variables that are asserted.
 */

#ifndef EVENTS
#define EVENTS 3
#endif
#ifndef KILLS
#define KILLS 2 /* at most; the last agent lives on */
#endif
#ifndef RING
#define RING 1 /* records that fit into a ring */
#endif

#define AGENTS 3
#define HOOKS  2

#define BIT(n) (1 << (n))
#define LOWEST(m) ((m) & 1 -> 0 : ((m) & 2 -> 1 : 2)) /* of three bits */

/* What has happened in a run at least once: run.sh wants all of it. Not part of a state. */
c_decl {
	static char seen[32];
	static char killed_at[3][64];
	static void __attribute__((destructor)) tell(void)
	{
		static const char *where[] = {"agent", "reader", "reporter"};

		for (int i = 0; i < 32; i++)
			if (seen[i])
				printf("seen %d\n", i);
		for (int i = 0; i < 3; i++)
			for (int j = 0; j < 64; j++)
				if (killed_at[i][j])
					printf("killed at %s %d\n", where[i], j);
	}
}
#define SEEN(n) c_code { seen[n] = 1; };

/* ---- What outlives an agent: pins and files. ---- */

#define NOT   0
#define HALF  1 /* some of its maps, or a stub's table without the link */
#define WHOLE 2

/* Hooks: the stub that is attached, if any. */
byte stub[HOOKS]; /* the agent whose program its table names, + 1 */
byte pin[HOOKS];

/* Instances, by agent. Their maps live as long as a pin, an agent or a program that a stub leads to. */
byte pinned[AGENTS];
byte epoch[AGENTS];
byte produced[AGENTS], consumed[AGENTS]; /* records, since the ring was made */
byte record[AGENTS * RING]; /* (event * 2 + epoch - 1) << 2 | agent, + 1; 0: not submitted yet */
byte lost[AGENTS]; /* counter: events that found the ring full */
byte noted[AGENTS], reported[AGENTS]; /* books: of "lost", what is about to be reported, and has been */

byte journal[AGENTS]; /* the last epoch whose versions it knows; 0: there is no journal */

/* The outbox: what is written is in it for good. */
byte out; /* events */
byte gaps[AGENTS]; /* ids of gap records: a bit for each total */
byte gap_sum[AGENTS]; /* what they say was lost */

/* ---- Of the machine. ---- */

bool locked; /* the pins; the lock goes with who holds it */
byte begun; /* events */
byte running; /* CPUs that are in a program */
byte grace; /* those that were when a grace period began, and still are */
byte agents; /* that have started */
byte kills = KILLS;

/* ---- For assertions ---- */

byte dropped; /* events that were counted as lost */
byte dead; /* agents */
byte reader[AGENTS]; /* who reads the ring, + 1 */
bool done;

/* Properties, set where they are asserted; 1 is bad. */
hidden byte event_lost, event_written_twice, loss_miscounted, version_unknown, wrong_rules;
hidden byte two_readers, left_behind, hook_lost;

hidden byte i; /* of a single step */

/* ---- Events: bpf/ ---- */

mtype = { IDLE, JUDGE, RESERVE, SUBMIT };

#define LEAVE running = running & ~BIT(me); grace = grace & ~BIT(me); e = 0; a = 0; v = 0; p = 0; in = IDLE

/* The stub's tail call is one load. */
inline enter(h)
{
	e = begun; a = stub[h] - 1;
	begun++;
	running = running | BIT(me);
	in = JUDGE
}

proctype CPU(byte me)
{
	mtype in = IDLE;
	byte e, a, v, p;

end:	do
	:: d_step { in == IDLE && begun < EVENTS && stub[0] -> enter(0) }
	:: d_step { in == IDLE && begun < EVENTS && stub[1] -> enter(1) }
	:: d_step { in == JUDGE -> v = epoch[a]; in = RESERVE }
	:: d_step {
		in == RESERVE ->
		if
		:: produced[a] - consumed[a] < RING ->
			p = a * RING + produced[a] % RING;
			record[p] = 0;
			produced[a]++;
			in = SUBMIT
		:: else ->
			lost[a]++;
			if
			:: dead & BIT(a) -> SEEN(8) skip /* nobody reads that ring now */
			:: else
			fi;
			dropped = dropped | BIT(e);
			LEAVE
		fi
	   }
	:: d_step {
		in == SUBMIT ->
		if
		:: dead & BIT(a) -> SEEN(9) skip /* the kernel goes on */
		:: else
		fi;
		record[p] = ((e * 2 + v - 1) << 2 | a) + 1;
		LEAVE
	   }
	od
}

/* ---- Agents ---- */

mtype = { LOCK, ADOPT, JOURNAL, PIN, PIN_REST, TAKE, STUB_TABLE, STUB_LINK, WAIT, GRACE, REMOVE, JOURNALS,
	  TAIL, WORK, COMMIT, WORKED, DEAD,
	  READ, WRITE, RELEASE, POLL, NOTE, TELL, BOOK, UNPIN, UNPIN_REST, FORGET, NONE };

#ifndef NO_LOCK
#define FREE !locked
#else
#define FREE true
#endif

#define MINE(n)	   ((n) == me || old & BIT(n))
#define MISSING(n) (MINE(n) && lost[n] > reported[n])

/* The next ring: of agents that are gone the oldest first, then its own. */
inline next_ring()
{
	from = (to_read -> LOWEST(to_read) : me);
	next = consumed[from];
	two_readers = reader[from] != 0;
	assert(!two_readers);
	reader[from] = me + 1;
	rd = READ
}

/* Losses: the next instance that has any. */
inline next_loss()
{
	do
	:: g < AGENTS && !MISSING(g) -> g++
	:: else -> break
	od;
	if
	:: g < AGENTS ->
		/* First what one that was killed meanwhile may have written. */
		total = (noted[g] > reported[g] -> noted[g] : lost[g]);
		gp = NOTE
	:: else ->
		g = 0; total = 0;
		dispose()
	fi
}

/* Dispose: instances that have been read to the end. */
inline dispose()
{
	gp = (drained -> UNPIN : POLL)
}

inline die()
{
	if
	:: stub[0] && stub[1] && stub[0] != stub[1] -> SEEN(10) skip /* half-way through the hooks */
	:: else
	fi;
	kills--;
	dead = dead | BIT(me);
	done = false;
	i = 0;
	do
	:: i < HOOKS ->
		/* A link that is not pinned goes with its process. */
		if
		:: stub[i] == me + 1 && pin[i] != WHOLE -> SEEN(1) stub[i] = 0
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0;
	do
	:: i < AGENTS ->
		reader[i] = (reader[i] == me + 1 -> 0 : reader[i]);
		before_gaps[i] = 0;
		i++
	:: else -> break
	od;
	i = 0;
	locked = false; grace = 0;
	h = 0; old = 0; to_read = 0; drained = 0; before = 0; from = 0; next = 0; hand = 0; g = 0; total = 0;
	at = DEAD; rd = NONE; gp = NONE
}

proctype Agent(byte me)
{
	mtype at = LOCK, rd = NONE, gp = NONE;
	byte h; /* the hook that is being taken over */
	byte old; /* instances of agents that are gone */
	byte to_read, drained; /* of these */
	byte from, next, hand; /* the ring that is read, the position in it, and the record in hand */
	byte before, before_gaps[AGENTS]; /* what was in the outbox when it began */
	byte g, total; /* the loss that is being reported */

end:	do
	:: d_step { at == LOCK && agents == me && FREE -> locked = true; agents++; at = ADOPT }
	/* Load */
	:: d_step {
		at == ADOPT ->
		old = 0; i = 0;
		do
		:: i < me -> old = old | (pinned[i] == WHOLE -> BIT(i) : 0); i++
		:: else -> break
		od;
		i = 0;
		to_read = old;
		if
		:: (old & 3) == 3 -> SEEN(2) skip /* two have left something */
		:: else
		fi;
		at = JOURNAL
	   }
	:: d_step {
		at == JOURNAL -> journal[me] = 1; epoch[me] = 1; /* with all rules */
#ifndef LATE_PIN
		at = PIN
#else
		at = TAKE
#endif
	   }
	/* Attach */
	:: d_step { at == PIN -> pinned[me] = HALF; at = PIN_REST }
	:: d_step { at == PIN_REST -> pinned[me] = WHOLE; at = TAKE }
	:: d_step {
		at == TAKE && h < HOOKS && pin[h] == WHOLE ->
		SEEN(3) /* one store hands it over */
		hook_lost = !stub[h];
		assert(!hook_lost);
		stub[h] = me + 1;
		h++;
#ifdef LATE_PIN
		at = (pinned[me] == NOT -> PIN : TAKE)
#endif
	   }
	:: d_step { at == TAKE && h < HOOKS && pin[h] != WHOLE -> stub[h] = me + 1; pin[h] = NOT; at = STUB_TABLE }
	:: d_step { at == STUB_TABLE -> pin[h] = HALF; at = STUB_LINK }
	:: d_step {
		at == STUB_LINK -> pin[h] = WHOLE;
		h++;
#ifndef LATE_PIN
		at = TAKE
#else
		at = (pinned[me] == NOT -> PIN : TAKE)
#endif
	   }
	:: d_step { at == TAKE && h == HOOKS -> h = 0; at = WAIT }
	:: d_step {
		at == WAIT ->
#ifndef NO_GRACE
		grace = running;
#endif
		at = GRACE
	   }
	:: d_step { at == GRACE && !grace -> at = REMOVE }
	/* What agents have left that took nothing over, or did not get to the end of removing it. */
	:: d_step {
		at == REMOVE ->
		i = 0;
		do
		:: i < AGENTS ->
			if
			:: !MINE(i) && pinned[i] -> SEEN(4) pinned[i] = NOT
			:: else
			fi;
			i++
		:: else -> break
		od;
		i = 0;
		at = JOURNALS
	   }
	:: d_step {
		at == JOURNALS ->
		i = 0;
		do
		:: i < AGENTS ->
			if
			:: !MINE(i) && journal[i] -> SEEN(5) journal[i] = 0
			:: else
			fi;
			i++
		:: else -> break
		od;
		i = 0;
		at = TAIL
	   }
	/* writtenBefore */
	:: d_step {
		at == TAIL ->
#ifndef NO_DEDUPLICATION
		before = out;
#endif
		i = 0;
		do
		:: i < AGENTS ->
#ifndef NO_GAP_IDS
			before_gaps[i] = gaps[i];
#endif
			i++
		:: else -> break
		od;
		i = 0;
		gp = POLL; at = WORK;
		next_ring()
	   }
	/* Its one commit */
#ifndef LATE_JOURNAL
	:: d_step { at == WORK -> journal[me] = 2; at = COMMIT }
	:: d_step { at == COMMIT -> epoch[me] = 2; at = WORKED }
#else
	:: d_step { at == WORK -> epoch[me] = 2; at = COMMIT }
	:: d_step { at == COMMIT -> journal[me] = 2; at = WORKED }
#endif

	/* Reader.Next */
	:: d_step {
		rd == READ && next < produced[from] && record[from * RING + next % RING] ->
		hand = record[from * RING + next % RING];
		next++;
#ifdef EARLY_RELEASE
		consumed[from] = next;
#endif
		rd = WRITE
	   }
	:: d_step {
		rd == READ && from != me && !(next < produced[from] && record[from * RING + next % RING]) ->
		/* No program writes to it any more. */
		reader[from] = 0;
		drained = drained | BIT(from);
		to_read = to_read & ~BIT(from);
		next_ring()
	   }
	:: d_step {
		rd == WRITE -> hand--;
		version_unknown = from != me && journal[from] <= (hand >> 2) % 2;
		assert(!version_unknown);
		wrong_rules = hand % 4 != from;
		assert(!wrong_rules);
		if
		:: from != me && before & BIT(hand >> 3) -> SEEN(6) skip /* it was written */
		:: else ->
			event_written_twice = out & BIT(hand >> 3);
			assert(!event_written_twice);
			out = out | BIT(hand >> 3)
		fi;
		hand = 0;
		rd = RELEASE
	   }
	:: d_step { rd == RELEASE -> consumed[from] = next; rd = READ }

	/* gapReporter.poll */
	:: d_step { gp == POLL && (drained || MISSING(0) || MISSING(1) || MISSING(2)) ->
#ifndef EARLY_REMOVE
		next_loss()
#else
		if
		:: drained -> dispose()
		:: else -> next_loss()
		fi
#endif
	   }
	:: d_step {
		gp == NOTE ->
#ifndef NO_NOTE
		noted[g] = total;
#endif
		gp = TELL
	   }
	:: d_step {
		gp == TELL ->
		if
		:: before_gaps[g] & BIT(total) -> SEEN(7) skip /* it was written */
		:: else -> gap_sum[g] = gap_sum[g] + total - reported[g]; gaps[g] = gaps[g] | BIT(total)
		fi;
		gp = BOOK
	   }
	:: d_step { gp == BOOK -> reported[g] = total; next_loss() }
	:: d_step { gp == UNPIN -> g = LOWEST(drained); pinned[g] = HALF; gp = UNPIN_REST }
	:: d_step { gp == UNPIN_REST -> pinned[g] = NOT; gp = FORGET }
	:: d_step {
		gp == FORGET -> journal[g] = 0;
		loss_miscounted = gap_sum[g] != lost[g];
		assert(!loss_miscounted);
		/* Runs that differ in nothing else are one from here on. */
		produced[g] = 0; consumed[g] = 0; epoch[g] = 0; record[g * RING] = 0; record[g * RING + RING - 1] = 0;
		lost[g] = 0; noted[g] = 0; reported[g] = 0; gaps[g] = 0; gap_sum[g] = 0;
		old = old & ~BIT(g); drained = drained & ~BIT(g);
		g = 0;
		dispose()
	   }

	:: d_step {
		at != LOCK && at != DEAD && kills ->
		c_code {
			killed_at[0][PAgent->at] = 1; killed_at[1][PAgent->rd] = 1; killed_at[2][PAgent->gp] = 1;
		}
		die()
	   }

	/* All is done, and no other agent is at work. */
	:: d_step {
		begun == EVENTS && !running && (dead | BIT(me)) == BIT(agents) - 1 && at == WORKED && !done && gp == POLL && !drained &&
		!MISSING(0) && !MISSING(1) && !MISSING(2) && rd == READ && from == me && next == produced[me] ->
		i = 0;
		do
		:: i < AGENTS ->
			left_behind = dead & BIT(i) && (pinned[i] || journal[i] || stub[0] == i + 1 || stub[1] == i + 1);
			assert(!left_behind);
			loss_miscounted = gap_sum[i] != lost[i];
			assert(!loss_miscounted);
			i++
		:: else -> break
		od;
		i = 0;
		event_lost = (out | dropped) != BIT(EVENTS) - 1 || out & dropped;
		assert(!event_lost);
		done = true
	   }
	od
}

init {
	atomic {
		run CPU(0);
		run CPU(1);
		run Agent(0);
		run Agent(1);
		run Agent(2);
	}
}

#ifdef PROGRESS
/* Whoever is killed when, the last agent gets everything done. */
ltl not_done_in_the_end { []<> done }
#endif
