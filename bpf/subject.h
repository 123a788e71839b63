/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The process of an event and its parent.
 */
#ifndef BITTERN_SUBJECT_H
#define BITTERN_SUBJECT_H

#include "fields.h"
#include "process.h"
#include "task.h"
#include <bpf/bpf_helpers.h>

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

#define MEMFD "memfd:" /* the beginning of the names of such files */

/* Flags of a record that say what kind of file an image is. */
static __always_inline __u32 image_kind(struct file *file)
{
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	char name[8] = {};

	if (BPF_CORE_READ(dentry, d_hash.pprev)) /* it can be found by its name */
		return 0;
	bpf_probe_read_kernel(name, sizeof(MEMFD) - 1, BPF_CORE_READ(dentry, d_name.name));
	if (BPF_CORE_READ(dentry, d_parent) == dentry &&
	    !__builtin_memcmp(name, MEMFD, sizeof(MEMFD) - 1))
		return RECORD_EXECUTABLE_MEMFD;
	return RECORD_EXECUTABLE_DELETED;
}

/* The path of what a task runs, and its kind, added to the flags. */
static __always_inline __u32 image_path(struct workspace *s, struct task_struct *task, __u32 *flags)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	bool truncated = false;
	struct file *file;
	__u32 n;

	if (!mm) /* a kernel thread */
		return 0;
	file = BPF_CORE_READ(mm, exe_file);
	if (!file)
		return 0;
	n = file_path_of(s, file, task, &truncated);
	*flags |= image_kind(file) | (truncated ? RECORD_EXECUTABLE_TRUNCATED : 0);
	return n;
}

/* When, and who. */
static __always_inline void read_identity(struct event *e, struct task_struct *task)
{
	const struct cred *cred = BPF_CORE_READ(task, cred);
	struct {
		__u32 uid, gid, suid, sgid, euid, egid;
	} ids = {};

	/* One after the other since 2.6.29. */
	bpf_probe_read_kernel(&ids, sizeof(ids), &cred->uid);
	e->record.header.time = bpf_ktime_get_boot_ns();
	e->record.pid = BPF_CORE_READ(task, tgid);
	e->record.start = BPF_CORE_READ(task, group_leader, start_boottime);
	e->record.uid = ids.uid;
	e->record.euid = ids.euid;
	e->record.gid = ids.gid;
	e->record.egid = ids.egid;
}

/*
 * What a process runs, in s->process. Of one that is not in the table, the path of what it
 * runs now is better than nothing; its arguments are not known, and false is returned.
 */
static __always_inline bool put_process(struct workspace *s, struct task_struct *task, __u32 tgid,
					__u64 start)
{
	struct process_spans *to = &s->process;
	__u32 n, flags = RECORD_ARGS_TRUNCATED;

	if (find_image(s->id, tgid, start))
		return true;
	n = image_path(s, task, &flags);
	put_string(&s->event, &to->executable, path_start(s, n), n);
	to->invoked = to->executable;
	to->args.offset = 0;
	to->args.length = 0;
	to->flags = flags | (n ? 0 : RECORD_EXECUTABLE_TRUNCATED);
	return false;
}

static __always_inline void read_parent(struct workspace *s, struct task_struct *task)
{
	struct record *r = &s->event.record;
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);
	struct process_spans *to = &s->process;

	r->parent_pid = BPF_CORE_READ(parent, tgid);
	r->parent_start = BPF_CORE_READ(parent, group_leader, start_boottime);
	if (!put_process(s, parent, r->parent_pid, r->parent_start))
		count(r->header.class, COUNTER_UNKNOWN_PARENTS);
	r->parent_executable = to->executable;
	r->parent_invoked = to->invoked;
	r->parent_args = to->args;
	if (to->flags & RECORD_EXECUTABLE_TRUNCATED)
		r->header.flags |= RECORD_PARENT_EXECUTABLE_TRUNCATED;
	if (to->flags & RECORD_ARGS_TRUNCATED)
		r->header.flags |= RECORD_PARENT_ARGS_TRUNCATED;
}

/* What the current process runs. */
static __always_inline void read_subject(struct workspace *s, struct task_struct *task)
{
	struct record *r = &s->event.record;
	struct process_spans *to = &s->process;

	put_process(s, task, r->pid, r->start);
	r->executable = to->executable;
	r->invoked = to->invoked;
	r->args = to->args;
	r->header.flags |= to->flags;
}

/* What is the same for all events of a process is read when it is needed. */
enum event_part {
	PART_IDENTITY = 1 << 0,
	PART_SUBJECT = 1 << 1,
	PART_PARENT = 1 << 2,
	PARTS = PART_IDENTITY | PART_SUBJECT | PART_PARENT,
};

/* The parts that look-ups need. */
static __always_inline __u32 parts_of(const struct looks *l)
{
	return (wants_identity(l) ? PART_IDENTITY : 0) |
	       (wants_subject(l) ? PART_IDENTITY | PART_SUBJECT : 0) |
	       (wants_parent(l) ? PART_PARENT : 0);
}

/* Adds parts that are not known yet to the event of a workspace. A global function, see
 * workspace.h. */
__noinline int read_parts(__u32 workspace, __u32 parts)
{
	struct workspace *s = workspace_of(workspace);
	struct task_struct *task = current_task();

	if (!s || !task)
		return 0;
	parts &= ~s->known;
	s->known |= parts;
	if (parts & PART_IDENTITY)
		read_identity(&s->event, task);
	if (parts & PART_SUBJECT)
		read_subject(s, task);
	if (parts & PART_PARENT)
		read_parent(s, task);
	return 0;
}

static __always_inline void need_parts(struct workspace *s, __u32 parts)
{
	if (parts & ~s->known)
		read_parts(s->id, parts);
}

#endif
