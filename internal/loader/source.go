package loader

import (
	"os"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

// source is where the events of a class can come from: the object with the programs,
// the candidates, best first, and something that makes such an event.
type source struct {
	load       func() (*ebpf.CollectionSpec, error)
	candidates []candidate
	test       func() error
}

// candidate is one way to learn of the events of a class.
type candidate struct {
	name     string // as the kernel names the hooks
	least    string // Linux that has them; with carried back features an older one may
	programs []string
	simpler  []string // programs to take instead if the kernel refuses those
	parts    []part
	misses   string // what it does not see, or what it costs; "" if nothing
}

// part are programs that a candidate can do without.
type part struct {
	programs []string
	misses   string // what is not seen without them; "" if nothing
}

const (
	costsEveryCall = "costs every system call a little while a rule needs it"
	replaced       = "what is opened or accepted if another thread closes or replaces the descriptor before the call ends; "
)

// sources lists the classes that have a choice. The hooks of process_exec and
// process_exit are not among them: they keep the process table, and are always there.
var sources = map[event.Class]source{
	event.FileOpen: {loadFile, []candidate{
		{name: "lsm/file_open", least: "5.7", programs: []string{"on_open_lsm"}, simpler: []string{"on_open_lsm_walk"}},
		{name: "fexit/security_file_open", least: "5.5", programs: []string{"on_open_fexit"}},
		{
			name: "tp_btf/sys_exit", least: "5.5", programs: []string{"on_open_sys_exit"},
			misses: "opens by io_uring; " + replaced + costsEveryCall,
		},
	}, openSomeFile},

	event.NetworkConnect: {loadNetwork, []candidate{
		{
			name: "cgroup/connect4, cgroup/connect6, cgroup/sendmsg4, cgroup/sendmsg6", least: "4.18",
			programs: []string{"on_connect4", "on_connect6"},
			parts:    []part{{[]string{"on_sendmsg4", "on_sendmsg6"}, "datagrams sent by sockets that are not connected"}},
		},
		{name: "lsm/socket_connect, lsm/socket_sendmsg", least: "5.7", programs: []string{"on_connect_lsm", "on_sendmsg_lsm"}},
		{
			name: "fexit/security_socket_connect, fexit/security_socket_sendmsg", least: "5.5",
			programs: []string{"on_connect_fexit", "on_sendmsg_fexit"},
		},
	}, connectSomewhere},

	event.FileChange: {loadChange, []candidate{
		changesBy("lsm"), changesBy("fexit"),
		{
			name: "tp_btf/sys_exit", least: "5.5", programs: []string{"on_change_sys_exit"},
			misses: "changes by io_uring; " + replaced + "paths that are not given by a descriptor are what the process's memory says after the call (file.path.claimed); " + costsEveryCall,
		},
	}, changeSomeFile},

	event.NetworkListen: {loadListen, []candidate{
		{
			name: "lsm/socket_listen, lsm/sock_graft, cgroup/post_bind4, cgroup/post_bind6", least: "5.7",
			programs: []string{"lsm_socket_listen", "lsm_sock_graft"}, parts: binds,
		},
		{
			name: "fexit/security_socket_listen, fexit/security_sock_graft, cgroup/post_bind4, cgroup/post_bind6", least: "5.5",
			programs: []string{"fexit_socket_listen", "fexit_sock_graft"}, parts: binds,
		},
		{
			name: "tp_btf/inet_sock_set_state, tp_btf/sys_exit, cgroup/post_bind4, cgroup/post_bind6", least: "5.5",
			programs: []string{"on_set_state"},
			parts:    append([]part{{[]string{"on_accept_sys_exit"}, "accepted connections"}}, binds...),
			misses:   "connections accepted by io_uring; " + replaced + costsEveryCall,
		},
	}, listenSomewhere},

	event.PrivilegeChange: {loadPrivilege, []candidate{
		privilegesBy("lsm"), privilegesBy("fexit"),
		{
			name: "tp_btf/sys_exit", least: "5.5", programs: []string{"on_privilege_sys_exit"},
			misses: "the ids before; processes traced through /proc or by pidfd_getfd, or cloned into new namespaces by clone3; mount points are what the process's memory says after the call; " + costsEveryCall,
		},
	}, keepCapabilities},

	event.KernelChange: {loadKernelchange, []candidate{
		{
			name: "lsm/kernel_read_file, lsm/kernel_load_data, lsm/bpf, tp_btf/module_load", least: "5.10",
			programs: []string{"lsm_kernel_read_file", "lsm_kernel_load_data", "lsm_bpf"}, parts: moduleLoads,
		},
		{
			name: "fexit/security_kernel_read_file, fexit/security_kernel_load_data, fentry/security_bpf, tp_btf/module_load", least: "5.10",
			programs: []string{"fexit_kernel_read_file", "fexit_kernel_load_data", "fentry_bpf"}, parts: moduleLoads,
		},
		{
			name: "tp_btf/sys_exit, tp_btf/module_load", least: "5.5",
			programs: []string{"on_kernel_sys_exit"}, parts: moduleLoads,
			misses: "what is refused; " + costsEveryCall,
		},
	}, loadSomeProgram},
}

var (
	binds = []part{{[]string{"on_bind4", "on_bind6"}, "addresses that sockets are bound to"}}
	// A kernel without modules has no such tracepoint.
	moduleLoads = []part{{[]string{"on_module_load"}, ""}}
)

// changesBy are the hooks of file_change, all of one kind.
func changesBy(kind string) candidate {
	least, hook := "5.7", "lsm/path_*, lsm/file_truncate"
	if kind == "fexit" {
		least, hook = "5.5", "fexit/security_path_*, fexit/security_file_truncate"
	}
	c := candidate{name: hook, least: least}
	for _, name := range []string{"chmod", "mknod", "mkdir", "unlink", "rmdir", "symlink", "link", "rename", "truncate"} {
		c.programs = append(c.programs, kind+"_path_"+name)
	}
	c.parts = []part{
		{[]string{kind + "_file_truncate"}, ""}, // before 6.2, path_truncate sees these too
		{[]string{kind + "_path_chown"}, "changes of owner"},
	}
	return c
}

// privilegesBy are the hooks of privilege_change. Nothing is asked of security modules when a
// process changes its namespaces.
func privilegesBy(kind string) candidate {
	least, hook := "5.7", "lsm/task_fix_setuid and others, fexit/ksys_unshare and others"
	if kind == "fexit" {
		least, hook = "5.5", "fexit/security_task_fix_setuid and others, fexit/ksys_unshare and others"
	}
	c := candidate{name: hook, least: least}
	for _, name := range []string{"task_fix_setuid", "capset", "ptrace_access_check", "ptrace_traceme", "sb_mount", "move_mount"} {
		c.programs = append(c.programs, kind+"_"+name)
	}
	c.parts = []part{
		{[]string{kind + "_task_fix_setgid"}, "changes of group ids"},
		{[]string{"on_unshare", "on_clone"}, "namespaces that are made"},
		{[]string{"on_setns"}, "namespaces that are entered"},
		{[]string{"on_setns32"}, ""}, // where there are system calls of 32 bits
	}
	return c
}

// What follows makes an event of a class, and leaves nothing behind.

func openSomeFile() error {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		return err
	}
	return file.Close()
}

// connectSomewhere connects a UDP socket, which sends nothing.
func connectSomewhere() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}})
}

// changeSomeFile changes the mode of a file that has no name.
func changeSomeFile() error {
	fd, err := unix.MemfdCreate("bittern", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fchmod(fd, 0o600)
}

// listenSomewhere listens on a loopback address for a moment.
func listenSomewhere() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	return unix.Listen(fd, 0)
}

// keepCapabilities sets the capabilities of this thread to what they are.
func keepCapabilities() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	return unix.Capset(&header, &data[0])
}

// loadSomeProgram loads a BPF program that does nothing.
func loadSomeProgram() error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SocketFilter, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return err
	}
	return p.Close()
}
