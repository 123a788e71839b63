// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * process_exec, and the process table behind it.
 *
 * Hooks: tp_btf sched_process_fork, sched_process_exec, sched_process_exit; a
 * sleepable task iterator, once at start.
 * Maps: those of match.h and process.h, matches (ring), watched (cgroup).
 * Least kernel: 5.18 (bpf_loop 5.17, bpf_copy_from_user_task 5.18).
 */
#include "kernel.h"
#include "event.h"
#include "match.h"
#include "path.h"
#include "exec.h"
#include "process.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Only what something refers to gets into the BTF, where Go finds these. */
const enum event_class *const keep_event_class __attribute__((unused));
const enum counter *const keep_counter __attribute__((unused));
const enum record_flag *const keep_record_flag __attribute__((unused));
const enum key_field *const keep_key_field __attribute__((unused));
const enum limit *const keep_limit __attribute__((unused));
const enum key_way *const keep_key_way __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20); /* set by the loader */
} matches SEC(".maps");

/* The cgroup whose processes are judged, if watch_cgroup is set. */
struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} watched SEC(".maps");

const volatile bool watch_cgroup;

struct exec_scratch {
	struct event event;
	struct path_scratch path;
	struct image_draft image;
	__u64 sequence;
};

/* One entry for each possible CPU, see match_scratch. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set by the loader */
	__type(key, __u32);
	__type(value, struct exec_scratch);
} exec_scratch SEC(".maps");

/* The iterator may sleep and move between CPUs: it has a scratch of its own. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exec_scratch);
} seed_scratch SEC(".maps");

static __always_inline __u32 image_path(struct exec_scratch *s, struct task_struct *task,
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
	return path_of(&s->path, place_of(&file->f_path), place_of(&fs->root), truncated);
}

/*
 * The arguments are one block of user memory that execve has just written. Part of
 * it may be paged out all the same: what can be read up to there is kept.
 */
static __always_inline __u32 read_args(void *to, struct mm_struct *mm, bool *truncated)
{
	unsigned long from = mm->arg_start;
	unsigned long size = mm->arg_end - from;
	__u32 length = size > ARGS_BYTES ? ARGS_BYTES : size;

	*truncated = size > ARGS_BYTES;
	if (!bpf_probe_read_user(to, length, (void *)from))
		return length;
	*truncated = true;
	for (__u32 done = 0; done < ARGS_BYTES; done += 256) {
		if (done >= length)
			return length;
		if (bpf_probe_read_user(to + done, 256, (void *)from + done))
			return done;
	}
	return length;
}

/* The event of what the current task has just executed, but for its parent. */
static __always_inline void read_image(struct exec_scratch *s, struct task_struct *task,
				       struct linux_binprm *bprm)
{
	struct event *e = &s->event;
	struct fs_struct *fs = task->fs;
	const struct cred *cred = task->cred;
	struct mm_struct *mm = task->mm;
	bool truncated = false;
	long n;

	e->record.pid = task->tgid;
	e->record.start = task->group_leader->start_boottime;
	e->record.uid = cred->uid.val;
	e->record.euid = cred->euid.val;
	e->record.gid = cred->gid.val;
	e->record.egid = cred->egid.val;
	e->record.args_count = bprm->argc;

	n = image_path(s, task, &truncated);
	put_string(e, &e->record.executable, path_start(&s->path, n), n);
	if (truncated)
		e->record.header.flags |= RECORD_EXECUTABLE_TRUNCATED;

	n = bpf_probe_read_kernel_str(s->path.bytes, PATH_BYTES, bprm->filename);
	put_string(e, &e->record.invoked, s->path.bytes, n > 0 ? n - 1 : 0);
	share_string(e, e->record.executable, &e->record.invoked);

	n = path_of(&s->path, place_of(&fs->pwd), place_of(&fs->root), &truncated);
	put_string(e, &e->record.cwd, path_start(&s->path, n), n);
	if (truncated)
		e->record.header.flags |= RECORD_CWD_TRUNCATED;

	n = read_args(s->path.bytes, mm, &truncated);
	put_string(e, &e->record.args, s->path.bytes, n);
	if (truncated)
		e->record.header.flags |= RECORD_ARGS_TRUNCATED;
}

static __always_inline void read_parent(struct exec_scratch *s, struct task_struct *task)
{
	struct event *e = &s->event;
	struct task_struct *parent = task->real_parent;
	bool truncated = false;
	__u32 n;

	e->record.parent_pid = parent->tgid;
	e->record.parent_start = parent->group_leader->start_boottime;
	if (read_parent_image(e, e->record.parent_pid, e->record.parent_start))
		return;
	/* The path of what it runs now is better than nothing. */
	count(COUNTER_UNKNOWN_PARENTS);
	n = image_path(s, parent, &truncated);
	put_string(e, &e->record.parent_executable, path_start(&s->path, n), n);
	e->record.header.flags |= RECORD_PARENT_ARGS_TRUNCATED;
	if (truncated || !n)
		e->record.header.flags |= RECORD_PARENT_EXECUTABLE_TRUNCATED;
}

/* Appends the survivors and sends the record. A record that finds no room counts. */
static __always_inline void emit_match(struct exec_scratch *s, struct match_scratch *m, __u64 epoch)
{
	struct event *e = &s->event;
	__u32 size = finish_record(e, m);

	e->record.header.class = EVENT_PROCESS_EXEC;
	e->record.header.epoch = epoch;
	e->record.header.cpu = bpf_get_smp_processor_id();
	e->record.header.sequence = ++s->sequence;
	e->record.cgroup = bpf_get_current_cgroup_id();
	count(COUNTER_MATCHES);
	if (e->record.header.flags & RECORD_SPILLED)
		count(COUNTER_SPILLS);
	if (bpf_ringbuf_output(&matches, e, size, 0))
		count(COUNTER_LOST_RING_FULL);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	__u64 epoch = current_epoch();
	struct match_scratch *m = scratch_of_cpu();
	__u32 cpu = bpf_get_smp_processor_id();
	struct exec_scratch *s = bpf_map_lookup_elem(&exec_scratch, &cpu);

	if (!s || !m)
		return 0;
	begin_event(&s->event);
	s->event.record.header.time = bpf_ktime_get_boot_ns();
	read_image(s, task, bprm);
	if (!watch_cgroup || bpf_current_task_under_cgroup(&watched, 0) == 1) {
		read_parent(s, task);
		count(COUNTER_EVENTS);
		match_exec(m, &s->event);
		match_end(m, epoch);
		if (m->survivors)
			emit_match(s, m, epoch);
	}
	enter_image(&s->image, &s->event, s->event.record.header.time, BPF_ANY);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 parent_tgid = parent->tgid, child_tgid = child->tgid;
	struct process *p, entry;
	struct image *image;

	if (parent_tgid == child_tgid) /* a thread */
		return 0;
	p = bpf_map_lookup_elem(&processes, &parent_tgid);
	if (!p)
		return 0;
	entry = *p;
	entry.start = child->start_boottime;
	image = bpf_map_lookup_elem(&images, &entry.image);
	if (!image)
		return 0;
	/* The parent, which runs this, keeps the image alive meanwhile. */
	__sync_fetch_and_add(&image->references, 1);
	if (bpf_map_update_elem(&processes, &child_tgid, &entry, BPF_ANY)) {
		leave_image(&entry.image);
		count(COUNTER_UNTRACKED);
	}
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	__u32 tgid = task->tgid;

	/* It fires for each thread; the count has been lowered before. */
	if (task->signal->live.counter <= 0)
		forget_process(tgid);
	return 0;
}

/* Fills the table with what runs already, leaving alone what the hooks have put there. */
SEC("iter.s/task")
int seed(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	__u32 zero = 0, tgid;
	struct exec_scratch *s = bpf_map_lookup_elem(&seed_scratch, &zero);
	unsigned long from, size;
	struct mm_struct *mm;
	struct event *e;
	bool truncated;
	long n = 0;

	if (!task || !s || task->pid != task->tgid)
		return 0;
	e = &s->event;
	begin_event(e);
	e->record.pid = tgid = task->tgid;
	e->record.start = task->start_boottime;
	n = image_path(s, task, &truncated);
	put_string(e, &e->record.executable, path_start(&s->path, n), n);
	e->record.invoked = e->record.executable;
	if (truncated)
		e->record.header.flags |= RECORD_EXECUTABLE_TRUNCATED;
	mm = task->mm;
	if (mm) {
		from = mm->arg_start;
		size = mm->arg_end - from;
		n = size > IMAGE_BYTES ? IMAGE_BYTES : size;
		if (size > IMAGE_BYTES)
			e->record.header.flags |= RECORD_ARGS_TRUNCATED;
		if (n && bpf_copy_from_user_task(s->path.bytes, n, (void *)from, task, 0)) {
			n = 0;
			e->record.header.flags |= RECORD_ARGS_TRUNCATED;
		}
		put_string(e, &e->record.args, s->path.bytes, n);
	}
	enter_image(&s->image, e, e->record.start, BPF_NOEXIST);
	/* If it has exited since, on_exit may have been too early for this entry. */
	if (task->signal->live.counter <= 0)
		forget_process(tgid);
	return 0;
}
