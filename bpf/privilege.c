// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * privilege_change: a process is about to change its ids or capabilities, trace another,
 * enter or make namespaces, or mount something.
 *
 * Hooks, of which the loader takes the first that works:
 *  setuid, setgid, capset, ptrace, mount
 *                  lsm task_fix_setuid, task_fix_setgid (5.9), capset, ptrace_access_check,
 *                  ptrace_traceme, sb_mount, move_mount (5.7); fexit of their security_*
 *                  functions (5.5)
 *  unshare, setns  fexit ksys_unshare, copy_namespaces and the system call setns (5.5)
 *  all             tp_btf sys_exit (5.5, x86-64 only): what has succeeded, ids before are not
 * known, mount points are claimed Least kernel: 5.10.
 */
#include "change_calls.h"
#include "emit.h"
#include "privilege_calls.h"
#include "security.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* include/linux/ptrace.h */
#define PTRACE_MODE_ATTACH 0x02

/* include/uapi/linux/sched.h */
#define CLONE_NEWTIME	0x00000080
#define CLONE_NEWNS	0x00020000
#define CLONE_NEWCGROUP 0x02000000
#define CLONE_NEWUTS	0x04000000
#define CLONE_NEWIPC	0x08000000
#define CLONE_NEWUSER	0x10000000
#define CLONE_NEWPID	0x20000000
#define CLONE_NEWNET	0x40000000
#define CLONE_NEW                                                                      \
	(CLONE_NEWTIME | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | \
	 CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

static __always_inline void judge_ids(const struct cred *now, __u32 operation)
{
	struct terms by;
	struct workspace *s = begin_operation(&by, EVENT_PRIVILEGE_CHANGE, operation);
	struct record *r;

	if (!s)
		return;
	r = &s->event.record;
	if (operation == PRIVILEGE_SETUID) {
		r->new_uid = BPF_CORE_READ(now, uid.val);
		r->new_euid = BPF_CORE_READ(now, euid.val);
	} else {
		r->new_gid = BPF_CORE_READ(now, gid.val);
	}
	judge(s, &by);
}

static __always_inline void judge_capabilities(const struct cred *now)
{
	struct terms by;
	struct workspace *s = begin_operation(&by, EVENT_PRIVILEGE_CHANGE, PRIVILEGE_CAPSET);

	if (!s)
		return;
	bpf_probe_read_kernel(&s->event.record.capabilities, sizeof(__u64), &now->cap_effective);
	judge(s, &by);
}

static __always_inline void judge_trace(struct task_struct *target)
{
	struct workspace *s;
	struct terms by;

	if (!target)
		return;
	s = begin_operation(&by, EVENT_PRIVILEGE_CHANGE, PRIVILEGE_PTRACE);
	if (!s)
		return;
	s->event.record.target_pid = BPF_CORE_READ(target, tgid);
	if (find_image(s->id, s->event.record.target_pid,
		       BPF_CORE_READ(target, group_leader, start_boottime)))
		s->event.record.target_executable = s->process.executable;
	judge(s, &by);
}

static __always_inline __u32 namespaces_of(__u64 flags)
{
	return (flags & CLONE_NEWCGROUP ? 1 << NAMESPACE_CGROUP : 0) |
	       (flags & CLONE_NEWIPC ? 1 << NAMESPACE_IPC : 0) |
	       (flags & CLONE_NEWNS ? 1 << NAMESPACE_MNT : 0) |
	       (flags & CLONE_NEWNET ? 1 << NAMESPACE_NET : 0) |
	       (flags & CLONE_NEWPID ? 1 << NAMESPACE_PID : 0) |
	       (flags & CLONE_NEWTIME ? 1 << NAMESPACE_TIME : 0) |
	       (flags & CLONE_NEWUSER ? 1 << NAMESPACE_USER : 0) |
	       (flags & CLONE_NEWUTS ? 1 << NAMESPACE_UTS : 0);
}

static __always_inline void judge_namespaces(__u32 operation, __u64 flags)
{
	struct terms by;
	struct workspace *s = begin_operation(&by, EVENT_PRIVILEGE_CHANGE, operation);

	if (!s)
		return;
	s->event.record.namespaces = namespaces_of(flags);
	judge(s, &by);
}

/* device and type are the kernel's copies, or NULL. */
static __always_inline void judge_mount(const char *device, struct place at, const char *type)
{
	struct terms by;
	struct workspace *s = begin_operation(&by, EVENT_PRIVILEGE_CHANGE, PRIVILEGE_MOUNT);
	struct record *r;
	bool truncated;
	long n;

	if (!s)
		return;
	r = &s->event.record;
	n = path_of(s, at, root_of(current_task()), &truncated);
	put_string(&s->event, &r->file_path, path_start(s, n), n);
	if (truncated)
		r->header.flags |= RECORD_FILE_PATH_TRUNCATED;
	n = device ? bpf_probe_read_kernel_str(s->path.bytes, PATH_BYTES, device) : 0;
	put_string(&s->event, &r->mount_source, s->path.bytes, n > 0 ? n - 1 : 0);
	n = type ? bpf_probe_read_kernel_str(s->path.bytes, PATH_BYTES, type) : 0;
	put_string(&s->event, &r->mount_type, s->path.bytes, n > 0 ? n - 1 : 0);
	judge(s, &by);
}

/* A mount that was made before is put at its place: what it is of is its path. */
static __always_inline void judge_move(const struct path *from, const struct path *to)
{
	struct terms by;
	struct workspace *s = begin_operation(&by, EVENT_PRIVILEGE_CHANGE, PRIVILEGE_MOUNT);
	struct record *r;
	bool truncated;
	__u32 n;

	if (!s)
		return;
	r = &s->event.record;
	n = path_of(s, read_place(to), root_of(current_task()), &truncated);
	put_string(&s->event, &r->file_path, path_start(s, n), n);
	if (truncated)
		r->header.flags |= RECORD_FILE_PATH_TRUNCATED;
	n = path_of(s, read_place(from), root_of(current_task()), &truncated);
	put_string(&s->event, &r->mount_source, path_start(s, n), n);
	judge(s, &by);
}

ON_SECURITY(task_fix_setuid, PARAMETERS(struct cred *now, const struct cred *before, int flags),
	    judge_ids(now, PRIVILEGE_SETUID))
ON_SECURITY(task_fix_setgid, PARAMETERS(struct cred *now, const struct cred *before, int flags),
	    judge_ids(now, PRIVILEGE_SETGID))
ON_SECURITY(capset,
	    PARAMETERS(struct cred *now, const struct cred *before, const void *effective,
		       const void *inheritable, const void *permitted),
	    judge_capabilities(now))
ON_SECURITY(ptrace_traceme, PARAMETERS(struct task_struct *parent), judge_trace(current_task()))
ON_SECURITY(move_mount, PARAMETERS(const struct path *from, const struct path *to),
	    judge_move(from, to))
ON_SECURITY(sb_mount,
	    PARAMETERS(const char *device, const struct path *path, const char *type,
		       unsigned long flags, void *data),
	    judge_mount(device, read_place(path), type))

static __always_inline void judge_access(struct task_struct *target, unsigned int mode)
{
	if (mode & PTRACE_MODE_ATTACH)
		judge_trace(target);
}

ON_SECURITY(ptrace_access_check, PARAMETERS(struct task_struct *target, unsigned int mode),
	    judge_access(target, mode))

SEC("fexit/ksys_unshare")
int BPF_PROG(on_unshare, unsigned long flags, int ret)
{
	if (!ret && flags & CLONE_NEW)
		judge_namespaces(PRIVILEGE_UNSHARE, flags);
	return 0;
}

/* A process is cloned into new namespaces. */
SEC("fexit/copy_namespaces")
int BPF_PROG(on_clone, unsigned long flags, struct task_struct *child, int ret)
{
	if (!ret && flags & CLONE_NEW)
		judge_namespaces(PRIVILEGE_UNSHARE, flags);
	return 0;
}

/* setns(2) has been permitted. Without flags any kind of namespace may be entered: the file says
 * which. */
static __always_inline void judge_setns(__u32 fd, __u64 flags)
{
	struct file *file;
	void *ns;

	if (!(__u32)flags) {
		file = file_of_descriptor(current_task(), fd);
		ns = BPF_CORE_READ(file, f_inode, i_private);
		if (bpf_core_field_exists(((struct ns_common___618 *)ns)->ns_type))
			flags = BPF_CORE_READ((struct ns_common___618 *)ns, ns_type);
		else
			flags = (__u32)BPF_CORE_READ((struct ns_common *)ns, ops, type);
	}
	judge_namespaces(PRIVILEGE_SETNS, flags);
}

#ifdef __TARGET_ARCH_x86

SEC("fexit/__x64_sys_setns")
int BPF_PROG(on_setns, struct pt_regs *regs, long ret)
{
	if (!ret)
		judge_setns(BPF_CORE_READ(regs, di), BPF_CORE_READ(regs, si));
	return 0;
}

/* The same of processes of 32 bits. */
SEC("fexit/__ia32_sys_setns")
int BPF_PROG(on_setns32, struct pt_regs *regs, long ret)
{
	if (!ret)
		judge_setns(BPF_CORE_READ(regs, bx), BPF_CORE_READ(regs, cx));
	return 0;
}

#else

struct user_pt_regs {
	unsigned long regs[31];
};

SEC("fexit/__arm64_sys_setns")
int BPF_PROG(on_setns, const struct pt_regs *regs, long ret)
{
	unsigned long arguments[2] = {};

	if (ret)
		return 0;
	bpf_probe_read_kernel(arguments, sizeof(arguments), ((struct user_pt_regs *)regs)->regs);
	judge_setns(arguments[0], arguments[1]);
	return 0;
}

#endif

#ifdef __TARGET_ARCH_x86

/* A call that names the process that it traces, by its id in the namespace of the caller. */
static __always_inline void judge_trace_call(__u32 target)
{
	struct process *p = bpf_map_lookup_elem(&processes, &target);
	struct workspace *s;
	struct terms by;

	s = begin_operation(&by, EVENT_PRIVILEGE_CHANGE, PRIVILEGE_PTRACE);
	if (!s)
		return;
	s->event.record.target_pid = target;
	if (p && find_image(s->id, target, p->start))
		s->event.record.target_executable = s->process.executable;
	judge(s, &by);
}

static __always_inline void judge_mount_call(struct pt_regs *regs, bool move, bool compat)
{
	struct terms by;
	struct workspace *s = begin_operation(&by, EVENT_PRIVILEGE_CHANGE, PRIVILEGE_MOUNT);
	struct record *r;
	long n;

	if (!s)
		return;
	r = &s->event.record;
	r->header.flags |= RECORD_PATH_CLAIMED;
	if (move) {
		put_claimed_path(s, &r->mount_source, argument(regs, 1, compat),
				 (void *)argument(regs, 2, compat), 0);
		put_claimed_path(s, &r->file_path, argument(regs, 3, compat),
				 (void *)argument(regs, 4, compat), RECORD_FILE_PATH_TRUNCATED);
	} else {
		n = bpf_probe_read_user_str(s->path.bytes, PATH_BYTES,
					    (void *)argument(regs, 1, compat));
		put_string(&s->event, &r->mount_source, s->path.bytes, n > 0 ? n - 1 : 0);
		n = bpf_probe_read_user_str(s->path.bytes, PATH_BYTES,
					    (void *)argument(regs, 3, compat));
		put_string(&s->event, &r->mount_type, s->path.bytes, n > 0 ? n - 1 : 0);
		put_claimed_path(s, &r->file_path, AT_FDCWD, (void *)argument(regs, 2, compat),
				 RECORD_FILE_PATH_TRUNCATED);
	}
	judge(s, &by);
}

/* A system call that has succeeded. */
static __always_inline void judge_call(struct pt_regs *regs, const struct privilege_call *call,
				       bool compat)
{
	const struct cred *now = BPF_CORE_READ(current_task(), cred);
	__u64 flags = call->argument ? argument(regs, call->argument, compat) : 0;
	__u64 request = argument(regs, 1, compat);

	switch (call->operation) {
	case PRIVILEGE_SETUID:
	case PRIVILEGE_SETGID:
		judge_ids(now, call->operation);
		break;
	case PRIVILEGE_CAPSET:
		judge_capabilities(now);
		break;
	case PRIVILEGE_PTRACE:
		if (call->argument == 1 || request == PTRACE_ATTACH || request == PTRACE_SEIZE)
			judge_trace_call(flags);
		else if (request == PTRACE_TRACEME)
			judge_trace_call(bpf_get_current_pid_tgid() >> 32);
		break;
	case PRIVILEGE_MOUNT:
		judge_mount_call(regs, call->argument, compat);
		break;
	case PRIVILEGE_UNSHARE:
		if (flags & CLONE_NEW)
			judge_namespaces(PRIVILEGE_UNSHARE, flags);
		break;
	case PRIVILEGE_SETNS:
		judge_setns(request, flags);
		break;
	}
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_privilege_sys_exit, struct pt_regs *regs, long ret)
{
	__u32 number = number_of(regs);
	const struct privilege_call *call;
	bool compat;

	if (ret < 0 || number >= PRIVILEGE_CALLS)
		return 0;
	compat = is_compat();
	if (compat)
		number = privilege_calls_compat[MASKED(number, PRIVILEGE_CALLS - 1)];
	call = &privilege_calls[MASKED(number, PRIVILEGE_CALLS - 1)];
	/* The child returns from clone(2) as well, with 0. */
	if (call->operation && (call != &privilege_calls[NR_CLONE] || ret))
		judge_call(regs, call, compat);
	return 0;
}

#endif
