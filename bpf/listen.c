// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * network_listen: a socket of IPv4 or IPv6 has been bound to an address, is about to listen, or
 * has accepted a connection.
 *
 * Hooks, of which the loader takes the first that works:
 *  bind    cgroup post_bind4 and post_bind6 (4.17), of the cgroup that is watched or the root
 *  listen  lsm socket_listen (5.7), fexit security_socket_listen (5.5), tp_btf
 *          inet_sock_set_state (5.5)
 *  accept  lsm sock_graft (5.7), fexit security_sock_graft (5.5), tp_btf sys_exit (5.5, x86-64
 *          only: it looks the new descriptor up; does not see io_uring)
 * Least kernel: 5.10.
 */
#include "emit.h"
#include "socket.h"
#include "syscall.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* include/net/tcp_states.h and include/uapi/linux/stat.h */
#define TCP_LISTEN 10
#define S_IFMT	   0170000
#define S_IFSOCK   0140000

static __always_inline void judge_socket(struct sock *sk, __u32 operation)
{
	struct terms by;
	struct workspace *s;

	if (!sk || !is_ip(sk))
		return;
	s = begin_operation(&by, EVENT_NETWORK_LISTEN, operation);
	if (!s)
		return;
	read_source(&s->event.record, sk);
	if (operation == NETWORK_ACCEPT)
		read_peer(&s->event.record, sk);
	judge(s, &by);
}

/* It always lets the address be bound. */
static __always_inline int judge_bind(struct bpf_sock *ctx, bool v6)
{
	struct workspace *s;
	struct terms by;
	struct record *r;
	__u32 *address;

	if (is_self_test())
		return 1;
	s = begin_watched(&by, EVENT_NETWORK_LISTEN);
	if (!s)
		return 1;
	r = &s->event.record;
	r->operation = NETWORK_BIND;
	address = (__u32 *)r->source;
	if (v6) {
		r->source_family = 6;
		address[0] = ctx->src_ip6[0];
		address[1] = ctx->src_ip6[1];
		address[2] = ctx->src_ip6[2];
		address[3] = ctx->src_ip6[3];
	} else {
		r->source_family = 4;
		address[0] = ctx->src_ip4;
	}
	r->source_port = ctx->src_port;
	r->transport = ctx->protocol;
	judge(s, &by);
	return 1;
}

SEC("cgroup/post_bind4")
int on_bind4(struct bpf_sock *ctx)
{
	return judge_bind(ctx, false);
}

SEC("cgroup/post_bind6")
int on_bind6(struct bpf_sock *ctx)
{
	return judge_bind(ctx, true);
}

SEC("lsm/socket_listen")
int BPF_PROG(lsm_socket_listen, struct socket *sock, int backlog)
{
	judge_socket(BPF_CORE_READ(sock, sk), NETWORK_LISTEN);
	return 0;
}

SEC("fexit/security_socket_listen")
int BPF_PROG(fexit_socket_listen, struct socket *sock, int backlog, int ret)
{
	if (!ret)
		judge_socket(BPF_CORE_READ(sock, sk), NETWORK_LISTEN);
	return 0;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_set_state, struct sock *sk, int before, int now)
{
	/* A socket of MPTCP listens by way of one of TCP, which is seen too. */
	if (now == TCP_LISTEN && BPF_CORE_READ(sk, sk_protocol) != IPPROTO_MPTCP)
		judge_socket(sk, NETWORK_LISTEN);
	return 0;
}

/* A socket without a peer is grafted for other reasons than to be accepted. */
static __always_inline void judge_grafted(struct sock *sk)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_dport))
		judge_socket(sk, NETWORK_ACCEPT);
}

SEC("lsm/sock_graft")
int BPF_PROG(lsm_sock_graft, struct sock *sk, struct socket *parent)
{
	judge_grafted(sk);
	return 0;
}

SEC("fexit/security_sock_graft")
int BPF_PROG(fexit_sock_graft, struct sock *sk, struct socket *parent)
{
	judge_grafted(sk);
	return 0;
}

#ifdef __TARGET_ARCH_x86

enum {
	NR_ACCEPT = 43,
	NR_ACCEPT4 = 288,
	NR32_SOCKETCALL = 102,
	NR32_ACCEPT4 = 364,
	SOCKETCALL_ACCEPT = 5,
	SOCKETCALL_ACCEPT4 = 18,
};

static __always_inline bool is_accept(struct pt_regs *regs)
{
	switch (number_of(regs)) {
	case NR_ACCEPT:
	case NR_ACCEPT4:
		return !is_compat();
	case NR32_SOCKETCALL:
		return is_compat() &&
		       (regs->bx == SOCKETCALL_ACCEPT || regs->bx == SOCKETCALL_ACCEPT4);
	case NR32_ACCEPT4:
		return is_compat();
	}
	return false;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_accept_sys_exit, struct pt_regs *regs, long ret)
{
	struct file *file;
	struct socket *sock;

	if (ret < 0 || !is_accept(regs))
		return 0;
	file = file_of_descriptor(current_task(), ret);
	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	sock = BPF_CORE_READ(file, private_data);
	judge_socket(BPF_CORE_READ(sock, sk), NETWORK_ACCEPT);
	return 0;
}

#endif
