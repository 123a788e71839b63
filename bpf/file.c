// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * file_open: a file was opened for reading or writing. Opening a path only (O_PATH),
 * and what execve opens, are not meant.
 *
 * Hooks, of which the loader takes the first that works: lsm file_open (5.7, with bpf
 * among the active LSMs), fexit security_file_open (5.5), tp_btf sys_exit (5.5, x86-64
 * only: it looks the new descriptor up; does not see io_uring).
 * Least kernel: 5.17 (bpf_loop).
 */
#include "emit.h"
#include "selftest.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* include/linux/fs.h and include/uapi/asm-generic/fcntl.h */
#define FMODE_READ  0x1
#define FMODE_WRITE 0x2
#define FMODE_EXEC  0x20 /* in f_flags */
#define O_WRONLY    01
#define O_CREAT	    0100
#define O_TRUNC	    01000
#define O_PATH	    010000000

static __always_inline void judge_open(struct task_struct *task, struct file *file, __u32 flags)
{
	__u64 epoch = current_epoch();
	struct workspace *s;
	struct place at;
	struct wanted w;
	bool truncated;
	__u32 mode, n;

	if (is_self_test(task))
		return;
	if (!read_wanted(&w, EVENT_FILE_OPEN) || flags & (O_PATH | FMODE_EXEC) || !is_watched())
		return;
	s = take_workspace(EVENT_FILE_OPEN);
	if (!s)
		return;
	begin_event(&s->event, EVENT_FILE_OPEN);
	read_identity(&s->event, task);
	at.mnt = BPF_CORE_READ(file, f_path.mnt);
	at.dentry = BPF_CORE_READ(file, f_path.dentry);
	n = path_of(&s->path, at, place_of(&task->fs->root), &truncated);
	put_string(&s->event, &s->event.record.file_path, path_start(&s->path, n), n);
	mode = BPF_CORE_READ(file, f_mode);
	s->event.record.header.flags = (truncated ? RECORD_FILE_PATH_TRUNCATED : 0) |
				       (mode & FMODE_READ ? RECORD_OPEN_READ : 0) |
				       (mode & FMODE_WRITE ? RECORD_OPEN_WRITE : 0) |
				       (flags & O_CREAT ? RECORD_OPEN_CREATE : 0) |
				       (flags & O_TRUNC ? RECORD_OPEN_TRUNCATE : 0);
	judge_event(s, &w, epoch, false);
	give_back(s);
}

SEC("lsm/file_open")
int BPF_PROG(on_open_lsm, struct file *file, int ret)
{
	if (!ret) /* another program has not denied it */
		judge_open(bpf_get_current_task_btf(), file, file->f_flags);
	return ret;
}

SEC("fexit/security_file_open")
int BPF_PROG(on_open_fexit, struct file *file, int ret)
{
	if (!ret)
		judge_open(bpf_get_current_task_btf(), file, file->f_flags);
	return 0;
}

#ifdef __TARGET_ARCH_x86

#define TS_COMPAT 0x0002 /* arch/x86/include/asm/thread_info.h */

/* System call numbers, of 64 bits and of 32. */
enum {
	NR_OPEN = 2,
	NR_CREAT = 85,
	NR_OPENAT = 257,
	NR_OPENAT2 = 437,
	NR32_OPEN = 5,
	NR32_CREAT = 8,
	NR32_OPENAT = 295,
};

/*
 * The flags given to the system call, or false if it opens no file. By now f_flags has
 * lost O_CREAT and O_TRUNC. The registers are the kernel's copy; only what openat2
 * points to could have been changed meanwhile.
 */
static __always_inline bool open_flags(struct task_struct *task, struct pt_regs *regs, __u32 *flags)
{
	bool compat = task->thread_info.status & TS_COMPAT;
	__u64 how = 0;

	switch (regs->orig_ax) {
	case NR_OPEN:
		*flags = regs->si;
		return !compat;
	case NR_CREAT:
		*flags = O_CREAT | O_TRUNC | O_WRONLY;
		return !compat;
	case NR_OPENAT:
		*flags = regs->dx;
		return !compat;
	case NR_OPENAT2: /* the number is the same in both */
		bpf_probe_read_user(&how, sizeof(how), (void *)regs->dx);
		*flags = how;
		return true;
	case NR32_OPEN:
		*flags = regs->cx;
		return compat;
	case NR32_CREAT:
		*flags = O_CREAT | O_TRUNC | O_WRONLY;
		return compat;
	case NR32_OPENAT:
		*flags = regs->dx;
		return compat;
	}
	return false;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_open_sys_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *task;
	struct fdtable *table;
	struct file *file = NULL;
	__u32 flags;

	if (ret < 0)
		return 0;
	task = bpf_get_current_task_btf();
	if (!open_flags(task, regs, &flags))
		return 0;
	table = task->files->fdt;
	if (ret >= table->max_fds)
		return 0;
	/* Another thread may have closed it by now, or put another file there. */
	bpf_probe_read_kernel(&file, sizeof(file), &table->fd[ret]);
	if (file)
		judge_open(task, file, flags);
	return 0;
}

#endif
