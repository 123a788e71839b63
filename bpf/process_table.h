/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The process table: what the events of a process say about what it runs, and those of
 * its children about their parent. It is kept by fork, exec and exit, and seeded once by
 * a task iterator.
 *
 * A process refers to the image that it runs. fork makes the child refer to the same
 * image, so it copies little; the last process to leave an image deletes it.
 */
#ifndef BITTERN_PROCESS_TABLE_H
#define BITTERN_PROCESS_TABLE_H

#include "event.h"
#include "kernel.h"
#include <bpf/bpf_helpers.h>

struct image_key {
	__u64 time; /* ns since boot when it was executed; when its process started, if seeded */
	__u32 tgid; /* of the process that executed it */
	__u32 pad;
};

struct process {
	__u64 start; /* ns since boot */
	struct image_key image;
};

/* Flags of a record that are kept of an image. */
#define IMAGE_FLAGS                                                            \
	(RECORD_EXECUTABLE_TRUNCATED | RECORD_ARGS_TRUNCATED | RECORD_SCRIPT | \
	 RECORD_EXECUTABLE_DELETED | RECORD_EXECUTABLE_MEMFD)

struct image {
	__u32 references;
	__u32 flags;			 /* of IMAGE_FLAGS */
	__u16 executable, invoked, args; /* lengths, in this order in data; invoked may be 0 */
	__u16 pad;
	char data[IMAGE_BYTES];
};

/* Where in a record the strings of a process are. */
struct process_spans {
	struct span executable, invoked, args;
	__u32 flags; /* of the image */
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

#endif
