package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// act is what the test's program does under this name: something of one of the classes of
// changes, in or with what the second argument names.
func act() {
	acts := map[string]func(string) error{
		"files": changeFiles, "listen": listenAndAccept, "identity": changeIdentity, "namespaces": changeNamespaces,
		"trace": traceChild, "kernel": loadProgram,
	}
	if err := acts[os.Args[1]](os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// first does some steps until one fails.
func first(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func changeFiles(dir string) error {
	made, renamed, link := filepath.Join(dir, "made"), filepath.Join(dir, "renamed"), filepath.Join(dir, "link")
	return first(
		func() error {
			f, err := os.OpenFile(made, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
			if err != nil {
				return err
			}
			return f.Close()
		},
		func() error { return unix.Chmod(made, 0o4755) },
		func() error { return unix.Truncate(made, 0) },
		func() error { return unix.Rename(made, renamed) },
		func() error { return unix.Symlink("/dev/null", link) },
		func() error { return unix.Unlink(renamed) },
	)
}

// listenAndAccept accepts one connection, which it makes itself. Go's own listeners try out
// what the host can do first, by binding sockets.
func listenAndAccept(string) error {
	var sockets [3]int // that listens, that connects, that was accepted
	for i := range 2 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		if err != nil {
			return err
		}
		sockets[i] = fd
	}
	return first(
		func() error { return unix.Bind(sockets[0], &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}) },
		func() error { return unix.Listen(sockets[0], 1) },
		func() error {
			address, err := unix.Getsockname(sockets[0])
			if err != nil {
				return err
			}
			return unix.Connect(sockets[1], address)
		},
		func() (err error) {
			sockets[2], _, err = unix.Accept4(sockets[0], unix.SOCK_CLOEXEC)
			return err
		},
	)
}

// changeIdentity does so in one thread, since the others would make events of their own.
func changeIdentity(string) error {
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	for i := range data {
		data[i].Effective = 0
	}
	data[0].Effective = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	ids := func(call uintptr, id uintptr) error {
		if _, _, errno := unix.RawSyscall(call, id, id, id); errno != 0 {
			return errno
		}
		return nil
	}
	return first(
		func() error { return unix.Capset(&header, &data[0]) },
		func() error { return ids(unix.SYS_SETRESGID, 4711) },
		func() error { return ids(unix.SYS_SETRESUID, 4712) },
	)
}

func changeNamespaces(dir string) error {
	runtime.LockOSThread()
	old, err := unix.Open("/proc/thread-self/ns/uts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(old)
	return first(
		func() error { return unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS) },
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
		func() error { return unix.Mount("nothing", dir, "tmpfs", 0, "") },
		func() error { return unix.Setns(old, unix.CLONE_NEWUTS) },
	)
}

// traceChild takes hold of a child, which runs a program that echoes.
func traceChild(program string) error {
	runtime.LockOSThread()
	cmd := exec.Command(program)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	echo := make([]byte, 1)
	return first(
		cmd.Start,
		func() error { _, err := in.Write(echo); return err },
		func() error { _, err := out.Read(echo); return err }, // so it has executed the program
		func() error { return unix.PtraceSeize(cmd.Process.Pid) },
		in.Close,
		cmd.Wait,
	)
}

// loadProgram loads a BPF program of that name, which does nothing.
func loadProgram(name string) error {
	code := [2]uint64{0xb7, 0x95} // r0 = 0; exit
	licence := []byte("Dual BSD/GPL\x00")
	attr := struct {
		kind, count    uint32
		code, licence  uintptr
		level, size    uint32
		log            uint64
		version, flags uint32
		name           [16]byte
	}{
		kind: unix.BPF_PROG_TYPE_SOCKET_FILTER, count: uint32(len(code)),
		code: uintptr(unsafe.Pointer(&code)), licence: uintptr(unsafe.Pointer(&licence[0])),
	}
	copy(attr.name[:], name)
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(&code)
	runtime.KeepAlive(licence)
	if errno != 0 {
		return errno
	}
	return unix.Close(int(fd))
}
