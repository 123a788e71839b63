/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Paths from kernel objects. bpf_d_path is not allowed in tracepoint programs, so
 * these walk the dentries upwards, across mounts, to the root of the process: the
 * result is the path as the process sees it.
 *
 * The walk takes no locks. The sequence counter of each dentry tells if it was renamed
 * meanwhile, so each name is one that it had; when a directory above is moved at the same
 * moment, the names can be of before and after.
 */
#ifndef BITTERN_PATH_H
#define BITTERN_PATH_H

#include "kernel.h"
#include "workspace.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define PATH_STEPS    256 /* names and mounts crossed; deeper is truncated */
#define STEPS_AT_ONCE 16

/* A struct path, copied out of the kernel. */
struct place {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

static __always_inline struct place read_place(const struct path *p)
{
	struct place copy = {};

	if (bpf_core_field_offset(struct path, mnt) == 0 &&
	    bpf_core_field_offset(struct path, dentry) == sizeof(void *)) {
		bpf_probe_read_kernel(&copy, sizeof(copy), p);
		return copy;
	}
	copy.mnt = BPF_CORE_READ(p, mnt);
	copy.dentry = BPF_CORE_READ(p, dentry);
	return copy;
}

static __always_inline void enter_mount(struct path_walk *w, struct mount *mount)
{
	struct vfsmount *mnt = (void *)mount + bpf_core_field_offset(struct mount, mnt);

	w->mount = mount;
	w->mnt = mnt;
	w->mount_root = BPF_CORE_READ(mnt, mnt_root);
}

static __always_inline bool prepend(struct path_scratch *s, const unsigned char *name, __u32 length)
{
	__u32 start = s->walk.start;

	if (length > NAME_BYTES || length + 1 > start)
		return false;
	start = MASKED(start - length, 2 * PATH_BYTES - 1);
	if (bpf_probe_read_kernel(&s->bytes[start], MASKED(length, NAME_BYTES), name))
		return false;
	start = MASKED(start - 1, 2 * PATH_BYTES - 1);
	s->bytes[start] = '/';
	s->walk.start = start;
	return true;
}

/* The beginning of a dentry, as it mostly lies there. */
struct dentry_names {
	__u32 flags, sequence;
	void *hash[2];
	struct dentry *parent;
	__u32 name_hash, length;
	const unsigned char *name;
};

#define AT(field) bpf_core_field_offset(struct dentry, field)

static __always_inline void read_names(struct dentry_names *d, struct dentry *dentry)
{
	if (AT(d_seq) == AT(d_flags) + 4 && AT(d_parent) == AT(d_flags) + 24 &&
	    AT(d_name) == AT(d_flags) + 32) {
		bpf_probe_read_kernel(d, sizeof(*d), (void *)dentry + AT(d_flags));
		return;
	}
	d->sequence = BPF_CORE_READ(dentry, d_seq.seqcount.sequence);
	d->parent = BPF_CORE_READ(dentry, d_parent);
	d->length = BPF_CORE_READ(dentry, d_name.len);
	d->name = BPF_CORE_READ(dentry, d_name.name);
}

/* One step upwards; not 0 once there is no next. */
__noinline int path_step(__u32 workspace)
{
	struct workspace *ws = workspace_of(workspace);
	struct dentry_names d = {};
	struct path_walk *w;
	struct dentry *dentry;
	struct mount *mount;
	__u32 start;

	if (!ws)
		return 1;
	w = &ws->path.walk;
	dentry = w->dentry;
	mount = w->mount;
	if (dentry == w->root_dentry && w->mnt == w->root_mount) {
		w->done = 1;
		return 1;
	}
	if (dentry == w->mount_root) {
		struct mount *above = BPF_CORE_READ(mount, mnt_parent);

		if (above == mount) { /* outside the process's root */
			w->done = 1;
			return 1;
		}
		w->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		enter_mount(w, above);
		return 0;
	}
	read_names(&d, dentry);
	start = w->start;
	if (!prepend(&ws->path, d.name, d.length))
		return 1;
	/* It was renamed meanwhile: neither of its names, perhaps, so once more. */
	if (d.sequence & 1 || BPF_CORE_READ(dentry, d_seq.seqcount.sequence) != d.sequence) {
		w->start = start;
		return 0;
	}
	if (dentry == d.parent) { /* an object without a place, such as a memfd */
		w->done = 1;
		return 1;
	}
	w->dentry = d.parent;
	return 0;
}

/* Some steps; not 0 once there is no next. */
__noinline int path_steps(__u32 workspace)
{
	for (__u32 i = 0; i < STEPS_AT_ONCE; i++) {
		if (path_step(workspace))
			return 1;
	}
	return 0;
}

__noinline int walk_path(__u32 workspace)
{
	for (__u32 i = 0; i < PATH_STEPS / STEPS_AT_ONCE; i++) {
		if (path_steps(workspace))
			break;
	}
	return 0;
}

/*
 * Puts the path of what at points to at the end of path.bytes[0..PATH_BYTES).
 * Returns its length; *truncated is set if it is not whole, and then what is there
 * are its last components.
 */
static __always_inline __u32 path_of(struct workspace *s, struct place at, struct place root,
				     bool *truncated)
{
	struct path_walk *w = &s->path.walk;

	*truncated = true;
	if (!at.dentry || !at.mnt)
		return 0;
	w->dentry = at.dentry;
	w->root_dentry = root.dentry;
	w->root_mount = root.mnt;
	w->start = PATH_BYTES;
	w->done = 0;
	enter_mount(w, (void *)at.mnt - bpf_core_field_offset(struct mount, mnt));
	walk_path(s->id);
	*truncated = !w->done;
	if (w->start == PATH_BYTES && w->done) { /* the root itself */
		s->path.bytes[PATH_BYTES - 1] = '/';
		return 1;
	}
	return PATH_BYTES - w->start;
}

static __always_inline const char *path_start(struct workspace *s, __u32 length)
{
	return &s->path.bytes[MASKED(PATH_BYTES - length, 2 * PATH_BYTES - 1)];
}

#endif
