// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * file_change: a name or an attribute of a file is about to be changed. That the kernel
 * permits it is what is seen; a change may still fail after that, for want of space for example.
 *
 * Hooks, of which the loader takes the first that works: lsm path_* and file_truncate
 * (5.7, with bpf among the active LSMs), fexit of their security_* functions (5.5), tp_btf
 * sys_exit (5.5, x86-64 only, see change_calls.h: what has succeeded; paths are claimed
 * unless the call is about a descriptor; does not see io_uring).
 * chown needs 6.1: before, hooks have no arguments that are structs.
 * Least kernel: 5.10.
 */
#include "change_calls.h"
#include "emit.h"
#include "security.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline void put_path(struct workspace *s, struct span *to, struct place at,
				     __u32 flag)
{
	bool truncated;
	__u32 n = path_of(s, at, root_of(current_task()), &truncated);

	put_string(&s->event, to, path_start(s, n), n);
	if (truncated)
		s->event.record.header.flags |= flag;
}

/* A name in a directory. */
static __always_inline struct place entry_of(const struct path *dir, struct dentry *dentry)
{
	struct place at = { .mnt = BPF_CORE_READ(dir, mnt), .dentry = dentry };

	return at;
}

static __always_inline void set_mode(struct workspace *s, __u32 mode)
{
	s->event.record.mode = mode & 07777;
	s->event.record.header.flags |= RECORD_MODE_KNOWN;
}

/* All changes that concern one path. mode is one of MODE_NONE and permission bits. */
#define MODE_NONE 0xffffffffU

static __always_inline void judge_change(__u32 operation, struct place at, __u32 mode)
{
	struct terms by;
	struct workspace *s = begin_operation(&by, EVENT_FILE_CHANGE, operation);

	if (!s)
		return;
	put_path(s, &s->event.record.file_path, at, RECORD_FILE_PATH_TRUNCATED);
	if (mode != MODE_NONE)
		set_mode(s, mode);
	judge(s, &by);
}

static __always_inline void judge_owner(struct place at, __u32 uid, __u32 gid)
{
	struct terms by;
	struct workspace *s = begin_operation(&by, EVENT_FILE_CHANGE, FILE_CHOWN);

	if (!s)
		return;
	put_path(s, &s->event.record.file_path, at, RECORD_FILE_PATH_TRUNCATED);
	s->event.record.file_uid = uid;
	s->event.record.file_gid = gid;
	judge(s, &by);
}

/* Changes that concern two. */
static __always_inline void judge_move(__u32 operation, struct place from, struct place to)
{
	struct terms by;
	struct workspace *s = begin_operation(&by, EVENT_FILE_CHANGE, operation);

	if (!s)
		return;
	put_path(s, &s->event.record.file_path, from, RECORD_FILE_PATH_TRUNCATED);
	put_path(s, &s->event.record.new_path, to, RECORD_NEW_PATH_TRUNCATED);
	judge(s, &by);
}

static __always_inline void judge_symlink(struct place at, const char *target)
{
	struct terms by;
	struct workspace *s = begin_operation(&by, EVENT_FILE_CHANGE, FILE_SYMLINK);
	long n;

	if (!s)
		return;
	put_path(s, &s->event.record.file_path, at, RECORD_FILE_PATH_TRUNCATED);
	n = bpf_probe_read_kernel_str(s->path.bytes, PATH_BYTES, target);
	put_string(&s->event, &s->event.record.target_path, s->path.bytes, n > 0 ? n - 1 : 0);
	judge(s, &by);
}

ON_SECURITY(path_mknod,
	    PARAMETERS(const struct path *dir, struct dentry *dentry, unsigned short mode,
		       unsigned int dev),
	    judge_change(FILE_CREATE, entry_of(dir, dentry), mode))
ON_SECURITY(path_mkdir,
	    PARAMETERS(const struct path *dir, struct dentry *dentry, unsigned short mode),
	    judge_change(FILE_MKDIR, entry_of(dir, dentry), mode))
ON_SECURITY(path_unlink, PARAMETERS(const struct path *dir, struct dentry *dentry),
	    judge_change(FILE_UNLINK, entry_of(dir, dentry), MODE_NONE))
ON_SECURITY(path_rmdir, PARAMETERS(const struct path *dir, struct dentry *dentry),
	    judge_change(FILE_RMDIR, entry_of(dir, dentry), MODE_NONE))
ON_SECURITY(path_symlink,
	    PARAMETERS(const struct path *dir, struct dentry *dentry, const char *target),
	    judge_symlink(entry_of(dir, dentry), target))
ON_SECURITY(path_link,
	    PARAMETERS(struct dentry *old, const struct path *dir, struct dentry *dentry),
	    judge_move(FILE_LINK, entry_of(dir, old), entry_of(dir, dentry)))
ON_SECURITY(path_chmod, PARAMETERS(const struct path *path, unsigned short mode),
	    judge_change(FILE_CHMOD, read_place(path), mode))
ON_SECURITY(path_truncate, PARAMETERS(const struct path *path),
	    judge_change(FILE_TRUNCATE, read_place(path), MODE_NONE))
/* From 6.2 on; before, path_truncate is asked about open files as well. */
ON_SECURITY(file_truncate, PARAMETERS(struct file *file),
	    judge_change(FILE_TRUNCATE, read_place(&file->f_path), MODE_NONE))
/* Ids are structs that hold one number. */
ON_SECURITY(path_chown, PARAMETERS(const struct path *path, __u64 uid, __u64 gid),
	    judge_owner(read_place(path), uid, gid))

/* The module's hook got a parameter more in 5.19, which is not used. */
SEC("lsm/path_rename")
int BPF_PROG(lsm_path_rename, const struct path *dir, struct dentry *dentry,
	     const struct path *new_dir, struct dentry *new_dentry)
{
	judge_move(FILE_RENAME, entry_of(dir, dentry), entry_of(new_dir, new_dentry));
	return 0;
}

SEC("fexit/security_path_rename")
int BPF_PROG(fexit_path_rename, const struct path *dir, struct dentry *dentry,
	     const struct path *new_dir, struct dentry *new_dentry, unsigned int flags, int ret)
{
	if (!ret)
		judge_move(FILE_RENAME, entry_of(dir, dentry), entry_of(new_dir, new_dentry));
	return 0;
}

#ifdef __TARGET_ARCH_x86

/* A change by the descriptor of a file: what it is about is certain. */
static __always_inline void judge_descriptor(struct file *file, __u32 operation, __u32 mode,
					     __u32 uid, __u32 gid)
{
	if (operation == FILE_CHOWN)
		judge_owner(read_place(&file->f_path), uid, gid);
	else
		judge_change(operation, read_place(&file->f_path), mode);
}

/* A file was opened: it may have been created, or emptied. */
static __always_inline void judge_opened(struct file *file, __u32 flags)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);

	if (BPF_CORE_READ(file, f_mode) & FMODE_CREATED)
		judge_change(FILE_CREATE, read_place(&file->f_path), BPF_CORE_READ(inode, i_mode));
	else if (flags & O_TRUNC && !(flags & O_PATH))
		judge_change(FILE_TRUNCATE, read_place(&file->f_path), MODE_NONE);
}

/* A change by path, see put_claimed_path. */
static __always_inline void judge_claimed(struct pt_regs *regs, const struct change_call *call,
					  __u32 operation, bool compat)
{
	struct terms by;
	struct workspace *s = begin_operation(&by, EVENT_FILE_CHANGE, operation);
	struct record *r;
	long n;

	if (!s)
		return;
	r = &s->event.record;
	r->header.flags |= RECORD_PATH_CLAIMED;
	if (operation == FILE_SYMLINK) {
		n = bpf_probe_read_user_str(s->path.bytes, PATH_BYTES,
					    (void *)argument(regs, 1, compat));
		put_string(&s->event, &r->target_path, s->path.bytes, n > 0 ? n - 1 : 0);
	}
	put_claimed_path(s, &r->file_path, call->at ? argument(regs, call->at, compat) : AT_FDCWD,
			 (void *)argument(regs, call->path, compat), RECORD_FILE_PATH_TRUNCATED);
	if (call->new_path)
		put_claimed_path(s, &r->new_path,
				 call->new_at ? argument(regs, call->new_at, compat) : AT_FDCWD,
				 (void *)argument(regs, call->new_path, compat),
				 RECORD_NEW_PATH_TRUNCATED);
	if (call->mode)
		set_mode(s, argument(regs, call->mode, compat));
	if (call->owner) {
		r->file_uid = argument(regs, call->owner, compat);
		r->file_gid = argument(regs, call->owner + 1, compat);
	}
	judge(s, &by);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_change_sys_exit, struct pt_regs *regs, long ret)
{
	const struct change_call *call;
	struct file *file;
	__u32 operation, flags;
	bool compat;

	if (ret < 0)
		return 0;
	compat = is_compat();
	call = change_call_of(number_of(regs), compat);
	if (!call || !call->operation)
		return 0;
	if (call->how == BY_RESULT) {
		file = file_of_descriptor(current_task(), ret);
		if (file && open_flags(regs, &flags))
			judge_opened(file, flags);
		return 0;
	}
	operation = call->operation;
	if (call->how == BY_DESCRIPTOR) {
		file = file_of_descriptor(current_task(), argument(regs, 1, compat));
		if (file)
			judge_descriptor(file, operation,
					 call->mode ? argument(regs, 2, compat) : MODE_NONE,
					 argument(regs, 2, compat), argument(regs, 3, compat));
		return 0;
	}
	if (operation == FILE_UNLINK && call->at && argument(regs, 3, compat) & AT_REMOVEDIR)
		operation = FILE_RMDIR;
	judge_claimed(regs, call, operation, compat);
	return 0;
}

#endif
