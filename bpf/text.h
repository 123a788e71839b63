/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Looking strings and numbers up. A string is looked up whole from both ends, and
 * byte by byte in grams of two to four bytes; each way is skipped if no rule that is
 * live needs it.
 */
#ifndef BITTERN_TEXT_H
#define BITTERN_TEXT_H

#include "match.h"
#include "record.h"

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
 * What several branches ask for is read from memory each time: of a register the verifier
 * knows what it was in each branch before, and follows all combinations.
 */
#define REREAD(x) (*(volatile typeof(x) *)&(x))

static __always_inline bool wants_gram(struct match_scratch *s, __u32 bytes)
{
	return REREAD(s->gram_lengths) & 1 << (bytes - 1);
}

/*
 * GRAM_STEP bytes of the folded text as starts of grams. Past the end there are NULs, so
 * that a gram of four cut short by the end is the shorter gram. field is OF_CLASS.
 */
__noinline int hit_grams(__u32 workspace, __u32 field, __u32 from)
{
	struct workspace *w = workspace_of(workspace);
	__u32 which = FILTER_GRAMS;
	struct filter *filter = bpf_map_lookup_elem(&filters, &which);
	__u64 low, high, at = MASKED(from, WORK_BYTES - 1);

	if (!w || !filter)
		return 0;
	low = *(__u64 *)&w->text.folded[8 + at];
	high = *(__u64 *)&w->text.folded[16 + at];
	for (int j = 0; j < GRAM_STEP; j++) {
		__u32 gram = low;

		if (wants_gram(&w->match, 4))
			try_gram(workspace, filter, field, gram);
		if (wants_gram(&w->match, 3))
			try_gram(workspace, filter, field, gram & 0xffffff);
		if (wants_gram(&w->match, 2))
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

#define GRAM_PAGE (16 * GRAM_STEP)

/* GRAM_PAGE of them. */
__noinline int page_grams(__u32 workspace, __u32 field, __u32 from)
{
	struct workspace *w = workspace_of(workspace);

	if (!w)
		return 0;
	for (__u32 i = 0; i < GRAM_PAGE; i += GRAM_STEP) {
		if (from + i >= REREAD(w->match.length))
			break;
		hit_grams(workspace, field, from + i);
	}
	return 0;
}

/*
 * Whether any key of the tag may begin as the word does; lengths are of class_use. A global
 * function, see workspace.h.
 */
__noinline int may_begin(__u32 tag, __u64 word, __u32 lengths)
{
	__u32 which = FILTER_TEXTS;
	struct filter *filter = bpf_map_lookup_elem(&filters, &which);

	if (!filter)
		return 1;
	for (__u32 n = FILTER_TEXT; n > 0; n--) {
		if (lengths >> (n - 1) & 1 && may_hold(filter, text_hash(tag, word, n)))
			return 1;
	}
	return 0;
}

/* How long the beginnings of keys are that the filter holds, of a field: of each way eight bits. */
static __always_inline __u32 filtered_lengths(__u32 class, __u32 field)
{
	struct control_block *c = controls();

	if (!c || class >= EVENT_CLASS_COUNT)
		return ~0U;
	return *(volatile __u64 *)&c->in_use[class].lengths[MASKED(field / 2, 7)] >>
	       (field % 2 * 32);
}

/*
 * One look-up of the first (or, in reverse, last) KEY_TEXT bytes of a text. A global
 * function, see workspace.h.
 */
__noinline int hit_text(__u32 workspace, __u32 field, __u32 way)
{
	struct workspace *w = workspace_of(workspace);
	struct match_scratch *s;
	__u32 length, used;
	__u8 *text;
	__u32 *row;

	if (!w)
		return 0;
	s = &w->match;
	length = s->length;
	used = length < KEY_TEXT ? length : KEY_TEXT;
	text = way == WAY_FORWARD_FOLD || way == WAY_REVERSE_FOLD ? w->text.folded : w->text.plain;
	s->key.tag = OF_CLASS(s->class, field * WAYS + way);
	if (way == WAY_FORWARD || way == WAY_FORWARD_FOLD) {
		/* The NUL behind a shorter text is part of the key. */
		s->key.bits = 32 + 8 * (used < KEY_TEXT ? used + 1 : used);
		for (int i = 0; i < KEY_TEXT / 8; i++)
			s->key.text[i] = *(__u64 *)&text[8 + 8 * i];
	} else {
		s->key.bits = 32 + 8 * used;
		/* What is before a shorter text is no part of the key. */
		for (int i = 0; i < KEY_TEXT / 8; i++)
			s->key.text[i] = __builtin_bswap64(
				*(__u64 *)&text[MASKED(length - 8 * i, WORK_BYTES - 1)]);
	}
	row = bpf_map_lookup_elem(&texts, &s->key);
	if (row)
		hit_row(workspace, *row);
	return 0;
}

/*
 * Puts the string where match_text looks for it. It has at most PATH_BYTES; NUL follows it as
 * far as a key, or the last word that is read, can reach.
 */
static __always_inline void load_text(struct workspace *w, const void *value)
{
	__u32 length = REREAD(w->match.length), tail = length & ~7U;

	for (int i = 0; i <= KEY_TEXT / 8; i++)
		*(__u64 *)&w->text.plain[8 + MASKED(tail + 8 * i, WORK_BYTES - 1)] = 0;
	bpf_probe_read_kernel(&w->text.plain[8], MASKED(length, WORK_BYTES - 1), value);
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
		__u64 word = *(__u64 *)&w->text.plain[8 + at + i];

		if (args) {
			word = space8(word);
			*(__u64 *)&w->text.plain[8 + at + i] = word;
		}
		*(__u64 *)&w->text.folded[8 + at + i] = fold8(word);
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
	text = folded ? w->text.folded : w->text.plain;
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

/* The first eight bytes of a string, and the last eight backwards; NUL where it is shorter. */
struct ends {
	__u64 first, last;
};

/* Of the string that m describes, at the given offset of the event's data. */
static __always_inline struct ends ends_of(struct match_scratch *m, struct event *e, __u32 offset)
{
	struct ends s = { .first = *(__u64 *)&e->data[MASKED(offset, DATA_BYTES - 1)] };
	__u32 length = REREAD(m->length);

	if (REREAD(m->args))
		s.first = space8(s.first);
	s.first = cut_word(s.first, length);
	if (length < 8) {
		s.last = s.first << (64 - 8 * length & 63);
	} else {
		s.last = *(__u64 *)&e->data[MASKED(offset + length - 8, DATA_BYTES - 1)];
		if (REREAD(m->args))
			s.last = space8(s.last);
	}
	s.last = __builtin_bswap64(s.last);
	return s;
}

static __always_inline bool wants_way(struct match_scratch *s, __u32 way)
{
	return REREAD(s->ways) & 1 << way;
}

/* Takes a way back if the filter lets no string pass that begins as the word does. */
static __always_inline void try_way(struct match_scratch *s, __u32 field, __u32 way, __u64 word,
				    __u32 lengths)
{
	if (wants_way(s, way) &&
	    !may_begin(OF_CLASS(s->class, field * WAYS + way), word, lengths >> (way * 8) & 0xff))
		s->ways &= ~(1 << way);
}

static __always_inline void try_ways(struct match_scratch *s, __u32 field, struct ends ends)
{
	__u32 lengths = filtered_lengths(s->class, field);

	try_way(s, field, WAY_FORWARD, ends.first, lengths);
	try_way(s, field, WAY_FORWARD_FOLD, fold8(ends.first), lengths);
	try_way(s, field, WAY_REVERSE, ends.last, lengths);
	try_way(s, field, WAY_REVERSE_FOLD, fold8(ends.last), lengths);
}

static __always_inline void match_way(__u32 workspace, struct match_scratch *s, __u32 field,
				      __u32 way)
{
	if (wants_way(s, way))
		hit_text(workspace, field, way);
}

/* The look-ups that are left of the string that load_text has put in place. */
static __always_inline void match_text(__u32 workspace, struct match_scratch *s, __u32 field)
{
	if (REREAD(s->args) || REREAD(s->gram_lengths) ||
	    REREAD(s->ways) & (1 << WAY_FORWARD_FOLD | 1 << WAY_REVERSE_FOLD))
		fold_text(workspace, REREAD(s->length), REREAD(s->args));
	match_way(workspace, s, field, WAY_FORWARD);
	match_way(workspace, s, field, WAY_FORWARD_FOLD);
	match_way(workspace, s, field, WAY_REVERSE);
	match_way(workspace, s, field, WAY_REVERSE_FOLD);
	if (!REREAD(s->gram_lengths))
		return;
	for (__u32 i = 0; i < PATH_BYTES; i += GRAM_PAGE) {
		if (i >= REREAD(s->length))
			break;
		page_grams(workspace, OF_CLASS(s->class, field), i);
	}
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

static __always_inline bool wants_number(struct workspace *w, __u32 field)
{
	return REREAD(w->match.looks.number) >> field & 1;
}

static __always_inline void match_number(struct workspace *w, __u32 field, __u64 value)
{
	if (wants_number(w, field))
		hit_number(w->id, field, value);
}

#endif
