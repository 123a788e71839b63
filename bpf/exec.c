// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * process_exec, process_exit, and the process table behind all classes.
 *
 * Hooks: tp_btf sched_process_fork, sched_process_exec, sched_process_exit.
 * Least kernel: 5.10.
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
const enum file_operation *const keep_file_operation __attribute__((unused));
const enum network_operation *const keep_network_operation __attribute__((unused));
const enum privilege_operation *const keep_privilege_operation __attribute__((unused));
const enum kernel_operation *const keep_kernel_operation __attribute__((unused));
const enum filter_of *const keep_filter_of __attribute__((unused));
const enum namespace_kind *const keep_namespace_kind __attribute__((unused));

/*
 * The arguments are one block of user memory that execve has just written. Part of
 * it may be paged out all the same: what can be read up to there is kept.
 */
static __always_inline __u32 read_args(void *to, unsigned long from, unsigned long end,
				       bool *truncated)
{
	__u64 length = end - from;

	*truncated = length > ARGS_BYTES;
	length = AT_MOST(length, ARGS_BYTES);
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
	const char *filename = bprm->filename;
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	bool truncated = false;
	__u32 flags = 0;
	long n;

	read_identity(e, task);
	r->args_count = bprm->argc;

	n = image_path(s, task, &flags);
	put_string(e, &r->executable, path_start(s, n), n);
	if (bprm->interp != filename)
		flags |= RECORD_SCRIPT;

	n = bpf_probe_read_kernel_str(s->path.bytes, PATH_BYTES, filename);
	put_string(e, &r->invoked, s->path.bytes, n > 0 ? n - 1 : 0);
	share_string(s, r->executable, &r->invoked);

	n = path_of(s, working_directory_of(task), root_of(task), &truncated);
	put_string(e, &r->cwd, path_start(s, n), n);
	if (truncated)
		flags |= RECORD_CWD_TRUNCATED;

	n = read_args(s->path.bytes, BPF_CORE_READ(mm, arg_start), BPF_CORE_READ(mm, arg_end),
		      &truncated);
	put_string(e, &r->args, s->path.bytes, n);
	if (truncated)
		flags |= RECORD_ARGS_TRUNCATED;
	r->header.flags |= flags;
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
	s->known = PART_IDENTITY | PART_SUBJECT;
	if (read_wanted(&w, EVENT_PROCESS_EXEC) && is_watched())
		judge_event(s, &w, epoch);
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
	ADD(&image->references, 1);
	if (bpf_map_update_elem(&processes, &child_tgid, &entry, BPF_ANY)) {
		leave_image(&entry.image);
		count(EVENT_UNKNOWN, COUNTER_UNTRACKED);
	}
	return 0;
}

static __always_inline void judge_exit(struct task_struct *task)
{
	struct terms by;
	struct workspace *s = begin(&by, EVENT_PROCESS_EXIT);
	struct signal_struct *signal;

	if (!s)
		return;
	s->event.record.exit_code = task->exit_code;
	signal = BPF_CORE_READ(task, signal);
	if (BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT)
		s->event.record.exit_code = BPF_CORE_READ(signal, group_exit_code);
	judge(s, &by);
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	/* It fires for each thread; the count has been lowered before. */
	if (BPF_CORE_READ(task, signal, live.counter) > 0)
		return 0;
	judge_exit(task);
	forget_process(task->tgid);
	return 0;
}
