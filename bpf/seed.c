// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Fills the process table with what runs already.
 *
 * Hooks: a task iterator (5.8), run once, that sleeps from 5.18 on: only then can it read
 * the arguments of other processes.
 * Least kernel: 5.10.
 */
#include "subject.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Key of the iterator's workspace; set by the loader. */
const volatile __u32 seed_workspace = CPU_WORKSPACES;

/* Leaves alone what the hooks have put there. */
static __always_inline int seed_process(struct task_struct *task, bool may_sleep)
{
	struct workspace *s = workspace_of(seed_workspace);
	struct mm_struct *mm;
	struct record *r;
	__u32 flags = 0;
	__u64 n;

	if (!task || !s || task->pid != task->tgid)
		return 0;
	s->id = seed_workspace;
	r = &s->event.record;
	begin_event(&s->event, EVENT_UNKNOWN);
	read_identity(&s->event, task);
	n = image_path(s, task, &flags);
	put_string(&s->event, &r->executable, path_start(s, n), n);
	r->invoked = r->executable;
	mm = BPF_CORE_READ(task, mm);
	if (mm) {
		unsigned long from = BPF_CORE_READ(mm, arg_start);

		n = BPF_CORE_READ(mm, arg_end) - from;
		if (n > IMAGE_BYTES)
			flags |= RECORD_ARGS_TRUNCATED;
		n = AT_MOST(n, IMAGE_BYTES);
		if (n && (!may_sleep ||
			  bpf_copy_from_user_task(s->path.bytes, n, (void *)from, task, 0))) {
			n = 0;
			flags |= RECORD_ARGS_TRUNCATED;
		}
		put_string(&s->event, &r->args, s->path.bytes, n);
	}
	r->header.flags |= flags;
	enter_image(&s->image, &s->event, r->start, BPF_NOEXIST);
	/* If it has exited since, on_exit may have been too early for this entry. */
	if (BPF_CORE_READ(task, signal, live.counter) <= 0)
		forget_process(task->tgid);
	return 0;
}

SEC("iter.s/task")
int seed(struct bpf_iter__task *ctx)
{
	return seed_process(ctx->task, true);
}

/* Before 5.18. */
SEC("iter/task")
int seed_without_args(struct bpf_iter__task *ctx)
{
	return seed_process(ctx->task, false);
}
