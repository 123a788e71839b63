/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The process of an event and its parent.
 */
#ifndef BITTERN_SUBJECT_H
#define BITTERN_SUBJECT_H

#include "fields.h"
#include "process.h"
#include "workspace.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* The cgroup whose processes are judged, if watch_cgroup is set. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} watched SEC(".maps");

const volatile bool watch_cgroup;

static __always_inline bool is_watched(void)
{
	return !watch_cgroup || bpf_current_task_under_cgroup(&watched, 0) == 1;
}

static __always_inline __u32 image_path(struct path_scratch *s, struct task_struct *task,
					bool *truncated)
{
	struct mm_struct *mm = task->mm;
	struct fs_struct *fs = task->fs;
	struct file *file;

	*truncated = false;
	if (!mm || !fs) /* a kernel thread */
		return 0;
	file = mm->exe_file;
	if (!file)
		return 0;
	return path_of(s, place_of(&file->f_path), place_of(&fs->root), truncated);
}

/* Who: what costs nothing to know. */
static __always_inline void read_identity(struct event *e, struct task_struct *task)
{
	const struct cred *cred = task->cred;

	e->record.pid = task->tgid;
	e->record.start = task->group_leader->start_boottime;
	e->record.uid = cred->uid.val;
	e->record.euid = cred->euid.val;
	e->record.gid = cred->gid.val;
	e->record.egid = cred->egid.val;
}

/*
 * A process that is not in the table: the path of what it runs now is better than
 * nothing. Its arguments are not known.
 */
static __always_inline void put_live_image(struct workspace *s, struct task_struct *task,
					   struct process_spans *to)
{
	bool truncated = false;
	__u32 n = image_path(&s->path, task, &truncated);

	put_string(&s->event, &to->executable, path_start(&s->path, n), n);
	to->invoked = to->executable;
	to->args.length = 0;
	to->flags = RECORD_ARGS_TRUNCATED;
	if (truncated || !n)
		to->flags |= RECORD_EXECUTABLE_TRUNCATED;
}

static __always_inline void read_parent(struct workspace *s, struct task_struct *task)
{
	struct record *r = &s->event.record;
	struct task_struct *parent = task->real_parent;
	struct process_spans to = {};

	r->parent_pid = parent->tgid;
	r->parent_start = parent->group_leader->start_boottime;
	if (!put_image(&s->event, r->parent_pid, r->parent_start, &to)) {
		count(r->header.class, COUNTER_UNKNOWN_PARENTS);
		put_live_image(s, parent, &to);
	}
	r->parent_executable = to.executable;
	r->parent_invoked = to.invoked;
	r->parent_args = to.args;
	if (to.flags & RECORD_EXECUTABLE_TRUNCATED)
		r->header.flags |= RECORD_PARENT_EXECUTABLE_TRUNCATED;
	if (to.flags & RECORD_ARGS_TRUNCATED)
		r->header.flags |= RECORD_PARENT_ARGS_TRUNCATED;
}

/* What the current process runs, by the process table. */
static __always_inline void read_subject(struct workspace *s, struct task_struct *task)
{
	struct record *r = &s->event.record;
	struct process_spans to = {};

	if (!put_image(&s->event, r->pid, r->start, &to))
		put_live_image(s, task, &to);
	r->executable = to.executable;
	r->invoked = to.invoked;
	r->args = to.args;
	r->header.flags |= to.flags;
}

/*
 * Adds to the event of a workspace the current process's parent and, unless it has just
 * executed it, what it runs itself. A global function, see match_text.
 */
__noinline int read_process(__u32 workspace, bool executed)
{
	struct workspace *s = bpf_map_lookup_elem(&workspaces, &workspace);
	struct task_struct *task = bpf_get_current_task_btf();

	if (!s)
		return 0;
	if (!executed)
		read_subject(s, task);
	read_parent(s, task);
	return 0;
}

#endif
