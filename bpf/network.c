// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * network_connect: a socket of IPv4 or IPv6 is about to be connected. The address is
 * the kernel's copy. UDP counts when it is connected; datagrams that are sent without
 * that are not meant.
 *
 * Hooks: cgroup connect4 and connect6 (4.17), of the cgroup that is watched or the root.
 * Least kernel: 5.17 (bpf_loop).
 */
#include "emit.h"
#include "selftest.h"
#include <bpf/bpf_endian.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* One program serves both families; it always lets the connection be made. */
static __always_inline int judge_connect(struct bpf_sock_addr *ctx, bool v6)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 epoch = current_epoch();
	struct workspace *s;
	struct wanted w;
	struct record *r;
	__u32 *address;

	if (is_self_test(task) || !read_wanted(&w, EVENT_NETWORK_CONNECT))
		return 1;
	s = take_workspace(EVENT_NETWORK_CONNECT);
	if (!s)
		return 1;
	r = &s->event.record;
	begin_event(&s->event, EVENT_NETWORK_CONNECT);
	read_identity(&s->event, task);
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
	judge_event(s, &w, epoch, false);
	give_back(s);
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
