/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Keeping the process table, and reading it.
 *
 * But for its count of references, an image never changes once it can be found, and
 * its key never comes back. Elements are recycled under readers, so a reader copies
 * and then looks the key up again: if it still leads to the same element, the copy is
 * whole.
 */
#ifndef BITTERN_PROCESS_H
#define BITTERN_PROCESS_H

#include "record.h"
#include <bpf/bpf_helpers.h>

#define EEXIST 17

static __always_inline void leave_image(struct image_key *key)
{
	struct image *i = bpf_map_lookup_elem(&images, key);

	/* Where ADD does not fetch, two may see 0: the key never comes back, so both may delete it.
	 */
	if (i && ADD(&i->references, -1) == 0)
		bpf_map_delete_elem(&images, key);
}

/* Copies a string of the event to data[at]; returns its length there. */
static __always_inline __u16 keep_string(struct image_draft *d, __u32 at, struct event *e,
					 struct span span, __u32 room, bool *cut)
{
	__u32 length = span.length;

	if (length > room) {
		length = room;
		*cut = true;
	}
	length = AT_MOST(length, IMAGE_BYTES); /* for the verifier */
	bpf_probe_read_kernel(&d->image.data[MASKED(at, IMAGE_BYTES - 1)], length,
			      &e->data[MASKED(span.offset, DATA_BYTES - 1)]);
	return length;
}

/*
 * Makes the event's process refer to the event's image. With BPF_NOEXIST an entry that
 * is there already, and so is newer, stays.
 */
static __always_inline void enter_image(struct image_draft *d, struct event *e, __u64 time,
					__u64 flags)
{
	struct record *r = &e->record;
	struct process entry = {
		.start = r->start,
		.image = { .time = time, .tgid = r->pid },
	};
	struct process *old = bpf_map_lookup_elem(&processes, &r->pid);
	struct image_key left = {};
	struct image *i = &d->image;
	bool cut = false;
	__u32 at;

	if (old)
		left = old->image;
	i->references = 1;
	i->flags = r->header.flags & IMAGE_FLAGS;
	i->executable = keep_string(d, 0, e, r->executable, IMAGE_PATH_BYTES, &cut);
	at = i->executable;
	i->invoked = 0;
	if (!same_span(r->invoked, r->executable))
		i->invoked = keep_string(d, at, e, r->invoked, IMAGE_INVOKED_BYTES, &cut);
	at += i->invoked;
	if (cut)
		i->flags |= RECORD_EXECUTABLE_TRUNCATED;
	cut = false;
	i->args = keep_string(d, at, e, r->args, IMAGE_BYTES - at, &cut);
	if (cut)
		i->flags |= RECORD_ARGS_TRUNCATED;

	if (bpf_map_update_elem(&images, &entry.image, i, BPF_NOEXIST)) {
		/* Without an image of its own it must not keep its parent's. */
		bpf_map_delete_elem(&processes, &r->pid);
		count(EVENT_UNKNOWN, COUNTER_UNTRACKED);
	} else if (old && flags == BPF_ANY) {
		/* In place: a key read half-way leads to no image, and is read again. */
		old->image = entry.image;
	} else {
		long err = bpf_map_update_elem(&processes, &r->pid, &entry, flags);

		if (err)
			bpf_map_delete_elem(&images, &entry.image);
		if (err == -EEXIST)
			return;
		if (err)
			count(EVENT_UNKNOWN, COUNTER_UNTRACKED);
	}
	if (old)
		leave_image(&left);
}

static __always_inline void forget_process(__u32 tgid)
{
	struct process *p = bpf_map_lookup_elem(&processes, &tgid);
	struct image_key left;

	if (!p)
		return;
	left = p->image;
	/* Who deletes the entry leaves the image; nobody does so twice. */
	if (!bpf_map_delete_elem(&processes, &tgid))
		leave_image(&left);
}

/*
 * Puts into the event what is known of the process that started then, and its spans into
 * the workspace. Nothing is put, and 0 returned, if it is not in the table. A global function,
 * see workspace.h.
 */
__noinline int find_image(__u32 workspace, __u32 tgid, __u64 start)
{
	struct workspace *w = workspace_of(workspace);
	struct process_spans *to;
	struct event *e;
	__u32 begin;

	if (!w)
		return 0;
	e = &w->event;
	to = &w->process;
	begin = e->record.header.data;
	for (int attempt = 0; attempt < 2; attempt++) {
		struct process *p = bpf_map_lookup_elem(&processes, &tgid);
		struct image_key key;
		struct image *i;
		__u32 at;

		if (!p || p->start != start)
			return 0;
		key = p->image;
		i = bpf_map_lookup_elem(&images, &key);
		if (!i)
			continue; /* it has just executed another */
		to->flags = i->flags;
		put_string(e, &to->executable, i->data, i->executable);
		at = i->executable;
		to->invoked = to->executable;
		if (i->invoked)
			put_string(e, &to->invoked, i->data + MASKED(at, IMAGE_BYTES - 1),
				   i->invoked);
		at += i->invoked;
		put_string(e, &to->args, i->data + MASKED(at, IMAGE_BYTES - 1), i->args);
		if (bpf_map_lookup_elem(&images, &key) == i)
			return 1;
		e->record.header.data = begin;
	}
	return 0;
}

#endif
