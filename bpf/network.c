// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * network_connect: a socket of IPv4 or IPv6 is about to be connected, or a datagram sent by
 * one that is not. The address is the kernel's copy.
 *
 * Hooks, of which the loader takes the first that works: cgroup connect4 and connect6
 * (4.17), sendmsg4 and sendmsg6 (4.18), of the cgroup that is watched or the root; lsm
 * socket_connect and socket_sendmsg (5.7); fexit of their security_* functions (5.5).
 * Least kernel: 5.10.
 */
#include "emit.h"
#include "socket.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* One function serves both families; it always lets the connection be made. */
static __always_inline int judge_connect(struct bpf_sock_addr *ctx, bool v6)
{
	struct workspace *s;
	struct terms by;
	struct record *r;
	__u32 *address;

	if (is_self_test())
		return 1;
	s = begin_watched(&by, EVENT_NETWORK_CONNECT);
	if (!s)
		return 1;
	r = &s->event.record;
	address = (__u32 *)r->address;
	if (v6) {
		r->family = 6;
		address[0] = ctx->user_ip6[0];
		address[1] = ctx->user_ip6[1];
		address[2] = ctx->user_ip6[2];
		address[3] = ctx->user_ip6[3];
	} else {
		r->family = 4;
		address[0] = ctx->user_ip4;
	}
	r->port = bpf_ntohs(ctx->user_port);
	r->transport = ctx->protocol;
	judge(s, &by);
	return 1;
}

SEC("cgroup/connect4")
int on_connect4(struct bpf_sock_addr *ctx)
{
	return judge_connect(ctx, false);
}

SEC("cgroup/connect6")
int on_connect6(struct bpf_sock_addr *ctx)
{
	return judge_connect(ctx, true);
}

SEC("cgroup/sendmsg4")
int on_sendmsg4(struct bpf_sock_addr *ctx)
{
	return judge_connect(ctx, false);
}

SEC("cgroup/sendmsg6")
int on_sendmsg6(struct bpf_sock_addr *ctx)
{
	return judge_connect(ctx, true);
}

/* address is the kernel's copy of a sockaddr, or NULL. */
static __always_inline void judge_address(struct socket *sock, void *address, int length)
{
	struct sockaddr_in6 to = {};
	struct workspace *s;
	struct terms by;
	struct record *r;

	if (!address || length < (int)sizeof(struct sockaddr_in))
		return;
	bpf_probe_read_kernel(&to, AT_MOST(length, sizeof(to)), address);
	if (to.sin6_family != AF_INET && to.sin6_family != AF_INET6)
		return;
	if (is_self_test())
		return;
	s = begin(&by, EVENT_NETWORK_CONNECT);
	if (!s)
		return;
	r = &s->event.record;
	r->port = bpf_ntohs(to.sin6_port);
	r->transport = BPF_CORE_READ(sock, sk, sk_protocol);
	if (to.sin6_family == AF_INET) {
		r->family = 4;
		__builtin_memcpy(r->address, &((struct sockaddr_in *)&to)->sin_addr, 4);
	} else {
		r->family = 6;
		__builtin_memcpy(r->address, &to.sin6_addr, 16);
	}
	judge(s, &by);
}

SEC("lsm/socket_connect")
int BPF_PROG(on_connect_lsm, struct socket *sock, struct sockaddr *address, int length)
{
	judge_address(sock, address, length);
	return 0;
}

SEC("fexit/security_socket_connect")
int BPF_PROG(on_connect_fexit, struct socket *sock, struct sockaddr *address, int length, int ret)
{
	if (!ret)
		judge_address(sock, address, length);
	return 0;
}

SEC("lsm/socket_sendmsg")
int BPF_PROG(on_sendmsg_lsm, struct socket *sock, struct msghdr *msg)
{
	judge_address(sock, BPF_CORE_READ(msg, msg_name), BPF_CORE_READ(msg, msg_namelen));
	return 0;
}

SEC("fexit/security_socket_sendmsg")
int BPF_PROG(on_sendmsg_fexit, struct socket *sock, struct msghdr *msg, int size, int ret)
{
	if (!ret)
		judge_address(sock, BPF_CORE_READ(msg, msg_name), BPF_CORE_READ(msg, msg_namelen));
	return 0;
}
