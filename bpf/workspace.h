/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What a program works in. Programs of LSM and fentry hooks, and from 7.0 on those of
 * tracepoints, can be preempted by others on their CPU, so each takes a workspace of its own and
 * gives it back; they stay on their CPU. With all of a CPU's workspaces taken an event is lost, and
 * counted.
 *
 * Functions that are called in loops, or from several places, are global: the verifier looks at
 * each of them once. Before 5.13 those take numbers only, so they are told the workspace's key.
 */
#ifndef BITTERN_WORKSPACE_H
#define BITTERN_WORKSPACE_H

#include "process_table.h"
#include "tables.h"

#define NAME_BYTES 255
#define WORK_BYTES (2 * PATH_BYTES)

/* Where the matching of one event stands. */
struct match_scratch {
	__u32 dirty_count;
	__u32 survivors;
	__u32 class;	    /* of the event that is judged */
	__u32 led;	    /* not 0 once the first group of a clause has been hit */
	struct looks looks; /* to be made now */
	__u32 length;	    /* of the string that is looked up now */
	__u32 ways;	    /* in which it is looked up: bits of enum key_way */
	__u32 gram_lengths; /* bit n-1: grams of n bytes of it are looked up */
	__u32 args;	    /* it is arguments, separated by NUL, that read as a command line */
	__u64 versions[RECORD_VERSIONS];
	struct text_key key;
};

/* The string that is looked up, with eight bytes before and after it. */
struct text_scratch {
	__u8 plain[WORK_BYTES + 16];
	__u8 folded[WORK_BYTES + 16];
};

/* Accumulators. */
struct hit_scratch {
	__u32 bits[GROUPS * MAX_BLOCKS];  /* zero between events */
	__u16 dirty[GROUPS * MAX_BLOCKS]; /* indices of those not zero */
};

/* A record while it is put together. */
struct event {
	struct record record;
	/* Past DATA_BYTES: room to overrun by one string, and for the versions. */
	char data[DATA_BYTES + PATH_BYTES];
};

struct path_walk {
	struct dentry *dentry, *root_dentry;
	struct mount *mount;
	struct vfsmount *mnt, *root_mount;
	struct dentry *mount_root; /* of mnt */
	struct kernfs_node *node;  /* of a cgroup, instead of all that */
	__u32 start;		   /* the path is bytes[start] to bytes[PATH_BYTES - 1] */
	__u32 done;
};

struct path_scratch {
	/* The path grows downwards from PATH_BYTES; the rest is room to overrun. */
	char bytes[2 * PATH_BYTES + NAME_BYTES + 1];
	struct path_walk walk;
};

/* What each event needs is near the beginning, where an instruction can name it. */
struct workspace {
	__u32 users; /* 1 while it is taken */
	__u32 id;    /* its key */
	__u32 known; /* parts of the event that have been read, of enum event_part */
	__u32 pad;
	struct process_spans process; /* what find_image has put into the event */
	struct match_scratch match;
	struct event event;
	struct text_scratch text;
	struct hit_scratch hits;
	struct path_scratch path;
	struct image_draft image;
};

/*
 * CPU_WORKSPACES for each possible CPU, and a last one for the task iterator, which may
 * move between CPUs. A per-CPU map can't hold values this large.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CPU_WORKSPACES + 1); /* set by the loader */
	__type(key, __u32);
	__type(value, struct workspace);
} workspaces SEC(".maps");

static __always_inline struct workspace *workspace_of(__u32 id)
{
	return bpf_map_lookup_elem(&workspaces, &id);
}

static __always_inline struct workspace *take_workspace(__u32 class)
{
	__u32 first = bpf_get_smp_processor_id() * CPU_WORKSPACES;

	for (__u32 i = 0; i < CPU_WORKSPACES; i++) {
		struct workspace *s = workspace_of(first + i);

		if (!s)
			continue;
		if (ADD(&s->users, 1) == 1) {
			s->id = first + i;
			return s;
		}
		ADD(&s->users, -1);
	}
	count(class, COUNTER_LOST_BUSY);
	return NULL;
}

static __always_inline void give_back(struct workspace *s)
{
	ADD(&s->users, -1);
}

#endif
