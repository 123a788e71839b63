/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The current task, and what tasks say of themselves.
 */
#ifndef BITTERN_TASK_H
#define BITTERN_TASK_H

#include "path.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/*
 * Not bpf_get_current_task_btf: for each pointer that the verifier follows it searches all
 * types of the kernel, a millisecond or more.
 */
static __always_inline struct task_struct *current_task(void)
{
	return (void *)bpf_get_current_task();
}

static __always_inline struct place root_of(struct task_struct *task)
{
	struct fs_struct *fs = BPF_CORE_READ(task, fs);

	return read_place(&fs->root);
}

static __always_inline struct place working_directory_of(struct task_struct *task)
{
	struct fs_struct *fs = BPF_CORE_READ(task, fs);

	return read_place(&fs->pwd);
}

/* The path of a file as a task sees it. */
static __always_inline __u32 file_path_of(struct workspace *s, struct file *file,
					  struct task_struct *task, bool *truncated)
{
	return path_of(s, read_place(&file->f_path), root_of(task), truncated);
}

/* The file behind a descriptor of the current task, as it stands now; NULL if there is none. */
static __always_inline struct file *file_of_descriptor(struct task_struct *task, __u64 fd)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files, *file = NULL;

	if (!table || fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	files = BPF_CORE_READ(table, fd);
	/* Another thread may have closed it by now, or put another file there. */
	bpf_probe_read_kernel(&file, sizeof(file), &files[fd]);
	return file;
}

#endif
