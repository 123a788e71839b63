package loader

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

// callNumbers are ways to write the number of a system call, by what is added to it.
var callNumbers = []struct {
	name string
	add  uintptr
}{
	{"plain", 0},
	{"wide", 1 << 32}, // the kernel looks at the lower half of the register
	{"x32", x32Bit},   // where the kernel takes calls of the x32 ABI
}

// x32Bit marks the number of a system call of the x32 ABI, which has some of its own.
const x32Bit = 0x40000000

// takesX32 reports whether the kernel takes such calls.
func takesX32() bool {
	_, _, errno := unix.RawSyscall(unix.SYS_GETPID|x32Bit, 0, 0, 0)
	return errno == 0
}

// callByNumbers makes a call of each class in the directory args[0], by each way to write its
// number, and prints the ways that the kernel takes.
func callByNumbers(args []string) error {
	for _, number := range callNumbers {
		err := onThread(func() error { return makeCalls(filepath.Join(args[0], number.name), number.add) })
		if number.add != 0 && errors.Is(err, unix.ENOSYS) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", number.name, err)
		}
		fmt.Println(number.name)
	}
	return nil
}

// makeCalls makes calls about what is at a path and has its last component as name.
func makeCalls(path string, add uintptr) error {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	client, err := net.Dial("tcp4", listener.Addr().String())
	if err != nil {
		return err
	}
	defer client.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer file.Close()
	text, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	program := struct { // union bpf_attr
		kind, count uint32
		code        *[2]uint64
		license     *[4]byte
		_           [6]uint32
		name        [16]byte
	}{kind: unix.BPF_PROG_TYPE_SOCKET_FILTER, count: 2, code: &[2]uint64{0xb7, 0x95} /* r0 = 0; exit */, license: &[4]byte{'G', 'P', 'L'}}
	copy(program.name[:], filepath.Base(path))
	cwd := ^uintptr(99) // AT_FDCWD
	reading := uintptr(unix.SYS_PROCESS_VM_READV)
	if add == x32Bit {
		reading = 539
	}
	for _, call := range []struct {
		number        uintptr
		opens         bool
		first         uintptr
		second        unsafe.Pointer
		third, fourth uintptr
	}{
		{unix.SYS_MKDIRAT, false, cwd, unsafe.Pointer(text), 0o700, 0},
		{unix.SYS_OPENAT, true, cwd, unsafe.Pointer(text), unix.O_RDONLY | unix.O_CLOEXEC, 0},
		{unix.SYS_ACCEPT4, true, file.Fd(), nil, 0, unix.SOCK_CLOEXEC},
		{unix.SYS_UNSHARE, false, unix.CLONE_NEWUTS, nil, 0, 0},
		{reading, false, uintptr(os.Getpid()), nil, 0, 0}, // nothing
		{unix.SYS_BPF, true, unix.BPF_PROG_LOAD, unsafe.Pointer(&program), unsafe.Sizeof(program), 0},
	} {
		fd, _, errno := unix.Syscall6(call.number+add, call.first, uintptr(call.second), call.third, call.fourth, 0, 0)
		if errno != 0 {
			return syscallError(fmt.Sprintf("system call %d", call.number), errno)
		}
		if call.opens {
			if err := unix.Close(int(fd)); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestCallNumbers: a hook at the end of system calls knows them however their numbers are
// written.
func TestCallNumbers(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	dir := tempDir(t)
	for class, match := range map[event.Class]string{
		event.FileOpen: "  s: {file.path|startswith: " + dir + "/}", event.FileChange: "  s: {file.path|startswith: " + dir + "/}",
		event.NetworkListen:   "  s: {network.operation: accept}",
		event.PrivilegeChange: "  s: {privilege.operation: [unshare, ptrace]}",
		event.KernelChange:    "  s: {kernel.operation: bpf_program}",
	} {
		lastResort(t, k, class)
		watch(t, k, class, match)
	}
	var got, want []string
	taken := output(t, in(cgroup, actCommand(t, "call-numbers", dir)))
	for _, way := range taken {
		want = append(want, "file_change "+way, "file_open "+way, "network_listen", "privilege_change unshare", "privilege_change ptrace", "kernel_change "+way)
	}
	t.Logf("the kernel takes numbers that are %q", taken)
	parameters, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	x32 := takesX32() || strings.Contains(string(parameters), "syscall.x32=y") // as Debian has it
	if !slices.Contains(taken, "wide") || slices.Contains(taken, "x32") != x32 {
		t.Error("these are not those that it should take")
	}
	for _, m := range drainMatches(t, k) {
		line := m.Event.Class.String()
		switch m.Event.Class {
		case event.FileOpen, event.FileChange:
			line += " " + filepath.Base(m.Event.File.Path)
		case event.PrivilegeChange:
			line += " " + m.Event.Operation
		case event.KernelChange:
			line += " " + m.Event.Kernel.Name
		}
		got = append(got, line)
	}
	sameLines(t, got, want)
}
