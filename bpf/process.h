/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The process table: what the events of a child say about its parent. It is kept by
 * fork, exec and exit, and seeded once by a task iterator.
 *
 * A process refers to the image that it runs. fork makes the child refer to the same
 * image, so it copies little; the last process to leave an image deletes it.
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

struct image_key {
	__u64 time; /* ns since boot when it was executed; when its process started, if seeded */
	__u32 tgid; /* of the process that executed it */
	__u32 pad;
};

struct process {
	__u64 start; /* ns since boot */
	struct image_key image;
};

struct image {
	__u32 references;
	__u16 flags;			 /* RECORD_EXECUTABLE_TRUNCATED, RECORD_ARGS_TRUNCATED */
	__u16 executable, invoked, args; /* lengths, in this order in data; invoked may be 0 */
	__u32 pad;
	char data[IMAGE_BYTES];
};

/* An image while it is put together: the verifier does not see that it fits. */
struct image_draft {
	struct image image;
	char overrun[IMAGE_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768); /* set by the loader */
	__type(key, __u32);	    /* tgid */
	__type(value, struct process);
} processes SEC(".maps");

/*
 * Preallocated: elements of this size come and go with each short-lived process, and
 * the kernel's allocator for BPF keeps few of them at hand.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192); /* set by the loader */
	__type(key, struct image_key);
	__type(value, struct image);
} images SEC(".maps");

static __always_inline void leave_image(struct image_key *key)
{
	struct image *i = bpf_map_lookup_elem(&images, key);

	if (i && __sync_fetch_and_sub(&i->references, 1) == 1)
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
	if (length > IMAGE_BYTES) /* never; for the verifier */
		length = IMAGE_BYTES;
	bpf_probe_read_kernel(&d->image.data[at & (IMAGE_BYTES - 1)], length,
			      &e->data[span.offset & (DATA_BYTES - 1)]);
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
	bool cut = r->header.flags & RECORD_EXECUTABLE_TRUNCATED;
	__u32 at;

	if (old)
		left = old->image;
	i->references = 1;
	i->flags = 0;
	i->executable = keep_string(d, 0, e, r->executable, IMAGE_PATH_BYTES, &cut);
	at = i->executable;
	i->invoked = 0;
	if (!same_span(r->invoked, r->executable))
		i->invoked = keep_string(d, at, e, r->invoked, IMAGE_INVOKED_BYTES, &cut);
	at += i->invoked;
	if (cut)
		i->flags |= RECORD_EXECUTABLE_TRUNCATED;
	cut = r->header.flags & RECORD_ARGS_TRUNCATED;
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

/* Where in a record the strings of a process go. */
struct process_spans {
	struct span executable, invoked, args;
	__u16 flags; /* of the image */
};

/*
 * Puts into the event what is known of the process that started then. Nothing is put,
 * and false returned, if it is not in the table.
 */
static __always_inline bool put_image(struct event *e, __u32 tgid, __u64 start,
				      struct process_spans *to)
{
	__u16 begin = e->record.header.data;

	for (int attempt = 0; attempt < 2; attempt++) {
		struct process *p = bpf_map_lookup_elem(&processes, &tgid);
		struct image_key key;
		struct image *i;
		__u32 at;

		if (!p || p->start != start)
			return false;
		key = p->image;
		i = bpf_map_lookup_elem(&images, &key);
		if (!i)
			continue; /* it has just executed another */
		to->flags = i->flags;
		put_string(e, &to->executable, i->data, i->executable);
		at = i->executable;
		to->invoked = to->executable;
		if (i->invoked)
			put_string(e, &to->invoked, i->data + (at & (IMAGE_BYTES - 1)), i->invoked);
		at += i->invoked;
		put_string(e, &to->args, i->data + (at & (IMAGE_BYTES - 1)), i->args);
		if (bpf_map_lookup_elem(&images, &key) == i)
			return true;
		e->record.header.data = begin;
	}
	return false;
}

#endif
