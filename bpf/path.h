/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Paths from kernel objects. bpf_d_path is not allowed in tracepoint programs, so
 * these walk the dentries upwards, across mounts, to the root of the process: the
 * result is the path as the process sees it.
 *
 * The walk reads without locks, as d_path does under its sequence counters. A
 * rename at the same moment can mix two names, as it can for any observer.
 */
#ifndef BITTERN_PATH_H
#define BITTERN_PATH_H

#include "kernel.h"
#include "event.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define NAME_BYTES 255
#define PATH_STEPS 256 /* names and mounts crossed; deeper is truncated */

/* A struct path, copied out of the kernel. */
struct place {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

static __always_inline struct place place_of(const struct path *p)
{
	struct place copy = {
		.mnt = p->mnt,
		.dentry = p->dentry,
	};

	return copy;
}

struct path_walk {
	struct dentry *dentry, *root_dentry;
	struct mount *mount;
	struct vfsmount *mnt, *root_mount;
	struct dentry *mount_root; /* of mnt */
	__u32 start;		   /* the path is bytes[start] to bytes[PATH_BYTES - 1] */
	bool done;
};

struct path_scratch {
	/* The path grows downwards from PATH_BYTES; the rest is room to overrun. */
	char bytes[2 * PATH_BYTES + NAME_BYTES + 1];
	struct path_walk walk; /* not on the stack, which is short of room */
};

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
	start = (start - length) & (2 * PATH_BYTES - 1);
	if (bpf_probe_read_kernel(&s->bytes[start], length & NAME_BYTES, name))
		return false;
	start = (start - 1) & (2 * PATH_BYTES - 1);
	s->bytes[start] = '/';
	s->walk.start = start;
	return true;
}

/* What a step needs of a dentry, as it lies there: d_name follows d_parent. */
struct dentry_names {
	struct dentry *parent;
	__u32 hash, length;
	const unsigned char *name;
};

static __always_inline void read_names(struct dentry_names *d, struct dentry *dentry)
{
	if (bpf_core_field_offset(struct dentry, d_name) ==
	    bpf_core_field_offset(struct dentry, d_parent) + sizeof(void *)) {
		bpf_probe_read_kernel(d, sizeof(*d),
				      (void *)dentry +
					      bpf_core_field_offset(struct dentry, d_parent));
		return;
	}
	d->parent = BPF_CORE_READ(dentry, d_parent);
	d->length = BPF_CORE_READ(dentry, d_name.len);
	d->name = BPF_CORE_READ(dentry, d_name.name);
}

static long path_step(__u32 i, void *ctx)
{
	struct path_scratch *s = *(struct path_scratch **)ctx;
	struct path_walk *w = &s->walk;
	struct dentry *dentry = w->dentry;
	struct mount *mount = w->mount;
	struct dentry_names d = {};

	if (dentry == w->root_dentry && w->mnt == w->root_mount) {
		w->done = true;
		return 1;
	}
	if (dentry == w->mount_root) {
		struct mount *above = BPF_CORE_READ(mount, mnt_parent);

		if (above == mount) { /* outside the process's root */
			w->done = true;
			return 1;
		}
		w->dentry = BPF_CORE_READ(mount, mnt_mountpoint);
		enter_mount(w, above);
		return 0;
	}
	read_names(&d, dentry);
	if (!prepend(s, d.name, d.length))
		return 1;
	if (dentry == d.parent) { /* an object without a place, such as a memfd */
		w->done = true;
		return 1;
	}
	w->dentry = d.parent;
	return 0;
}

/*
 * Puts the path of what at points to at the end of s->bytes[0..PATH_BYTES).
 * Returns its length; *truncated is set if it is not whole, and then what is there
 * are its last components.
 */
static __always_inline __u32 path_of(struct path_scratch *s, struct place at, struct place root,
				     bool *truncated)
{
	struct path_walk *w = &s->walk;

	*truncated = true;
	if (!at.dentry || !at.mnt)
		return 0;
	*w = (struct path_walk){
		.dentry = at.dentry,
		.root_dentry = root.dentry,
		.root_mount = root.mnt,
		.start = PATH_BYTES,
	};
	enter_mount(w, (void *)at.mnt - bpf_core_field_offset(struct mount, mnt));
	bpf_loop(PATH_STEPS, path_step, &s, 0);
	*truncated = !w->done;
	if (w->start == PATH_BYTES && w->done) { /* the root itself */
		s->bytes[PATH_BYTES - 1] = '/';
		return 1;
	}
	return PATH_BYTES - w->start;
}

static __always_inline const char *path_start(struct path_scratch *s, __u32 length)
{
	return &s->bytes[(PATH_BYTES - length) & (2 * PATH_BYTES - 1)];
}

#endif
