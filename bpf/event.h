/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What the kernel tells user space. These declarations are the only ones: Go
 * takes them from the BTF of the compiled objects. All integers are in the
 * host's byte order, all padding is explicit.
 */
#ifndef BITTERN_EVENT_H
#define BITTERN_EVENT_H

#include <linux/types.h>

/* The numbers of event.Class. */
enum event_class {
	EVENT_UNKNOWN,
	EVENT_PROCESS_EXEC,
	EVENT_PROCESS_EXIT,
	EVENT_FILE_OPEN,
	EVENT_NETWORK_CONNECT,
	EVENT_FILE_CHANGE,
	EVENT_NETWORK_LISTEN,
	EVENT_PRIVILEGE_CHANGE,
	EVENT_KERNEL_CHANGE,
	EVENT_CLASS_COUNT,
};

/*
 * One counter per CPU and class each; UNTRACKED is of class 0. Those that begin with LOST count
 * records that user space will never see. Other builds read them too: new ones are appended.
 */
enum counter {
	COUNTER_EVENTS,		 /* events judged */
	COUNTER_MATCHES,	 /* events with at least one surviving clause */
	COUNTER_SPILLS,		 /* matches with more survivors than a record names */
	COUNTER_UNKNOWN_PARENTS, /* events whose parent is not in the process table */
	COUNTER_UNTRACKED,	 /* processes the full process table could not take */
	COUNTER_LOST_RING_FULL,	 /* matches that found no room in the ring */
	COUNTER_LOST_BUSY,	 /* events that found all workspaces of their CPU taken */
	COUNTER_COUNT,
};

#define ARGS_BYTES 4096
#define PATH_BYTES 4096

/*
 * What is kept of a running image for the events of the process's children: its path
 * and the one it was invoked by, cut to these lengths, and as much of its arguments as
 * then fits.
 */
#define IMAGE_BYTES	    1024
#define IMAGE_PATH_BYTES    512
#define IMAGE_INVOKED_BYTES 256

/* Number of versions that one record can name; more are a spill. */
enum record_limit {
	RECORD_VERSIONS = 64,
};

enum record_flag {
	RECORD_SPILLED = 1 << 0, /* survivors left out: judge against every rule */
	RECORD_EXECUTABLE_TRUNCATED = 1 << 1,
	RECORD_ARGS_TRUNCATED = 1 << 2,
	RECORD_CWD_TRUNCATED = 1 << 3,
	RECORD_PARENT_EXECUTABLE_TRUNCATED = 1 << 4, /* or parent not known */
	RECORD_PARENT_ARGS_TRUNCATED = 1 << 5,	     /* or parent not known */
	RECORD_FILE_PATH_TRUNCATED = 1 << 6,
	RECORD_NEW_PATH_TRUNCATED = 1 << 7,
	/* How a file was opened. */
	RECORD_OPEN_READ = 1 << 8,
	RECORD_OPEN_WRITE = 1 << 9,
	RECORD_OPEN_CREATE = 1 << 10, /* O_CREAT was given */
	RECORD_OPEN_TRUNCATE = 1 << 11,
	/* What the process runs. */
	RECORD_SCRIPT = 1 << 12, /* invoked is a script, executable its interpreter */
	RECORD_EXECUTABLE_DELETED = 1 << 13,
	RECORD_EXECUTABLE_MEMFD = 1 << 14,
	/* Paths are what the process's memory said after the call. */
	RECORD_PATH_CLAIMED = 1 << 15,
	RECORD_MODE_KNOWN = 1 << 16,
};

/*
 * What was done, in classes that tell several operations apart. The numbers are the codes
 * of the operations' names in internal/event.
 */
enum file_operation {
	FILE_CREATE = 1,
	FILE_MKDIR,
	FILE_UNLINK,
	FILE_RMDIR,
	FILE_RENAME,
	FILE_LINK,
	FILE_SYMLINK,
	FILE_CHMOD,
	FILE_CHOWN,
	FILE_TRUNCATE,
};

enum network_operation {
	NETWORK_BIND = 1,
	NETWORK_LISTEN,
	NETWORK_ACCEPT,
};

enum privilege_operation {
	PRIVILEGE_SETUID = 1,
	PRIVILEGE_SETGID,
	PRIVILEGE_CAPSET,
	PRIVILEGE_PTRACE,
	PRIVILEGE_UNSHARE,
	PRIVILEGE_SETNS,
	PRIVILEGE_MOUNT,
};

enum kernel_operation {
	KERNEL_MODULE_FILE = 1,
	KERNEL_MODULE_LOAD,
	KERNEL_BPF_PROGRAM,
	KERNEL_KEXEC,
};

/* Bits of record.namespaces, in the order of their names in internal/event. */
enum namespace_kind {
	NAMESPACE_CGROUP,
	NAMESPACE_IPC,
	NAMESPACE_MNT,
	NAMESPACE_NET,
	NAMESPACE_PID,
	NAMESPACE_TIME,
	NAMESPACE_USER,
	NAMESPACE_UTS,
	NAMESPACE_KINDS,
};

/* An id that is not known, or did not change. */
#define NO_ID 0xffffffffU

/* A string in the data behind a record, not terminated. */
struct span {
	__u16 offset; /* from the start of the data */
	__u16 length;
};

struct record_header {
	__u16 class;
	__u16 versions; /* number of u64 version ids behind the data */
	__u32 flags;	/* enum record_flag */
	__u32 cpu;
	__u32 data;	/* bytes of data, a multiple of 8 */
	__u64 sequence; /* per CPU, from 1 */
	__u64 epoch;
	__u64 time; /* ns since boot, suspended time included */
};

/*
 * A record of any class: this struct, then header.data bytes that the spans point
 * into, then header.versions ids of rule versions whose clauses survived. What a class
 * does not have is 0.
 *
 * The next build may find records of this one in a ring, and the other way round. So fields are
 * only ever appended, 0 has to mean that nothing is known, and numbers of enums keep their meaning.
 * Where that can't be, RECORD_FORMAT has to change: those records are lost then, and counted.
 */
struct record {
	struct record_header header;
	/* The process that did it, as it was then. */
	__u64 start;	    /* ns since boot */
	__u64 parent_start; /* ns since boot, 0 if not known */
	__u64 cgroup;	    /* inode of the cgroup v2 directory */
	__u32 pid, parent_pid;
	__u32 uid, euid, gid, egid;
	__u32 args_count; /* process_exec only */
	__u8 operation;	  /* of the enum of the class */
	__u8 pad[3];
	struct span executable;
	struct span invoked;
	struct span args; /* NUL after each argument, the last one included */
	struct span cwd;
	struct span parent_executable;
	struct span parent_invoked;
	struct span parent_args;
	struct span cgroup_path; /* its last components */
	/* process_exit */
	__u32 exit_code; /* as wait(2) gives it */
	/* file_open, file_change; mount points; files of modules */
	struct span file_path;
	struct span new_path;
	struct span target_path;
	__u32 mode; /* permission bits, with RECORD_MODE_KNOWN */
	__u32 file_uid, file_gid;
	/* network_connect, network_listen */
	__u8 address[16]; /* of the peer, the first four of IPv4 */
	__u8 source[16];  /* this host's side */
	__u16 port, source_port;
	__u8 family;	/* 4 or 6; 0 if there is no peer */
	__u8 transport; /* IP protocol number: 6 is TCP, 17 is UDP */
	__u8 source_family;
	__u8 pad2;
	/* privilege_change */
	__u64 capabilities;
	__u32 namespaces; /* bits of enum namespace_kind */
	__u32 new_uid, new_euid, new_gid;
	__u32 target_pid;
	struct span target_executable;
	struct span mount_source;
	struct span mount_type;
	/* kernel_change */
	struct span kernel_name;
	__u32 kernel_type; /* code of a BPF program's type: its number + 1 */
	__u32 pad3;
};

/*
 * Room for the longest data: four strings of PATH_BYTES, the parent's, and up to
 * seven bytes of padding each. A power of two, so that a mask bounds offsets.
 */
#define DATA_BYTES 32768

#endif
