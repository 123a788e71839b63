/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
#ifndef BITTERN_SECURITY_H
#define BITTERN_SECURITY_H

#include <bpf/bpf_tracing.h>

/*
 * The two kinds of hook at which the kernel asks whether something is permitted: a module that
 * is asked (lsm), which is not run if another one has denied it, and the end of the kernel's
 * function that asks all of them (fexit). ARGS are its parameters, and what follows is what to do.
 */
#define ON_SECURITY(hook, ARGS, ...)              \
	SEC("lsm/" #hook)                         \
	int BPF_PROG(lsm_##hook, ARGS)            \
	{                                         \
		__VA_ARGS__;                      \
		return 0;                         \
	}                                         \
	SEC("fexit/security_" #hook)              \
	int BPF_PROG(fexit_##hook, ARGS, int ret) \
	{                                         \
		if (!ret)                         \
			__VA_ARGS__;              \
		return 0;                         \
	}
#define PARAMETERS(...) __VA_ARGS__

#endif
