/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The path of a cgroup: container runtimes put the container's id into it.
 */
#ifndef BITTERN_CGROUP_H
#define BITTERN_CGROUP_H

#include "record.h"
#include "task.h"

#define CGROUP_STEPS 4 /* last components that are kept */

/* One component upwards; not 0 once there is no next. */
__noinline int cgroup_step(__u32 workspace)
{
	struct workspace *s = workspace_of(workspace);
	struct kernfs_node *node, *parent;
	const char *name;
	long length;

	if (!s)
		return 1;
	node = s->path.walk.node;
	if (bpf_core_field_exists(node->parent))
		parent = BPF_CORE_READ(node, parent);
	else
		parent = BPF_CORE_READ((struct kernfs_node___615 *)node, __parent);
	if (!parent) /* the root has no name */
		return 1;
	name = BPF_CORE_READ(node, name);
	/* Behind the path there is room to find out how long the name is. */
	length = bpf_probe_read_kernel_str(&s->path.bytes[PATH_BYTES], NAME_BYTES + 1, name);
	if (length <= 1 || !prepend(&s->path, (void *)&s->path.bytes[PATH_BYTES], length - 1))
		return 1;
	s->path.walk.node = parent;
	return 0;
}

/* Puts the last components of the path of a task's cgroup into the event. */
static __always_inline void put_cgroup_path(struct workspace *s, struct task_struct *task)
{
	struct path_walk *w = &s->path.walk;
	__u32 n;

	w->node = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn);
	w->start = PATH_BYTES;
	for (__u32 i = 0; i < CGROUP_STEPS; i++) {
		if (cgroup_step(s->id))
			break;
	}
	n = PATH_BYTES - w->start;
	put_string(&s->event, &s->event.record.cgroup_path, path_start(s, n), n);
}

#endif
