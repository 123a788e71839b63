// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * kernel_change: a module, a BPF program or another kernel is about to be loaded; of
 * module_load, a module has been.
 *
 * Hooks, of which the loader takes the first that works:
 *  module_load         tp_btf module_load (5.5)
 *  module_file, kexec  lsm kernel_read_file and kernel_load_data (5.10), fexit of their security_*
 *                      functions (5.10)
 *  bpf_program         lsm bpf (5.7), fentry security_bpf (5.5): what is asked for, permitted or
 * not all but module_load tp_btf sys_exit (5.5, x86-64 only): what has succeeded Least
 * kernel: 5.10.
 */
#include "emit.h"
#include "syscall.h"
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Programs that this process loads are its own business; set by the loader. */
const volatile __u32 agent_tgid;

/* file is NULL if the data does not come from one. */
static __always_inline void judge_file(__u32 operation, struct file *file)
{
	struct terms by;
	struct workspace *s = begin_operation(&by, EVENT_KERNEL_CHANGE, operation);
	bool truncated = false;
	__u32 n;

	if (!s)
		return;
	if (file) {
		n = file_path_of(s, file, current_task(), &truncated);
		put_string(&s->event, &s->event.record.file_path, path_start(s, n), n);
		if (truncated)
			s->event.record.header.flags |= RECORD_FILE_PATH_TRUNCATED;
	}
	judge(s, &by);
}

#define IS_ID(id, type, value) \
	(bpf_core_enum_value_exists(type, value) && (id) == bpf_core_enum_value(type, value))

static __always_inline void judge_read(struct file *file, int id)
{
	if (IS_ID(id, enum kernel_read_file_id, READING_MODULE) ||
	    IS_ID(id, enum kernel_read_file_id___614, READING_MODULE_COMPRESSED))
		judge_file(KERNEL_MODULE_FILE, file);
	else if (IS_ID(id, enum kernel_read_file_id, READING_KEXEC_IMAGE))
		judge_file(KERNEL_KEXEC, file);
}

static __always_inline void judge_data(int id)
{
	if (IS_ID(id, enum kernel_load_data_id, LOADING_KEXEC_IMAGE))
		judge_file(KERNEL_KEXEC, NULL);
}

/* name is in the kernel. */
static __always_inline void judge_named(__u32 operation, const void *name, __u32 size,
					__u32 type_code)
{
	struct terms by;
	struct workspace *s = begin_operation(&by, EVENT_KERNEL_CHANGE, operation);
	long n;

	if (!s)
		return;
	n = bpf_probe_read_kernel_str(s->path.bytes, size, name);
	put_string(&s->event, &s->event.record.kernel_name, s->path.bytes, n > 0 ? n - 1 : 0);
	s->event.record.kernel_type = type_code;
	judge(s, &by);
}

static __always_inline bool is_agent(void)
{
	return bpf_get_current_pid_tgid() >> 32 == agent_tgid && !self_test_tgid;
}

/* attr is the kernel's copy of what bpf(2) was given. */
static __always_inline void judge_program(int cmd, union bpf_attr *attr)
{
	__u32 type = 0;

	if (cmd != BPF_PROG_LOAD || is_agent())
		return;
	bpf_probe_read_kernel(&type, sizeof(type), &attr->prog_type);
	judge_named(KERNEL_BPF_PROGRAM, attr->prog_name, BPF_OBJ_NAME_LEN, type + 1);
}

SEC("tp_btf/module_load")
int BPF_PROG(on_module_load, struct module *module)
{
	judge_named(KERNEL_MODULE_LOAD, module->name, sizeof(module->name), 0);
	return 0;
}

SEC("lsm/kernel_read_file")
int BPF_PROG(lsm_kernel_read_file, struct file *file, int id)
{
	judge_read(file, id);
	return 0;
}

SEC("fexit/security_kernel_read_file")
int BPF_PROG(fexit_kernel_read_file, struct file *file, int id, bool contents, int ret)
{
	if (!ret)
		judge_read(file, id);
	return 0;
}

SEC("lsm/kernel_load_data")
int BPF_PROG(lsm_kernel_load_data, int id)
{
	judge_data(id);
	return 0;
}

SEC("fexit/security_kernel_load_data")
int BPF_PROG(fexit_kernel_load_data, int id, bool contents, int ret)
{
	if (!ret)
		judge_data(id);
	return 0;
}

SEC("lsm/bpf")
int BPF_PROG(lsm_bpf, int cmd, union bpf_attr *attr)
{
	judge_program(cmd, attr);
	return 0;
}

/* Its number of parameters has changed, so the place of its result has too. */
SEC("fentry/security_bpf")
int BPF_PROG(fentry_bpf, int cmd, union bpf_attr *attr)
{
	judge_program(cmd, attr);
	return 0;
}

#ifdef __TARGET_ARCH_x86

enum {
	NR_KEXEC_LOAD = 246,
	NR_FINIT_MODULE = 313,
	NR_KEXEC_FILE_LOAD = 320,
	NR_BPF = 321,
	NR32_KEXEC_LOAD = 283,
	NR32_FINIT_MODULE = 350,
	NR32_BPF = 357,
};

#define KEXEC_FILE_UNLOAD 0x1 /* include/uapi/linux/kexec.h */

static __always_inline void judge_loaded(__u64 fd)
{
	struct file *file = file_of_descriptor(current_task(), fd);
	struct bpf_prog *prog;

	if (!file || is_agent())
		return;
	prog = BPF_CORE_READ(file, private_data);
	judge_named(KERNEL_BPF_PROGRAM,
		    (void *)BPF_CORE_READ(prog, aux) +
			    bpf_core_field_offset(struct bpf_prog_aux, name),
		    BPF_OBJ_NAME_LEN, BPF_CORE_READ(prog, type) + 1);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_kernel_sys_exit, struct pt_regs *regs, long ret)
{
	__u32 number = number_of(regs);
	bool compat;

	if (ret < 0)
		return 0;
	if (number != NR_KEXEC_LOAD && number != NR_FINIT_MODULE && number != NR_KEXEC_FILE_LOAD &&
	    number != NR_BPF && number != NR32_KEXEC_LOAD && number != NR32_FINIT_MODULE &&
	    number != NR32_BPF)
		return 0;
	compat = is_compat();
	if (number == (compat ? NR32_BPF : NR_BPF)) {
		if ((__u32)argument(regs, 1, compat) == BPF_PROG_LOAD)
			judge_loaded(ret);
	} else if (number == (compat ? NR32_FINIT_MODULE : NR_FINIT_MODULE)) {
		judge_file(KERNEL_MODULE_FILE,
			   file_of_descriptor(current_task(), argument(regs, 1, compat)));
	} else if (number == (compat ? NR32_KEXEC_LOAD : NR_KEXEC_LOAD)) {
		judge_file(KERNEL_KEXEC, NULL);
	} else if (number == NR_KEXEC_FILE_LOAD && !compat &&
		   !(argument(regs, 5, compat) & KEXEC_FILE_UNLOAD)) {
		judge_file(KERNEL_KEXEC,
			   file_of_descriptor(current_task(), argument(regs, 1, compat)));
	}
	return 0;
}

#endif
