/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Looking strings and numbers up. A string is looked up whole from both ends, and
 * byte by byte in grams of two to four bytes; each way is skipped if no rule that is
 * live needs it.
 */
#ifndef BITTERN_TEXT_H
#define BITTERN_TEXT_H

#include "match.h"

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
	return ((gram ^ field * 0x85ebca6bU) * 0x9e3779b1U) >> (32 - FILTER_BITS);
}

/* A gram that the filter lets pass. */
__noinline int hit_gram(__u32 workspace, __u32 field, __u32 gram)
{
	struct gram_key key = { .field = field, .gram = gram };
	__u32 *row = bpf_map_lookup_elem(&grams, &key);

	if (row)
		hit_row(workspace, *row);
	return 0;
}

static __always_inline bool may_hold(struct filter *filter, __u32 hash)
{
	hash = MASKED(hash, (1 << FILTER_BITS) - 1);
	return *(volatile __u64 *)&filter->words[hash / 64] >> (hash & 63) & 1;
}

static __always_inline void try_gram(__u32 workspace, struct filter *filter, __u32 field,
				     __u32 gram)
{
	if (may_hold(filter, gram_hash(field, gram)))
		hit_gram(workspace, field, gram);
}

#define GRAM_STEP 8

/*
 * GRAM_STEP bytes of the folded text as starts of grams. Past the end there are NULs, so
 * that a gram of four cut short by the end is the shorter gram. field is OF_CLASS; bit n-1 of
 * lengths says that grams of n bytes are in use.
 */
__noinline int hit_grams(__u32 workspace, __u32 field, __u32 lengths, __u32 from)
{
	struct workspace *w = workspace_of(workspace);
	__u32 which = FILTER_GRAMS;
	struct filter *filter = bpf_map_lookup_elem(&filters, &which);
	__u64 low, high, at = MASKED(from, WORK_BYTES - 1);

	if (!w || !filter)
		return 0;
	low = *(__u64 *)&w->match.folded[8 + at];
	high = *(__u64 *)&w->match.folded[16 + at];
	for (int j = 0; j < GRAM_STEP; j++) {
		__u32 gram = low;

		if (lengths & 1 << 3)
			try_gram(workspace, filter, field, gram);
		if (lengths & 1 << 2)
			try_gram(workspace, filter, field, gram & 0xffffff);
		if (lengths & 1 << 1)
			try_gram(workspace, filter, field, gram & 0xffff);
		low = low >> 8 | high << 56;
		high >>= 8;
	}
	return 0;
}

/* word holds the beginning of a key, of which length bytes count. */
static __always_inline __u32 text_hash(__u32 tag, __u64 word, __u32 length)
{
	if (length < FILTER_TEXT)
		word &= (1ULL << 8 * length) - 1;
	word = (word ^ (tag * 8ULL + length) * 0x9e3779b97f4a7c15ULL) * 0xd6e8feb86659fd93ULL;
	return word >> (64 - FILTER_BITS);
}

/* Whether any key of the tag may begin as the word does; lengths are of class_use. */
static __always_inline bool may_begin(__u32 tag, __u64 word, __u32 lengths)
{
	__u32 which = FILTER_TEXTS;
	struct filter *filter = bpf_map_lookup_elem(&filters, &which);

	if (!filter)
		return true;
	for (__u32 n = FILTER_TEXT; n > 0; n--) {
		if (lengths >> (n - 1) & 1 && may_hold(filter, text_hash(tag, word, n)))
			return true;
	}
	return false;
}

/*
 * One look-up of the first (or, in reverse, last) KEY_TEXT bytes of a text. A global
 * function, see workspace.h.
 */
__noinline int hit_text(__u32 workspace, __u32 field, __u32 way, __u32 length, __u32 lengths)
{
	struct workspace *w = workspace_of(workspace);
	__u32 used = length < KEY_TEXT ? length : KEY_TEXT;
	__u32 from = MASKED(length, WORK_BYTES - 1);
	struct match_scratch *s;
	__u64 word;
	__u8 *text;
	__u32 *row;

	if (!w)
		return 0;
	s = &w->match;
	text = way == WAY_FORWARD_FOLD || way == WAY_REVERSE_FOLD ? s->folded : s->text;
	s->key.tag = OF_CLASS(s->class, field * WAYS + way);
	if (way == WAY_FORWARD || way == WAY_FORWARD_FOLD)
		word = *(__u64 *)&text[8];
	else
		word = __builtin_bswap64(*(__u64 *)&text[from]);
	if (!may_begin(s->key.tag, word, lengths))
		return 0;
	if (way == WAY_FORWARD || way == WAY_FORWARD_FOLD) {
		/* The NUL behind a shorter text is part of the key. */
		s->key.bits = 32 + 8 * (used < KEY_TEXT ? used + 1 : used);
		for (int i = 0; i < KEY_TEXT / 8; i++)
			s->key.text[i] = *(__u64 *)&text[8 + 8 * i];
	} else {
		s->key.bits = 32 + 8 * used;
		for (int i = 0; i < KEY_TEXT / 8; i++) {
			__u32 at = MASKED(length - 8 * i, WORK_BYTES - 1);

			s->key.text[i] = 0;
			if (8 * i < length)
				s->key.text[i] = __builtin_bswap64(*(__u64 *)&text[at]);
		}
	}
	row = bpf_map_lookup_elem(&texts, &s->key);
	if (row)
		hit_row(workspace, *row);
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
		*(__u64 *)&s->text[8 + MASKED(tail + 8 * i, WORK_BYTES - 1)] = 0;
	bpf_probe_read_kernel(&s->text[8], MASKED(length, WORK_BYTES - 1), value);
}

#define FOLD_STEP 64

/* FOLD_STEP bytes of the text: separators to spaces, if it is arguments, and the folded form. */
__noinline int fold_step(__u32 workspace, __u32 from, bool args)
{
	struct workspace *w = workspace_of(workspace);
	__u32 at = MASKED(from, WORK_BYTES - FOLD_STEP);

	if (!w)
		return 0;
	for (int i = 0; i < FOLD_STEP; i += 8) {
		__u64 word = *(__u64 *)&w->match.text[8 + at + i];

		if (args) {
			word = space8(word);
			*(__u64 *)&w->match.text[8 + at + i] = word;
		}
		*(__u64 *)&w->match.folded[8 + at + i] = fold8(word);
	}
	return 0;
}

/* NUL from length on, as far as a key, or the last word that is read, can reach. */
__noinline int end_text(__u32 workspace, __u32 length, bool folded)
{
	struct workspace *w = workspace_of(workspace);
	__u32 tail = (length + 7) & ~7U;
	__u8 *text;

	if (!w)
		return 0;
	text = folded ? w->match.folded : w->match.text;
	for (int i = 0; i < 8; i++)
		text[8 + MASKED(length + i, WORK_BYTES - 1)] = 0;
	for (int i = 0; i <= KEY_TEXT / 8; i++)
		*(__u64 *)&text[8 + MASKED(tail + 8 * i, WORK_BYTES - 8)] = 0;
	return 0;
}

/* Makes the text a command line, if it is arguments, and makes its folded form. */
__noinline int fold_text(__u32 workspace, __u32 length, bool args)
{
	for (__u32 i = 0; i < PATH_BYTES; i += FOLD_STEP) {
		if (i >= length)
			break;
		fold_step(workspace, i, args);
	}
	if (args) /* the NULs behind them have become spaces */
		end_text(workspace, length, false);
	end_text(workspace, length, true);
	return 0;
}

static __always_inline void hit_way(__u32 workspace, __u32 field, __u32 way, __u32 length,
				    __u64 lengths, __u32 wanted)
{
	if (wanted & 1 << way)
		hit_text(workspace, field, way, length, lengths >> (way * 8) & 0xff);
}

/*
 * All look-ups that are wanted of the string that load_text has put in place. args says
 * that it is arguments, separated by NUL, that read as a command line.
 */
static __always_inline int match_text(struct workspace *w, __u32 field, __u32 length, bool args)
{
	__u32 workspace = w->id, class = w->match.class, wanted, grams;
	struct control_block *c = controls();
	__u64 lengths;

	if (!c || field >= KEY_STRING_FIELDS || class >= EVENT_CLASS_COUNT)
		return 0;
	wanted = w->match.looks.text >> (field * WAYS) & ((1 << WAYS) - 1);
	grams = w->match.looks.gram >> (field * 4) & 0xf;
	lengths = *(volatile __u64 *)&c->in_use[class].lengths[MASKED(field / 2, 7)] >>
		  (field % 2 * 32);

	if (args || grams || wanted & (1 << WAY_FORWARD_FOLD | 1 << WAY_REVERSE_FOLD))
		fold_text(workspace, length, args);
	hit_way(workspace, field, WAY_FORWARD, length, lengths, wanted);
	hit_way(workspace, field, WAY_FORWARD_FOLD, length, lengths, wanted);
	hit_way(workspace, field, WAY_REVERSE, length, lengths, wanted);
	hit_way(workspace, field, WAY_REVERSE_FOLD, length, lengths, wanted);
	if (!grams)
		return 0;
	for (__u32 i = 0; i < PATH_BYTES; i += GRAM_STEP) {
		if (i >= length)
			break;
		hit_grams(workspace, OF_CLASS(class, field), grams, i);
	}
	return 0;
}

__noinline int hit_number(__u32 workspace, __u32 field, __u64 value)
{
	struct workspace *w = workspace_of(workspace);
	struct number_key key = { .value = value };
	__u32 *row;

	if (!w)
		return 0;
	key.field = OF_CLASS(w->match.class, field);
	row = bpf_map_lookup_elem(&numbers, &key);
	if (row)
		hit_row(workspace, *row);
	return 0;
}

static __always_inline void match_number(struct workspace *w, __u64 in_use, __u32 field,
					 __u64 value)
{
	if (in_use >> field & 1)
		hit_number(w->id, field, value);
}

#endif
