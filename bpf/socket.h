/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Sockets, and their addresses.
 */
#ifndef BITTERN_SOCKET_H
#define BITTERN_SOCKET_H

#include "kernel.h"
#include "workspace.h"
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>

/* include/linux/socket.h */
#define AF_INET	 2
#define AF_INET6 10

static __always_inline bool is_ip(struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	return family == AF_INET || family == AF_INET6;
}

/* This host's side of a socket. */
static __always_inline void read_source(struct record *r, struct sock *sk)
{
	r->transport = BPF_CORE_READ(sk, sk_protocol);
	r->source_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET) {
		r->source_family = 4;
		BPF_CORE_READ_INTO((__u32 *)r->source, sk, __sk_common.skc_rcv_saddr);
	} else {
		r->source_family = 6;
		BPF_CORE_READ_INTO((struct in6_addr *)r->source, sk, __sk_common.skc_v6_rcv_saddr);
	}
}

/* The peer of a socket that is connected. */
static __always_inline void read_peer(struct record *r, struct sock *sk)
{
	r->port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET) {
		r->family = 4;
		BPF_CORE_READ_INTO((__u32 *)r->address, sk, __sk_common.skc_daddr);
	} else {
		r->family = 6;
		BPF_CORE_READ_INTO((struct in6_addr *)r->address, sk, __sk_common.skc_v6_daddr);
	}
}

#endif
