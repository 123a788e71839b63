// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * process_exec, process_exit, and the process table behind all classes.
 *
 * Hooks: tp_btf sched_process_fork, sched_process_exec, sched_process_exit; a
 * sleepable task iterator, once at start.
 * Least kernel: 5.18 (bpf_loop 5.17, bpf_copy_from_user_task 5.18).
 */
#include "emit.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Only what something refers to gets into the BTF, where Go finds these. */
const enum event_class *const keep_event_class __attribute__((unused));
const enum counter *const keep_counter __attribute__((unused));
const enum record_flag *const keep_record_flag __attribute__((unused));
const enum key_field *const keep_key_field __attribute__((unused));
const enum key_way *const keep_key_way __attribute__((unused));
const enum limit *const keep_limit __attribute__((unused));

/* The iterator may sleep and move between CPUs: it has a workspace of its own. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct workspace);
} seed_workspace SEC(".maps");

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

/* What the current task has just executed. */
static __always_inline void read_image(struct workspace *s, struct task_struct *task,
				       struct linux_binprm *bprm)
{
	struct event *e = &s->event;
	struct record *r = &e->record;
	struct fs_struct *fs = task->fs;
	bool truncated = false;
	long n;

	read_identity(e, task);
	r->args_count = bprm->argc;

	n = image_path(&s->path, task, &truncated);
	put_string(e, &r->executable, path_start(&s->path, n), n);
	if (truncated)
		r->header.flags |= RECORD_EXECUTABLE_TRUNCATED;

	n = bpf_probe_read_kernel_str(s->path.bytes, PATH_BYTES, bprm->filename);
	put_string(e, &r->invoked, s->path.bytes, n > 0 ? n - 1 : 0);
	share_string(e, r->executable, &r->invoked);

	n = path_of(&s->path, place_of(&fs->pwd), place_of(&fs->root), &truncated);
	put_string(e, &r->cwd, path_start(&s->path, n), n);
	if (truncated)
		r->header.flags |= RECORD_CWD_TRUNCATED;

	n = read_args(s->path.bytes, task->mm, &truncated);
	put_string(e, &r->args, s->path.bytes, n);
	if (truncated)
		r->header.flags |= RECORD_ARGS_TRUNCATED;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	__u64 epoch = current_epoch();
	struct workspace *s = take_workspace(EVENT_PROCESS_EXEC);
	struct wanted w;

	if (!s)
		return 0;
	begin_event(&s->event, EVENT_PROCESS_EXEC);
	read_image(s, task, bprm);
	if (read_wanted(&w, EVENT_PROCESS_EXEC) && is_watched())
		judge_event(s, &w, epoch, true);
	enter_image(&s->image, &s->event, s->event.record.header.time, BPF_ANY);
	give_back(s);
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
		count(EVENT_UNKNOWN, COUNTER_UNTRACKED);
	}
	return 0;
}

static __always_inline void judge_exit(struct task_struct *task)
{
	__u64 epoch = current_epoch();
	struct workspace *s;
	struct wanted w;

	if (!read_wanted(&w, EVENT_PROCESS_EXIT) || !is_watched())
		return;
	s = take_workspace(EVENT_PROCESS_EXIT);
	if (!s)
		return;
	begin_event(&s->event, EVENT_PROCESS_EXIT);
	read_identity(&s->event, task);
	s->event.record.exit_code = task->exit_code;
	if (task->signal->flags & SIGNAL_GROUP_EXIT)
		s->event.record.exit_code = task->signal->group_exit_code;
	judge_event(s, &w, epoch, false);
	give_back(s);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	/* It fires for each thread; the count has been lowered before. */
	if (task->signal->live.counter > 0)
		return 0;
	judge_exit(task);
	forget_process(task->tgid);
	return 0;
}

/* Fills the table with what runs already, leaving alone what the hooks have put there. */
SEC("iter.s/task")
int seed(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	__u32 zero = 0;
	struct workspace *s = bpf_map_lookup_elem(&seed_workspace, &zero);
	unsigned long from, size;
	struct mm_struct *mm;
	struct record *r;
	bool truncated;
	long n;

	if (!task || !s || task->pid != task->tgid)
		return 0;
	r = &s->event.record;
	begin_event(&s->event, EVENT_UNKNOWN);
	read_identity(&s->event, task);
	n = image_path(&s->path, task, &truncated);
	put_string(&s->event, &r->executable, path_start(&s->path, n), n);
	r->invoked = r->executable;
	if (truncated)
		r->header.flags |= RECORD_EXECUTABLE_TRUNCATED;
	mm = task->mm;
	if (mm) {
		from = mm->arg_start;
		size = mm->arg_end - from;
		n = size > IMAGE_BYTES ? IMAGE_BYTES : size;
		if (size > IMAGE_BYTES)
			r->header.flags |= RECORD_ARGS_TRUNCATED;
		if (n && bpf_copy_from_user_task(s->path.bytes, n, (void *)from, task, 0)) {
			n = 0;
			r->header.flags |= RECORD_ARGS_TRUNCATED;
		}
		put_string(&s->event, &r->args, s->path.bytes, n);
	}
	enter_image(&s->image, &s->event, r->start, BPF_NOEXIST);
	/* If it has exited since, on_exit may have been too early for this entry. */
	if (task->signal->live.counter <= 0)
		forget_process(task->tgid);
	return 0;
}
