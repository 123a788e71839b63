/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The tables of the matching engine: what the single writer in user space keeps and
 * the programs read. internal/loader is the other side; it takes sizes and layouts
 * from the BTF of the compiled objects.
 */
#ifndef BITTERN_TABLES_H
#define BITTERN_TABLES_H

#include "kernel.h"
#include "event.h"
#include <stddef.h>
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
	FILTER_BITS = 18,			 /* logarithm of the bits of a filter */
	FILTER_TEXT = 8, /* bytes of the beginning of a key that its filter holds */
	CPU_WORKSPACES = 2,
	COUNTER_STRIDE = 16, /* from the counters of a class to those of the next */
	RECORD_FORMAT = 1,   /* see struct record */
};

_Static_assert((int)COUNTER_COUNT <= (int)COUNTER_STRIDE, "each class has room for all counters");

/* Numbers of fields as keys name them. */
enum key_field {
	KEY_EXECUTABLE,
	KEY_PARENT_EXECUTABLE,
	KEY_CWD,
	KEY_COMMAND_LINE,
	KEY_PARENT_COMMAND_LINE,
	KEY_SCRIPT,
	KEY_FILE_PATH,
	KEY_NEW_PATH,
	KEY_TARGET_PATH,
	KEY_TARGET_EXECUTABLE,
	KEY_MOUNT_SOURCE,
	KEY_MOUNT_TYPE,
	KEY_KERNEL_NAME,
	KEY_DESTINATION_IP, /* looked up by bits */
	KEY_SOURCE_IP,
	KEY_STRING_FIELDS, /* at most 16 */

	KEY_PID = KEY_STRING_FIELDS,
	KEY_PARENT_PID,
	KEY_ARGS_COUNT,
	KEY_UID,
	KEY_EUID,
	KEY_GID,
	KEY_EXECUTABLE_TRUNCATED,
	KEY_EXECUTABLE_DELETED,
	KEY_EXECUTABLE_MEMFD,
	KEY_ARGS_TRUNCATED,
	KEY_CWD_TRUNCATED,
	KEY_PARENT_EXECUTABLE_TRUNCATED,
	KEY_PARENT_ARGS_TRUNCATED,
	KEY_EXIT_CODE,
	KEY_EXIT_SIGNAL,
	KEY_OPERATION, /* of each class that has any */
	KEY_FILE_PATH_TRUNCATED,
	KEY_NEW_PATH_TRUNCATED,
	KEY_PATH_CLAIMED,
	KEY_OPEN_READ,
	KEY_OPEN_WRITE,
	KEY_OPEN_CREATE,
	KEY_OPEN_TRUNCATE,
	KEY_MODE_SETUID,
	KEY_MODE_SETGID,
	KEY_MODE_EXECUTABLE,
	KEY_MODE_WORLD_WRITABLE,
	KEY_FILE_UID,
	KEY_FILE_GID,
	KEY_DESTINATION_PORT,
	KEY_SOURCE_PORT,
	KEY_TRANSPORT,
	KEY_NETWORK_TYPE,
	KEY_CAPABILITY,
	KEY_NAMESPACE,
	KEY_TARGET_PID,
	KEY_NEW_UID,
	KEY_NEW_EUID,
	KEY_NEW_GID,
	KEY_KERNEL_TYPE,
	KEY_FIELDS, /* at most 64 */
};

/* Ways to look a string up; with the field they make a tag. */
enum key_way {
	WAY_FORWARD,	  /* prefixes; an exact value is a prefix that ends in NUL */
	WAY_FORWARD_FOLD, /* the same over ASCII lower case */
	WAY_REVERSE,	  /* suffixes */
	WAY_REVERSE_FOLD,
	WAYS,
};

/* A field of a class: what the keys of one class are told from another's by. */
#define OF_CLASS(class, field) ((class) << 16 | (field))

struct text_key {
	__u32 bits; /* length of the prefix in bits, the tag's 32 included */
	__u32 tag;  /* OF_CLASS(class, field * WAYS + way) */
	__u64 text[KEY_TEXT / 8];
};

struct number_key {
	__u64 field; /* OF_CLASS */
	__u64 value;
};

/* A gram of two or three bytes is one of four whose high bytes are NUL. */
struct gram_key {
	__u32 field; /* OF_CLASS */
	__u32 gram;  /* first byte lowest, ASCII letters in lower case */
};

/* Look-ups: bit field*WAYS+way of text, bit field*4+length-1 of gram, bit field of number. */
struct looks {
	__u64 text;
	__u64 gram;
	__u64 number;
};

/*
 * Look-ups that a live rule of a class needs, and among them those for the first groups of
 * clauses: if these hit nothing, no clause can survive, and the others need not be made.
 * lengths says, for each field and way of text, how long the beginnings of keys are that the
 * filter holds: bit n-1 is n bytes. All may be set too long, never too short.
 */
struct class_use {
	struct looks all, first;
	__u64 lengths[8]; /* bits field%2*32 + way*8 of lengths[field/2] */
};

/* epoch is the swap: see match.h. */
struct control_block {
	__u64 epoch;
	struct class_use in_use[EVENT_CLASS_COUNT];
};

struct slot {
	__u64 born;
	__u64 died;
	__u64 version; /* of the rule, for the record */
};

struct filter {
	__u64 words[(1 << FILTER_BITS) / 64];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct control_block);
} control SEC(".maps");

/* Slots of each class, a multiple of SLOTS_PER_CELL; set by the loader. */
const volatile __u32 class_slots = 8192;

/* The slots of class c begin at c*class_slots. Blocks are counted within a class. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 8192); /* set by the loader */
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

/* Word (class*MAX_GROUPS+group)*blocks+block: the slots that do not have the group. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set by the loader */
	__type(key, __u32);
	__type(value, __u64);
} no_group SEC(".maps");

/*
 * Row number -> offset of its cells << 32 | their count. The row of a class's number is
 * that of its clauses without any group: every event hits it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536); /* set by the loader */
	__type(key, __u32);
	__type(value, __u64);
} rows SEC(".maps");

/* Row number -> 1 once an event has hit it: for those who ask why a rule is silent. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 65536); /* set by the loader */
	__type(key, __u32);
	__type(value, __u64);
} row_hits SEC(".maps");

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

/*
 * Most look-ups find nothing, and most of those need not be made: a clear bit says that no
 * gram of that hash is in grams, or that no key of texts begins with bytes of that hash.
 */
enum filter_of {
	FILTER_GRAMS,
	FILTER_TEXTS,
	FILTERS,
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, FILTERS);
	__type(key, __u32);
	__type(value, struct filter);
} filters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTER_STRIDE *EVENT_CLASS_COUNT); /* class*COUNTER_STRIDE+counter */
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/*
 * Bounds that the compiler can neither drop nor move to a copy of the value: verifiers
 * before 6.10 follow comparisons of 32 bits only in the register that was compared, and
 * know nothing of the result of an "or".
 */
#define MASKED(value, mask)                                           \
	({                                                            \
		__u64 masked_ = (value);                              \
		asm volatile("%0 &= %1" : "+r"(masked_) : "i"(mask)); \
		masked_;                                              \
	})
#define AT_MOST(value, most)                                                                 \
	({                                                                                   \
		__u64 bounded_ = (value);                                                    \
		asm volatile("if %0 <= %1 goto +1\n\t%0 = %1" : "+r"(bounded_) : "i"(most)); \
		bounded_;                                                                    \
	})

/* Set by the loader on kernels before 5.12, for which it turns atomic operations that return a
 * value into plain ones. */
const volatile bool no_atomic_fetch;

/* Adds atomically; returns the sum. Without fetching that is what is there a moment later. */
#define ADD(p, n)                                                         \
	({                                                                \
		typeof(*(p)) sum_ = __sync_fetch_and_add((p), (n)) + (n); \
		if (no_atomic_fetch)                                      \
			sum_ = *(volatile typeof(*(p)) *)(p);             \
		sum_;                                                     \
	})

static __always_inline void count(__u32 class, __u32 counter)
{
	__u32 at = class * COUNTER_STRIDE + counter;
	__u64 *n = bpf_map_lookup_elem(&counters, &at);

	if (n)
		__sync_fetch_and_add(n, 1);
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

#endif
