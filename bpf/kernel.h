/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The few kernel types that the programs read, and only the fields they read.
 * preserve_access_index lets the loader relocate each access against the BTF of
 * the running kernel (CO-RE), so the order and size here mean nothing.
 */
#ifndef BITTERN_KERNEL_H
#define BITTERN_KERNEL_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/in6.h>
#include <stdbool.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct qstr {
	union {
		struct {
			__u32 hash;
			__u32 len;
		};
		__u64 hash_len;
	};
	const unsigned char *name;
};

struct inode {
	unsigned short i_mode;
	void *i_private;
};

struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};

typedef struct {
	unsigned int sequence;
} seqcount_t;

typedef struct {
	seqcount_t seqcount;
} seqcount_spinlock_t;

struct dentry {
	unsigned int d_flags;
	seqcount_spinlock_t d_seq;
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	struct path f_path;
	struct inode *f_inode;
	unsigned int f_flags;
	unsigned int f_mode;
	void *private_data;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct thread_info {
	__u32 status; /* x86 */
};

#ifdef __TARGET_ARCH_x86
struct pt_regs {
	unsigned long bx, bp, cx, dx, si, di, r8, r10, orig_ax;
};
#endif

struct fs_struct {
	struct path root, pwd;
};

struct proc_ns_operations {
	int type;
};

struct ns_common {
	const struct proc_ns_operations *ops;
};

struct ns_common___618 { /* from 6.18 on */
	__u32 ns_type;
};

struct mm_struct {
	unsigned long arg_start, arg_end;
	struct file *exe_file;
};

typedef struct {
	__u32 val;
} kuid_t;

typedef struct {
	__u32 val;
} kgid_t;

typedef struct {
	__u64 val; /* two words of 32 bits before 6.3, low one first */
} kernel_cap_t;

struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t euid;
	kgid_t egid;
	kernel_cap_t cap_effective;
};

struct kernfs_node {
	struct kernfs_node *parent;
	const char *name;
};

struct kernfs_node___615 { /* from 6.15 on */
	struct kernfs_node *__parent;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live;
	unsigned int flags;
	int group_exit_code;
};

struct task_struct {
	struct thread_info thread_info;
	int pid, tgid;
	unsigned int flags;
	int exit_code;
	__u64 start_boottime; /* called real_start_time before 5.5 */
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
	const struct cred *cred;
	struct css_set *cgroups;
	struct signal_struct *signal;
};

struct linux_binprm {
	int argc;
	const char *filename; /* what execve was given */
	const char *interp;   /* what is executed: filename, or its interpreter */
};

struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport; /* network byte order */
	__u16 skc_num;	 /* host byte order */
	unsigned short skc_family;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
};

struct socket {
	struct sock *sk;
};

struct sockaddr;

struct msghdr {
	void *msg_name;
	int msg_namelen;
};

struct module {
	char name[56];
};

struct bpf_prog_aux {
	char name[16];
};

struct bpf_prog {
	enum bpf_prog_type type;
	struct bpf_prog_aux *aux;
};

/* include/linux/kernel_read_file.h; only the names count. */
enum kernel_read_file_id {
	READING_MODULE = 2,
	READING_KEXEC_IMAGE = 3,
};

enum kernel_read_file_id___614 {
	READING_MODULE_COMPRESSED = 3,
};

enum kernel_load_data_id {
	LOADING_KEXEC_IMAGE = 3,
};

/* include/linux/sched/signal.h */
#define SIGNAL_GROUP_EXIT 0x00000004

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

#endif
