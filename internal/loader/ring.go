package loader

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Header of a record in a BPF ring buffer (include/uapi/linux/bpf.h).
const (
	ringHeaderBytes = 8
	ringBusy        = 1 << 31
	ringDiscarded   = 1 << 30
)

// ring consumes a BPF ring buffer. Unlike the library's reader it leaves a record
// in place until release, so that the consumer's position never runs ahead of what
// has been dealt with. One goroutine may read; wake and produced may come from any.
type ring struct {
	fd       int
	wakeFD   int
	consumer []byte // the page with our position
	producer []byte // the page with the kernel's position, then the data twice
	mask     uint64
	next     uint64 // position behind the record handed out last
}

func newRing(m *ebpf.Map) (_ *ring, err error) {
	page := unix.Getpagesize()
	size := int(m.MaxEntries())
	r := &ring{fd: m.FD(), mask: uint64(size - 1)}
	if r.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("opening a ring buffer: eventfd: %w", err)
	}
	r.consumer, err = unix.Mmap(r.fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		unix.Close(r.wakeFD)
		return nil, fmt.Errorf("opening a ring buffer: mapping the consumer's page: %w", err)
	}
	r.producer, err = unix.Mmap(r.fd, int64(page), page+2*size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		unix.Munmap(r.consumer)
		unix.Close(r.wakeFD)
		return nil, fmt.Errorf("opening a ring buffer: mapping the data: %w", err)
	}
	r.next = r.consumed()
	return r, nil
}

func position(page []byte) *uint64 { return (*uint64)(unsafe.Pointer(&page[0])) }

// produced is the position up to which the kernel has reserved space, in bytes
// since the ring was made.
func (r *ring) produced() uint64 { return atomic.LoadUint64(position(r.producer)) }

// consumed is the position up to which records have been released.
func (r *ring) consumed() uint64 { return atomic.LoadUint64(position(r.consumer)) }

// read returns the next record, valid until release, or nil if there is none.
func (r *ring) read() []byte {
	data := r.producer[unix.Getpagesize():]
	for r.next < r.produced() {
		at := r.next & r.mask
		header := atomic.LoadUint32((*uint32)(unsafe.Pointer(&data[at])))
		if header&ringBusy != 0 {
			return nil
		}
		length := uint64(header &^ (ringBusy | ringDiscarded))
		r.next += (length + ringHeaderBytes + 7) &^ 7
		if header&ringDiscarded == 0 {
			return data[at+ringHeaderBytes : at+ringHeaderBytes+length]
		}
	}
	return nil
}

// release gives the space of all records read so far back to the kernel.
func (r *ring) release() { atomic.StoreUint64(position(r.consumer), r.next) }

// wait blocks until there may be something to read, or wake is called. All that
// was read must have been released before: the kernel only wakes a reader that
// has caught up.
func (r *ring) wait() error {
	fds := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}, {Fd: int32(r.wakeFD), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("waiting for the ring buffer: %w", err)
		}
		if fds[1].Revents != 0 {
			return os.ErrClosed
		}
		return nil
	}
}

// wake makes the present and every later wait return os.ErrClosed.
func (r *ring) wake() {
	one := [8]byte{1}
	unix.Write(r.wakeFD, one[:]) // a full counter wakes as well
}

func (r *ring) close() {
	unix.Munmap(r.producer)
	unix.Munmap(r.consumer)
	unix.Close(r.wakeFD)
}
