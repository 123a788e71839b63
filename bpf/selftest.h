/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
#ifndef BITTERN_SELFTEST_H
#define BITTERN_SELFTEST_H

#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

/*
 * While the loader tests a hook it sets the first to its own process, and looks whether
 * the second counts. Such an event goes no further.
 */
volatile __u32 self_test_tgid;
volatile __u64 self_test_fired;

static __always_inline bool is_self_test(void)
{
	__u32 tgid = self_test_tgid;

	if (!tgid || bpf_get_current_pid_tgid() >> 32 != tgid)
		return false;
	self_test_fired++;
	return true;
}

#endif
