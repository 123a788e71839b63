// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * file_open: a file was opened for reading or writing. Opening a path only (O_PATH),
 * and what execve opens, are not meant.
 *
 * Hooks, of which the loader takes the first that works: lsm file_open (5.7, with bpf
 * among the active LSMs), fexit security_file_open (5.5), tp_btf sys_exit (5.5, x86-64
 * only: it looks the new descriptor up; does not see io_uring).
 * Least kernel: 5.10.
 */
#include "emit.h"
#include "syscall.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* " (deleted)", as words of eight bytes and of two */
#define DELETED_HEAD  0x6574656c65642820ULL
#define DELETED_TAIL  0x2964
#define DELETED_BYTES 10

/*
 * The kernel's own function is faster than a walk, but marks files that have no name any
 * more, and gives nothing of paths that are too long: these are walked.
 */
static __always_inline bool put_d_path(struct workspace *s, struct file *file)
{
	struct event *e = &s->event;
	__u32 offset = MASKED(e->record.header.data, DATA_BYTES - 1);
	long n = bpf_d_path(&file->f_path, &e->data[offset], PATH_BYTES);
	const char *end;

	if (n <= 1 || n > PATH_BYTES)
		return false;
	n--;
	end = &e->data[MASKED(offset + n - DELETED_BYTES, DATA_BYTES - 1)];
	if (n >= DELETED_BYTES && *(__u64 *)end == DELETED_HEAD &&
	    *(__u16 *)(end + 8) == DELETED_TAIL)
		return false;
	end_string(e, &e->record.file_path, offset, n);
	return true;
}

static __always_inline void judge_open(struct file *file, __u32 flags, __u32 mode, bool d_path)
{
	bool truncated = false;
	struct workspace *s;
	struct terms by;
	__u32 n;

	if (flags & (O_PATH | FMODE_EXEC))
		return;
	s = begin(&by, EVENT_FILE_OPEN);
	if (!s)
		return;
	if (!d_path || !put_d_path(s, file)) {
		n = file_path_of(s, file, current_task(), &truncated);
		put_string(&s->event, &s->event.record.file_path, path_start(s, n), n);
	}
	s->event.record.header.flags = (truncated ? RECORD_FILE_PATH_TRUNCATED : 0) |
				       (mode & FMODE_READ ? RECORD_OPEN_READ : 0) |
				       (mode & FMODE_WRITE ? RECORD_OPEN_WRITE : 0) |
				       (flags & O_CREAT ? RECORD_OPEN_CREATE : 0) |
				       (flags & O_TRUNC ? RECORD_OPEN_TRUNCATE : 0);
	judge(s, &by);
}

/* Where another program or module has denied it, this one is not run. */
SEC("lsm/file_open")
int BPF_PROG(on_open_lsm, struct file *file)
{
	if (!is_self_test())
		judge_open(file, file->f_flags, file->f_mode, true);
	return 0;
}

SEC("fexit/security_file_open")
int BPF_PROG(on_open_fexit, struct file *file, int ret)
{
	if (!ret && !is_self_test())
		judge_open(file, file->f_flags, file->f_mode, true);
	return 0;
}

/* Before 5.11 security modules may not call bpf_d_path. */
SEC("lsm/file_open")
int BPF_PROG(on_open_lsm_walk, struct file *file)
{
	if (!is_self_test())
		judge_open(file, file->f_flags, file->f_mode, false);
	return 0;
}

#ifdef __TARGET_ARCH_x86

SEC("tp_btf/sys_exit")
int BPF_PROG(on_open_sys_exit, struct pt_regs *regs, long ret)
{
	struct file *file;
	__u32 flags;

	if (ret < 0 || !open_flags(regs, &flags))
		return 0;
	file = file_of_descriptor(current_task(), ret);
	if (file && !is_self_test())
		judge_open(file, flags, BPF_CORE_READ(file, f_mode), false);
	return 0;
}

#endif
