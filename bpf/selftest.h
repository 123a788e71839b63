/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
#ifndef BITTERN_SELFTEST_H
#define BITTERN_SELFTEST_H

#include "kernel.h"

/*
 * While the loader tests a hook it sets the first to its own process, and looks whether
 * the second counts. Such an event goes no further.
 */
volatile __u32 self_test_tgid;
volatile __u64 self_test_fired;

static __always_inline bool is_self_test(struct task_struct *task)
{
	if (!self_test_tgid || (__u32)task->tgid != self_test_tgid)
		return false;
	self_test_fired++;
	return true;
}

#endif
