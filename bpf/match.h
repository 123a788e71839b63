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

#include "kernel.h"
#include "event.h"
#include <bpf/bpf_helpers.h>

/* Sizes that Go must agree on; as an enum they get into the BTF. */
enum limit {
	MAX_SLOTS = 65536,
	MAX_GROUPS = 7, /* positive groups of a clause */
	GROUP_NOT = 7,	/* cells of this group exclude */
	GROUPS = 8,
	SLOTS_PER_CELL = 32,
	MAX_BLOCKS = MAX_SLOTS / SLOTS_PER_CELL, /* of 32 slots each */
	KEY_TEXT = 128,				 /* bytes of text in a key */
	GRAM_HASH_BITS = 18,			 /* size of the gram filter */
	ROW_ALWAYS = 0,				 /* row of clauses without any group */
};

/* Numbers of fields as keys name them. */
enum key_field {
	KEY_EXECUTABLE,
	KEY_PARENT_EXECUTABLE,
	KEY_CWD,
	KEY_COMMAND_LINE,
	KEY_PARENT_COMMAND_LINE,
	KEY_STRING_FIELDS,
	KEY_PID = KEY_STRING_FIELDS,
	KEY_PARENT_PID,
	KEY_ARGS_COUNT,
	KEY_UID,
	KEY_EUID,
	KEY_GID,
	KEY_EXECUTABLE_TRUNCATED,
	KEY_ARGS_TRUNCATED,
	KEY_CWD_TRUNCATED,
	KEY_PARENT_EXECUTABLE_TRUNCATED,
	KEY_PARENT_ARGS_TRUNCATED,
	KEY_FIELDS,
};

/* Ways to look a string up; with the field they make a tag. */
enum key_way {
	WAY_FORWARD,	  /* prefixes; an exact value is a prefix that ends in NUL */
	WAY_FORWARD_FOLD, /* the same over ASCII lower case */
	WAY_REVERSE,	  /* suffixes */
	WAY_REVERSE_FOLD,
	WAYS,
};

#define TAG(field, way) ((field) * WAYS + (way))

struct text_key {
	__u32 bits; /* length of the prefix in bits, the tag's 32 included */
	__u32 tag;
	__u64 text[KEY_TEXT / 8];
};

struct number_key {
	__u64 field;
	__u64 value;
};

/* A gram of two or three bytes is one of four whose high bytes are NUL. */
struct gram_key {
	__u32 field;
	__u32 gram; /* first byte lowest, ASCII letters in lower case */
};

/*
 * epoch is the swap: see above. The in_use masks may be set too long, never too
 * short: bit TAG() of in_use_text, bit 8*field+length of in_use_gram, bit field
 * of in_use_number.
 */
struct control_block {
	__u64 epoch;
	__u64 in_use_text;
	__u64 in_use_gram;
	__u64 in_use_number;
};

struct slot {
	__u64 born;
	__u64 died;
	__u64 version; /* of the rule, for the record */
};

struct gram_filter {
	__u64 words[(1 << GRAM_HASH_BITS) / 64];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control_block);
} control SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 8192); /* set by the loader */
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

/* For group g and block b, word g*MAX_BLOCKS+b: the slots that have no group g. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, MAX_GROUPS *MAX_BLOCKS);
	__type(key, __u32);
	__type(value, __u64);
} no_group SEC(".maps");

/* Row number -> offset of its cells << 32 | their count. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536); /* set by the loader */
	__type(key, __u32);
	__type(value, __u64);
} rows SEC(".maps");

/* group << 48 | block << 32 | bit mask over the block's slots */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 262144); /* set by the loader */
	__type(key, __u32);
	__type(value, __u64);
} cells SEC(".maps");

/* The longest key wins, so its row holds the cells of the shorter ones too. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536); /* set by the loader */
	__type(key, struct text_key);
	__type(value, __u32);
} texts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536); /* set by the loader */
	__type(key, struct number_key);
	__type(value, __u32);
} numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536); /* set by the loader */
	__type(key, struct gram_key);
	__type(value, __u32);
} grams SEC(".maps");

/* A clear bit says that no gram of that hash is in grams. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct gram_filter);
} gram_filter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTER_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

#define WORK_BYTES (2 * PATH_BYTES)

struct match_scratch {
	__u32 hits[GROUPS * MAX_BLOCKS];  /* accumulators, zero between events */
	__u16 dirty[GROUPS * MAX_BLOCKS]; /* indices of accumulators not zero */
	__u32 dirty_count;
	__u32 survivors;
	__u64 versions[RECORD_VERSIONS];
	struct text_key key;
	/* Text under the window; eight bytes of NUL before it, and after it. */
	__u8 text[WORK_BYTES + 16];
	__u8 folded[WORK_BYTES + 16];
};

/*
 * One entry for each possible CPU. A per-CPU map can't hold values this large.
 * Programs that use it run with preemption off, or are the only ones on their CPU.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set by the loader */
	__type(key, __u32);
	__type(value, struct match_scratch);
} match_scratch SEC(".maps");

static __always_inline void count(__u32 counter)
{
	__u64 *n = bpf_map_lookup_elem(&counters, &counter);

	if (n)
		(*n)++;
}

static __always_inline struct match_scratch *scratch_of_cpu(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&match_scratch, &cpu);
}

static __always_inline struct control_block *controls(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

/* The epoch to judge an event by. Call it before anything else is looked up. */
static __always_inline __u64 current_epoch(void)
{
	struct control_block *c = controls();
	__u64 epoch = c ? *(volatile __u64 *)&c->epoch : 0;

	asm volatile("" ::: "memory");
	return epoch;
}

static __always_inline void hit_cell(struct match_scratch *s, __u64 cell)
{
	__u32 bits = cell;
	__u32 at = (cell >> 32) & (MAX_BLOCKS - 1);
	__u32 n;

	at |= ((cell >> 48) & (GROUPS - 1)) * MAX_BLOCKS;
	if (!bits)
		return;
	if (!s->hits[at]) {
		n = s->dirty_count;
		if (n < GROUPS * MAX_BLOCKS) {
			s->dirty[n] = at;
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

/* Nearly every row has one cell: those with more pay for the loop. */
static __always_inline void hit_row(struct match_scratch *s, __u32 row)
{
	__u64 *place = bpf_map_lookup_elem(&rows, &row);
	struct row_walk walk = { .s = s };
	__u64 span, *cell;
	__u32 count;

	if (!place)
		return;
	span = *(volatile __u64 *)place;
	count = span;
	walk.offset = span >> 32;
	if (!count)
		return;
	cell = bpf_map_lookup_elem(&cells, &walk.offset);
	if (!cell)
		return;
	hit_cell(s, *(volatile __u64 *)cell);
	if (count > 1) {
		walk.offset++;
		bpf_loop(count - 1, hit_cell_at, &walk, 0);
	}
}

#define EACH(byte) (0x0101010101010101ULL * (byte))

/* Eight bytes at once: ASCII capitals become small letters. */
static __always_inline __u64 fold8(__u64 w)
{
	__u64 low = w & EACH(0x7f);
	__u64 from_a = low + EACH(0x80 - 'A');
	__u64 past_z = low + EACH(0x7f - 'Z');
	__u64 capital = from_a & ~past_z & ~w & EACH(0x80);

	return w | capital >> 2;
}

/* Eight bytes at once: NUL becomes a space. */
static __always_inline __u64 space8(__u64 w)
{
	__u64 not_nul = ((w & EACH(0x7f)) + EACH(0x7f)) | w;

	return w | (~not_nul & EACH(0x80)) >> 2;
}

static __always_inline __u32 gram_hash(__u32 field, __u32 gram)
{
	return ((gram ^ field * 0x85ebca6bU) * 0x9e3779b1U) >> (32 - GRAM_HASH_BITS);
}

struct gram_walk {
	struct match_scratch *s;
	struct gram_filter *filter;
	__u32 field;
	__u32 lengths; /* bit 2, 3, 4: grams of that length are in use */
};

static __always_inline void hit_gram(struct gram_walk *w, __u32 gram)
{
	__u32 hash = gram_hash(w->field, gram);
	struct gram_key key = { .field = w->field, .gram = gram };
	__u32 *row;

	if (!(*(volatile __u64 *)&w->filter->words[hash / 64] >> (hash & 63) & 1))
		return;
	row = bpf_map_lookup_elem(&grams, &key);
	if (row)
		hit_row(w->s, *row);
}

#define GRAM_STEP 8

/*
 * Bytes 8*i to 8*i+7 of the folded text as starts of grams. Past the end there
 * are NULs, so that a gram of four cut short by the end is the shorter gram.
 */
static long hit_grams_at(__u32 i, void *ctx)
{
	struct gram_walk *w = ctx;
	__u32 at = 8 + (i * GRAM_STEP & (WORK_BYTES - 1));
	__u64 low, high;

	low = *(__u64 *)&w->s->folded[at];
	high = *(__u64 *)&w->s->folded[at + 8];
	for (int j = 0; j < GRAM_STEP; j++) {
		__u32 gram = low;

		if (w->lengths & 1 << 4)
			hit_gram(w, gram);
		if (w->lengths & 1 << 3)
			hit_gram(w, gram & 0xffffff);
		if (w->lengths & 1 << 2)
			hit_gram(w, gram & 0xffff);
		low = low >> 8 | high << 56;
		high >>= 8;
	}
	return 0;
}

struct fold_walk {
	struct match_scratch *s;
	bool args;
};

/* Word i of the text: separators to spaces, and its folded form. */
static long fold_at(__u32 i, void *ctx)
{
	struct fold_walk *walk = ctx;
	struct match_scratch *s = walk->s;
	__u32 at = 8 + (i * 8 & (WORK_BYTES - 1));
	__u64 w;

	w = *(__u64 *)&s->text[at];
	if (walk->args) {
		w = space8(w);
		*(__u64 *)&s->text[at] = w;
	}
	*(__u64 *)&s->folded[at] = fold8(w);
	return 0;
}

/* One look-up of the first (or, in reverse, last) KEY_TEXT bytes of a text. */
static __always_inline void hit_text(struct match_scratch *s, const __u8 *text, __u32 field,
				     __u32 way, __u32 length)
{
	__u32 used = length < KEY_TEXT ? length : KEY_TEXT;
	__u32 *row;

	s->key.tag = TAG(field, way);
	if (way == WAY_FORWARD || way == WAY_FORWARD_FOLD) {
		/* The NUL behind a shorter text is part of the key. */
		s->key.bits = 32 + 8 * (used < KEY_TEXT ? used + 1 : used);
		for (int i = 0; i < KEY_TEXT / 8; i++)
			s->key.text[i] = *(__u64 *)&text[8 + 8 * i];
	} else {
		s->key.bits = 32 + 8 * used;
		for (int i = 0; i < KEY_TEXT / 8; i++) {
			__u32 from = (length - 8 * i) & (WORK_BYTES - 1);

			s->key.text[i] = 0;
			if (8 * i < length)
				s->key.text[i] = __builtin_bswap64(*(__u64 *)&text[from]);
		}
	}
	row = bpf_map_lookup_elem(&texts, &s->key);
	if (row)
		hit_row(s, *row);
}

/*
 * Puts a string where match_text looks for it. length is at most PATH_BYTES. NUL
 * follows it as far as a key, or the last word that is read, can reach.
 */
static __always_inline void load_text(struct match_scratch *s, const void *value, __u32 length)
{
	__u32 tail = length & ~7U;

	for (int i = 0; i <= KEY_TEXT / 8; i++)
		*(__u64 *)&s->text[8 + ((tail + 8 * i) & (WORK_BYTES - 1))] = 0;
	bpf_probe_read_kernel(&s->text[8], length & (WORK_BYTES - 1), value);
}

/*
 * All look-ups of the string that load_text has put in place. args says that it
 * is arguments, separated by NUL, that read as a command line. A global function,
 * so that the verifier looks at it once and not once for each string.
 */
__noinline int match_text(__u32 field, __u32 length, bool args)
{
	struct match_scratch *s = scratch_of_cpu();
	struct control_block *c = controls();
	__u32 zero = 0, in_use, lengths, tail;

	if (!s || !c || field >= KEY_STRING_FIELDS || length > PATH_BYTES)
		return 0;
	in_use = *(volatile __u64 *)&c->in_use_text >> (field * WAYS) & ((1 << WAYS) - 1);
	lengths = *(volatile __u64 *)&c->in_use_gram >> (field * 8) & 0xff;

	if (args || lengths || in_use & (1 << WAY_FORWARD_FOLD | 1 << WAY_REVERSE_FOLD)) {
		struct fold_walk fold = { .s = s, .args = args };

		bpf_loop((length + 7) / 8, fold_at, &fold, 0);
		/* The NULs behind arguments have become spaces. */
		for (int i = 0; i < 8; i++) {
			s->text[8 + ((length + i) & (WORK_BYTES - 1))] = 0;
			s->folded[8 + ((length + i) & (WORK_BYTES - 1))] = 0;
		}
		tail = (length + 7) & ~7U;
		for (int i = 0; i <= KEY_TEXT / 8; i++)
			*(__u64 *)&s->folded[8 + ((tail + 8 * i) & (WORK_BYTES - 1))] = 0;
	}

	if (in_use & 1 << WAY_FORWARD)
		hit_text(s, s->text, field, WAY_FORWARD, length);
	if (in_use & 1 << WAY_FORWARD_FOLD)
		hit_text(s, s->folded, field, WAY_FORWARD_FOLD, length);
	if (in_use & 1 << WAY_REVERSE)
		hit_text(s, s->text, field, WAY_REVERSE, length);
	if (in_use & 1 << WAY_REVERSE_FOLD)
		hit_text(s, s->folded, field, WAY_REVERSE_FOLD, length);
	if (lengths) {
		struct gram_walk walk = {
			.s = s,
			.filter = bpf_map_lookup_elem(&gram_filter, &zero),
			.field = field,
			.lengths = lengths,
		};

		if (walk.filter)
			bpf_loop((length + GRAM_STEP - 1) / GRAM_STEP, hit_grams_at, &walk, 0);
	}
	return 0;
}

static __always_inline void match_number(struct match_scratch *s, __u64 in_use, __u32 field,
					 __u64 value)
{
	struct number_key key = { .field = field, .value = value };
	__u32 *row;

	if (!(in_use >> field & 1))
		return;
	row = bpf_map_lookup_elem(&numbers, &key);
	if (row)
		hit_row(s, *row);
}

struct judge_walk {
	struct match_scratch *s;
	__u64 epoch;
};

/* Position of the lowest set bit, without branches. x must not be 0. */
static __always_inline __u32 lowest_bit(__u32 x)
{
	x &= -x;
	return !!(x & 0xaaaaaaaa) | !!(x & 0xcccccccc) << 1 | !!(x & 0xf0f0f0f0) << 2 |
	       !!(x & 0xff00ff00) << 3 | !!(x & 0xffff0000) << 4;
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
		__u32 at = g * MAX_BLOCKS + block, key = at;
		__u64 *none = bpf_map_lookup_elem(&no_group, &key);

		if (none)
			alive &= s->hits[at & (GROUPS * MAX_BLOCKS - 1)] | (__u32)*none;
	}
	for (int n = 0; n < SLOTS_PER_CELL && alive; n++, alive &= alive - 1) {
		__u32 id = block * SLOTS_PER_CELL + lowest_bit(alive);
		struct slot *slot = bpf_map_lookup_elem(&slots, &id);
		__u32 k = s->survivors;

		if (!slot)
			continue;
		if (*(volatile __u64 *)&slot->born > epoch ||
		    *(volatile __u64 *)&slot->died <= epoch)
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

static __always_inline void match_begin(struct match_scratch *s)
{
	s->dirty_count = 0;
	s->survivors = 0;
	hit_row(s, ROW_ALWAYS);
}

/*
 * Judges all that was hit since match_begin by the given epoch. Afterwards
 * s->versions holds the survivors' versions; s->survivors counts them, and may be
 * more than there is room for. A version with several surviving clauses is there
 * as many times.
 */
static __always_inline void match_end(struct match_scratch *s, __u64 epoch)
{
	struct judge_walk walk = { .s = s, .epoch = epoch };

	bpf_loop(s->dirty_count, judge_at, &walk, 0);
	bpf_loop(s->dirty_count, clean_at, &walk, 0);
}

#endif
