/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Looking strings and numbers up. A string is looked up whole from both ends, and
 * byte by byte in grams of two to four bytes; each way is skipped if no rule that is
 * live needs it.
 */
#ifndef BITTERN_TEXT_H
#define BITTERN_TEXT_H

#include "workspace.h"

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
	__u32 lengths; /* bit n-1: grams of n bytes are in use */
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

		if (w->lengths & 1 << 3)
			hit_gram(w, gram);
		if (w->lengths & 1 << 2)
			hit_gram(w, gram & 0xffffff);
		if (w->lengths & 1 << 1)
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

/*
 * One look-up of the first (or, in reverse, last) KEY_TEXT bytes of a text. A global
 * function, see hit_row.
 */
__noinline int hit_text(__u32 workspace, __u32 field, __u32 way, __u32 length)
{
	struct workspace *w = bpf_map_lookup_elem(&workspaces, &workspace);
	__u32 used = length < KEY_TEXT ? length : KEY_TEXT;
	struct match_scratch *s;
	__u8 *text;
	__u32 *row;

	if (!w)
		return 0;
	s = &w->match;
	text = way == WAY_FORWARD_FOLD || way == WAY_REVERSE_FOLD ? s->folded : s->text;
	s->key.tag = OF_CLASS(s->class, field * WAYS + way);
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
	return 0;
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

/* Makes the text a command line, if it is arguments, and makes its folded form. */
static __noinline void fold_text(struct match_scratch *s, __u32 length, bool args)
{
	struct fold_walk fold = { .s = s, .args = args };
	__u32 tail = (length + 7) & ~7U;

	bpf_loop((length + 7) / 8, fold_at, &fold, 0);
	/* The NULs behind arguments have become spaces. */
	for (int i = 0; i < 8; i++) {
		s->text[8 + ((length + i) & (WORK_BYTES - 1))] = 0;
		s->folded[8 + ((length + i) & (WORK_BYTES - 1))] = 0;
	}
	for (int i = 0; i <= KEY_TEXT / 8; i++)
		*(__u64 *)&s->folded[8 + ((tail + 8 * i) & (WORK_BYTES - 1))] = 0;
}

/*
 * All look-ups of the string that load_text has put in place. args says that it
 * is arguments, separated by NUL, that read as a command line. A global function,
 * so that the verifier looks at it once and not once for each string.
 */
__noinline int match_text(__u32 workspace, __u32 field, __u32 length, bool args)
{
	struct workspace *w = bpf_map_lookup_elem(&workspaces, &workspace);
	struct match_scratch *s;
	struct control_block *c = controls();
	struct class_use *use;
	__u32 zero = 0, in_use, lengths;

	if (!w || !c || field >= KEY_STRING_FIELDS || length > PATH_BYTES)
		return 0;
	s = &w->match;
	if (s->class >= EVENT_CLASS_COUNT)
		return 0;
	use = &c->in_use[s->class];
	in_use = *(volatile __u64 *)&use->text >> (field * WAYS) & ((1 << WAYS) - 1);
	lengths = *(volatile __u64 *)&use->gram >> (field * 4) & 0xf;

	if (args || lengths || in_use & (1 << WAY_FORWARD_FOLD | 1 << WAY_REVERSE_FOLD))
		fold_text(s, length, args);
	if (in_use & 1 << WAY_FORWARD)
		hit_text(workspace, field, WAY_FORWARD, length);
	if (in_use & 1 << WAY_FORWARD_FOLD)
		hit_text(workspace, field, WAY_FORWARD_FOLD, length);
	if (in_use & 1 << WAY_REVERSE)
		hit_text(workspace, field, WAY_REVERSE, length);
	if (in_use & 1 << WAY_REVERSE_FOLD)
		hit_text(workspace, field, WAY_REVERSE_FOLD, length);
	if (lengths) {
		struct gram_walk walk = {
			.s = s,
			.filter = bpf_map_lookup_elem(&gram_filter, &zero),
			.field = OF_CLASS(s->class, field),
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
	struct number_key key = { .field = OF_CLASS(s->class, field), .value = value };
	__u32 *row;

	if (!(in_use >> field & 1))
		return;
	row = bpf_map_lookup_elem(&numbers, &key);
	if (row)
		hit_row(s, *row);
}

#endif
