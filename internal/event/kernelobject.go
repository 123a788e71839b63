package event

// KernelObject is a module or a BPF program of a kernel_change.
type KernelObject struct {
	Name string
	Type string // of a BPF program, one of the Values of kernel.type; "" if it is none, or of a later type
}

var kernelOperations = []string{"module_file", "module_load", "bpf_program", "kexec"}

// kernelOperationDocs say what each operation is, and which fields it has.
var kernelOperationDocs = []string{
	"the file of a module is read, to be loaded: `file.path`",
	"a module is loaded, from a file or from memory: `kernel.name`",
	"a BPF program is loaded: `kernel.name`, `kernel.type`",
	"the kernel to boot next is loaded; by kexec_load(2), also unloaded: `file.path`",
}

// programTypes are in the order of enum bpf_prog_type.
var programTypes = []string{
	"unspec", "socket_filter", "kprobe", "sched_cls", "sched_act", "tracepoint", "xdp", "perf_event", "cgroup_skb", "cgroup_sock",
	"lwt_in", "lwt_out", "lwt_xmit", "sock_ops", "sk_skb", "cgroup_device", "sk_msg", "raw_tracepoint", "cgroup_sock_addr",
	"lwt_seg6local", "lirc_mode2", "sk_reuseport", "flow_dissector", "cgroup_sysctl", "raw_tracepoint_writable", "cgroup_sockopt",
	"tracing", "struct_ops", "ext", "lsm", "sk_lookup", "syscall", "netfilter",
}

func (k *KernelObject) text(f Field) string {
	switch f {
	case KernelName:
		return k.Name
	case KernelType:
		return k.Type
	}
	return ""
}

func (k *KernelObject) setText(f Field, value string) {
	switch f {
	case KernelName:
		k.Name = value
	case KernelType:
		k.Type = value
	}
}

func appendKernel(w *writer, k *KernelObject) {
	w.object("kernel", "bittern.kernel.", func() {
		w.text("name", k.Name)
		w.text("type", k.Type)
	})
}

// kernelChange appends what was loaded in a kernel_change.
func (l *line) kernelChange(e *Event) {
	l.known("kernel", e.Operation)
	l.known("name", e.Kernel.Name)
	l.known("type", e.Kernel.Type)
	l.known("file", e.File.Path)
}
