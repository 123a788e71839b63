/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The system calls that change files, as data, for hosts where nothing better than their
 * end can be hooked.
 */
#ifndef BITTERN_CHANGE_CALLS_H
#define BITTERN_CHANGE_CALLS_H

#include "syscall.h"
#include "record.h"

#ifdef __TARGET_ARCH_x86

enum change_how {
	BY_PATH,
	BY_DESCRIPTOR, /* the first argument */
	BY_RESULT,     /* the descriptor that it returns */
};

/* Which arguments say what, counted from 1; 0 is none. */
struct change_call {
	__u8 operation;
	__u8 how;
	__u8 path, at;	       /* the path, and the directory that it is relative to */
	__u8 new_path, new_at; /* the same of the new name */
	__u8 mode;
	__u8 owner; /* the user; the group follows */
};

#define CHANGE_CALLS 512

/* By the number of the system call of 64 bits. */
const struct change_call change_calls[CHANGE_CALLS] = {
	[2] = { FILE_CREATE, BY_RESULT },			/* open */
	[85] = { FILE_CREATE, BY_RESULT },			/* creat */
	[257] = { FILE_CREATE, BY_RESULT },			/* openat */
	[437] = { FILE_CREATE, BY_RESULT },			/* openat2 */
	[304] = { FILE_CREATE, BY_RESULT },			/* open_by_handle_at */
	[133] = { FILE_CREATE, .path = 1, .mode = 2 },		/* mknod */
	[259] = { FILE_CREATE, .path = 2, .at = 1, .mode = 3 }, /* mknodat */
	[83] = { FILE_MKDIR, .path = 1, .mode = 2 },		/* mkdir */
	[258] = { FILE_MKDIR, .path = 2, .at = 1, .mode = 3 },	/* mkdirat */
	[87] = { FILE_UNLINK, .path = 1 },			/* unlink */
	[263] = { FILE_UNLINK, .path = 2, .at = 1 },		/* unlinkat */
	[84] = { FILE_RMDIR, .path = 1 },			/* rmdir */
	[82] = { FILE_RENAME, .path = 1, .new_path = 2 },	/* rename */
	[264] = { FILE_RENAME, .path = 2, .at = 1, .new_path = 4, .new_at = 3 }, /* renameat */
	[316] = { FILE_RENAME, .path = 2, .at = 1, .new_path = 4, .new_at = 3 }, /* renameat2 */
	[86] = { FILE_LINK, .path = 1, .new_path = 2 },				 /* link */
	[265] = { FILE_LINK, .path = 2, .at = 1, .new_path = 4, .new_at = 3 },	 /* linkat */
	[88] = { FILE_SYMLINK, .path = 2 },					 /* symlink */
	[266] = { FILE_SYMLINK, .path = 3, .at = 2 },				 /* symlinkat */
	[90] = { FILE_CHMOD, .path = 1, .mode = 2 },				 /* chmod */
	[91] = { FILE_CHMOD, BY_DESCRIPTOR, .mode = 2 },			 /* fchmod */
	[268] = { FILE_CHMOD, .path = 2, .at = 1, .mode = 3 },			 /* fchmodat */
	[452] = { FILE_CHMOD, .path = 2, .at = 1, .mode = 3 },			 /* fchmodat2 */
	[92] = { FILE_CHOWN, .path = 1, .owner = 2 },				 /* chown */
	[94] = { FILE_CHOWN, .path = 1, .owner = 2 },				 /* lchown */
	[93] = { FILE_CHOWN, BY_DESCRIPTOR, .owner = 2 },			 /* fchown */
	[260] = { FILE_CHOWN, .path = 2, .at = 1, .owner = 3 },			 /* fchownat */
	[76] = { FILE_TRUNCATE, .path = 1 },					 /* truncate */
	[77] = { FILE_TRUNCATE, BY_DESCRIPTOR },				 /* ftruncate */
};

/* By the number of the system call of 32 bits: the one of 64 bits that takes the same. */
const __u16 change_calls_compat[CHANGE_CALLS] = {
	[5] = 2,     [8] = 85,	  [9] = 86,    [10] = 87,   [14] = 133,	 [15] = 90,   [16] = 94,
	[38] = 82,   [39] = 83,	  [40] = 84,   [83] = 88,   [92] = 76,	 [93] = 77,   [94] = 91,
	[95] = 93,   [182] = 92,  [193] = 76,  [194] = 77,  [198] = 94,	 [207] = 93,  [212] = 92,
	[295] = 257, [296] = 258, [297] = 259, [298] = 260, [301] = 263, [302] = 264, [303] = 265,
	[304] = 266, [306] = 268, [342] = 304, [353] = 316, [437] = 437, [452] = 452,
};

/* NULL if there is no such call. */
static __always_inline const struct change_call *change_call_of(__u64 number, bool compat)
{
	if (number >= CHANGE_CALLS)
		return NULL;
	if (compat)
		number = change_calls_compat[MASKED(number, CHANGE_CALLS - 1)];
	return &change_calls[MASKED(number, CHANGE_CALLS - 1)];
}

/* The directory, or other file, of a descriptor; AT_FDCWD is the working directory. */
static __always_inline struct place place_of_descriptor(struct task_struct *task, int fd)
{
	struct place at = {};
	struct file *file;

	if (fd == AT_FDCWD)
		return working_directory_of(task);
	file = file_of_descriptor(task, fd);
	if (file)
		at = read_place(&file->f_path);
	return at;
}

/*
 * A path from the process's memory, with the path of the directory that it is relative to
 * before it. Neither "." and ".." nor symbolic links are resolved.
 */
static __always_inline void put_claimed_path(struct workspace *s, struct span *to, int at,
					     const void *path, __u32 flag)
{
	struct task_struct *task = current_task();
	char *bytes = s->path.bytes;
	bool truncated = false;
	__u32 start, size;
	long n;

	n = bpf_probe_read_user_str(&bytes[PATH_BYTES + 1], PATH_BYTES, path);
	if (n <= 0) {
		s->event.record.header.flags |= flag;
		return;
	}
	size = n - 1;
	bytes[PATH_BYTES] = '/';
	if (bytes[PATH_BYTES + 1] == '/') {
		start = PATH_BYTES + 1;
	} else {
		/* It ends where the slash is. */
		start = PATH_BYTES -
			path_of(s, place_of_descriptor(task, at), root_of(task), &truncated);
		if (!size) { /* AT_EMPTY_PATH: the descriptor's own */
			size = PATH_BYTES - start;
		} else {
			if (start == PATH_BYTES - 1) /* the root is a slash already */
				start = PATH_BYTES;
			size += PATH_BYTES + 1 - start;
		}
	}
	if (truncated || size > PATH_BYTES)
		s->event.record.header.flags |= flag;
	put_string(&s->event, to, &bytes[MASKED(start, 2 * PATH_BYTES - 1)], size);
}

#endif
#endif
