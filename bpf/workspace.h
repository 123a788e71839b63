/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What a program works in. Programs of LSM and fentry hooks, and from 7.0 on those of
 * tracepoints, can be preempted by others on their CPU, so each takes a workspace of its own and
 * gives it back; they stay on their CPU. With all of a CPU's workspaces taken an event is lost, and
 * counted.
 */
#ifndef BITTERN_WORKSPACE_H
#define BITTERN_WORKSPACE_H

#include "match.h"
#include "path.h"
#include "process.h"
#include "record.h"

struct workspace {
	__u32 busy;
	__u32 id; /* its key */
	struct match_scratch match;
	struct event event;
	struct path_scratch path;
	struct image_draft image;
};

/* CPU_WORKSPACES for each possible CPU. A per-CPU map can't hold values this large. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, CPU_WORKSPACES); /* set by the loader */
	__type(key, __u32);
	__type(value, struct workspace);
} workspaces SEC(".maps");

static __always_inline struct workspace *take_workspace(__u32 class)
{
	__u32 first = bpf_get_smp_processor_id() * CPU_WORKSPACES;

	for (__u32 i = 0; i < CPU_WORKSPACES; i++) {
		__u32 id = first + i;
		struct workspace *s = bpf_map_lookup_elem(&workspaces, &id);

		if (s && !__sync_lock_test_and_set(&s->busy, 1)) {
			s->id = id;
			return s;
		}
	}
	count(class, COUNTER_LOST_BUSY);
	return NULL;
}

static __always_inline void give_back(struct workspace *s)
{
	__sync_lock_test_and_set(&s->busy, 0);
}

#endif
