/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The process table: what the events of a child say about its parent. It is kept
 * by fork, exec and exit, and seeded once by a task iterator.
 *
 * An element never changes once other programs can find it: exec replaces it.
 * Elements are recycled under readers, so a reader copies, then looks up again:
 * the copy is whole if the same element is still the process's.
 */
#ifndef BITTERN_PROCESS_H
#define BITTERN_PROCESS_H

#include "kernel.h"
#include "event.h"
#include "path.h"
#include "match.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define PROCESS_DATA_BYTES (PROCESS_PATH_BYTES + PROCESS_INVOKED_BYTES + PROCESS_ARGS_BYTES)

struct process {
	__u64 start; /* ns since boot */
	__u64 image; /* ns since boot when the image was executed, 0 if seeded */
	__u16 flags; /* RECORD_EXECUTABLE_TRUNCATED, RECORD_ARGS_TRUNCATED */
	__u16 executable, invoked, args; /* lengths */
	/* executable, then invoked from PROCESS_PATH_BYTES on, then args */
	char data[PROCESS_DATA_BYTES];
};

#define PROCESS_INVOKED_AT PROCESS_PATH_BYTES
#define PROCESS_ARGS_AT	   (PROCESS_PATH_BYTES + PROCESS_INVOKED_BYTES)

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 32768); /* set by the loader */
	__type(key, __u32);
	__type(value, struct process);
} processes SEC(".maps");

/* Copies the entry of tgid, if it is of the process that started then. */
static __always_inline bool read_process(__u32 tgid, __u64 start, struct process *copy)
{
	for (int attempt = 0; attempt < 3; attempt++) {
		struct process *p = bpf_map_lookup_elem(&processes, &tgid);

		if (!p)
			return false;
		if (bpf_probe_read_kernel(copy, sizeof(*copy), p))
			return false;
		/* The key is looked up anew: a recycled element is another pointer. */
		if (bpf_map_lookup_elem(&processes, &tgid) == p && copy->start == start)
			return true;
	}
	return false;
}

static __always_inline void write_process(__u32 tgid, struct process *p, __u64 flags)
{
	long err = bpf_map_update_elem(&processes, &tgid, p, flags);

	if (err && err != -17 /* EEXIST: there already, and newer */)
		count(COUNTER_UNTRACKED);
}

#endif
