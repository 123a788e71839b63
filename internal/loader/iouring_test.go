package loader

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
	"bittern/internal/require"
)

// Operations and flags of linux/io_uring.h.
const (
	uringAccept   = 13
	uringConnect  = 16
	uringOpenat   = 18
	uringUnlinkat = 36 // 5.11

	uringAsync = 1 << 4 // by another thread of the kernel's

	uringEnterGetEvents = 1
	uringSQRing         = 0
	uringCQRing         = 0x8000000
	uringSQEs           = 0x10000000
)

// submission is struct io_uring_sqe.
type submission struct {
	opcode, flags uint8
	priority      uint16
	fd            int32
	off, addr     uint64
	length, how   uint32
	rest          [4]uint64
}

// ringOffsets are struct io_sqring_offsets and struct io_cqring_offsets as far as they agree.
type ringOffsets struct {
	head, tail, mask, entries uint32
	rest                      [2]uint32 // of completions, the second is where they are
	array                     uint32
	_                         [3]uint32
}

// uring is an io_uring for one operation at a time.
type uring struct {
	fd     int
	sq, cq []byte
	sqes   []byte
	sqOff  ringOffsets
	cqOff  ringOffsets
}

func newUring() (*uring, error) {
	var p struct {
		_      [10]uint32
		sq, cq ringOffsets
	}
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, syscallError("io_uring_setup", errno)
	}
	r := &uring{fd: int(fd), sqOff: p.sq, cqOff: p.cq}
	for _, m := range []struct {
		to *[]byte
		at int64
	}{{&r.sq, uringSQRing}, {&r.cq, uringCQRing}, {&r.sqes, uringSQEs}} {
		b, err := unix.Mmap(r.fd, m.at, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
		if err != nil {
			return nil, fmt.Errorf("mapping the rings: %w", err)
		}
		*m.to = b
	}
	return r, nil
}

func word(b []byte, at uint32) *uint32 { return (*uint32)(unsafe.Pointer(&b[at])) }

// do has the kernel do one operation, and waits for what comes of it.
func (r *uring) do(s submission) (result int32, err error) {
	*(*submission)(unsafe.Pointer(&r.sqes[0])) = s
	*word(r.sq, r.sqOff.array) = 0
	*word(r.sq, r.sqOff.tail)++
	// The system call is a barrier. A signal, which Go sends to its threads, can end it before the
	// operation is completed.
	head := word(r.cq, r.cqOff.head)
	submit := uintptr(1)
	for *head == *word(r.cq, r.cqOff.tail) {
		_, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), submit, 1, uringEnterGetEvents, 0, 0)
		switch errno {
		case 0:
			submit = 0
		case unix.EINTR:
		default:
			return 0, syscallError("io_uring_enter", errno)
		}
	}
	at := r.cqOff.rest[1] + *head&*word(r.cq, r.cqOff.mask)*16
	result = int32(*word(r.cq, at+8))
	*head++
	if result < 0 {
		return 0, fmt.Errorf("operation %d: %w", s.opcode, unix.Errno(-result))
	}
	return result, nil
}

// byUring opens files in the directory args[0], connects to the port args[1] and accepts from
// descriptor 3, all by io_uring. It removes a file where the kernel can.
func byUring(args []string) error {
	dir := args[0]
	port, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	r, err := newUring()
	if err != nil {
		return err
	}
	for i, name := range []string{"inline", "async"} {
		path := append([]byte(filepath.Join(dir, name)), 0)
		fd, err := r.do(submission{
			opcode: uringOpenat, flags: uint8(i * uringAsync), fd: unix.AT_FDCWD, addr: uint64(uintptr(unsafe.Pointer(&path[0]))),
			length: 0o600, how: unix.O_CREAT | unix.O_WRONLY,
		})
		runtime.KeepAlive(path)
		if err != nil {
			return err
		}
		fmt.Println("opened", name)
		if err := unix.Close(int(fd)); err != nil {
			return err
		}
	}
	gone := append([]byte(filepath.Join(dir, "inline")), 0)
	_, err = r.do(submission{opcode: uringUnlinkat, fd: unix.AT_FDCWD, addr: uint64(uintptr(unsafe.Pointer(&gone[0])))})
	runtime.KeepAlive(gone)
	switch {
	case err == nil:
		fmt.Println("unlinked inline")
	case !errors.Is(err, unix.EINVAL): // from 5.11 on
		return err
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	address := &unix.RawSockaddrInet4{Family: unix.AF_INET, Port: uint16(port>>8 | port<<8), Addr: [4]byte{127, 0, 0, 1}}
	_, err = r.do(submission{
		opcode: uringConnect, fd: int32(socket), addr: uint64(uintptr(unsafe.Pointer(address))), off: unix.SizeofSockaddrInet4,
	})
	runtime.KeepAlive(address)
	if err != nil {
		return err
	}
	fmt.Println("connected")
	const listener = 3
	if _, err := r.do(submission{opcode: uringAccept, fd: listener}); err != nil {
		return err
	}
	fmt.Println("accepted")
	return nil
}

// TestUring opens, changes and connects by io_uring, which makes no system call for any of it.
// A hook at the end of system calls says that it misses that; the others see all.
func TestUring(t *testing.T) {
	require.IOUring(t)
	k, cgroup := openForTest(t, Config{})
	dir := tempDir(t)
	open := watch(t, k, event.FileOpen, "  s: {file.path|startswith: "+dir+"}")
	change := watch(t, k, event.FileChange, "  s: {file.path|startswith: "+dir+"}")
	watch(t, k, event.NetworkConnect, anything)
	accepts := watch(t, k, event.NetworkListen, anything)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := in(cgroup, actCommand(t, "uring", dir, strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)))
	cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	said := output(t, cmd)

	var got, want []string
	for _, m := range drainMatches(t, k) {
		ev, line := m.Event, ""
		switch ev.Class {
		case event.FileOpen:
			line = "opened " + strings.TrimPrefix(ev.File.Path, dir+"/")
		case event.FileChange:
			line = ev.Operation + " " + strings.TrimPrefix(ev.File.Path, dir+"/")
		case event.NetworkConnect:
			line = "connected"
		case event.NetworkListen:
			line = ev.Operation
		}
		got = append(got, line)
		if ev.Process.PID != uint32(cmd.Process.Pid) {
			t.Errorf("%s, done by %+v", line, ev.Process)
		}
	}
	sees := func(h Hook, what, line string) {
		if atCallEnd(h) {
			mustMiss(t, h, what)
			return
		}
		want = append(want, line)
	}
	for _, line := range said {
		word, name, _ := strings.Cut(line, " ")
		switch word {
		case "opened":
			sees(change, "changes by io_uring", "create "+name)
			sees(open, "opens by io_uring", line)
		case "unlinked":
			sees(change, "changes by io_uring", "unlink "+name)
		case "connected":
			want = append(want, line)
		case "accepted":
			sees(accepts, "connections accepted by io_uring", "accept")
		}
	}
	sameLines(t, got, want)
}
