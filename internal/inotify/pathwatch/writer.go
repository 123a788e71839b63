package pathwatch

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Writers is whether somebody has a file open for writing.
type Writers uint8

// The answers.
const (
	NoWriter Writers = iota + 1
	SomeWriter
	UnknownWriters // some file systems have no leases, and others' files need CAP_LEASE
)

// WritersOf reports whether somebody has the file of a descriptor, which is open for reading only, open
// for writing: the kernel grants a read lease only if not. The lease is given back at once; whoever
// opens the file for writing meanwhile waits that long.
func WritersOf(fd int) Writers {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	switch {
	case err == nil:
		// Closing the descriptor would end the lease as well.
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
		return NoWriter
	case errors.Is(err, unix.EAGAIN):
		return SomeWriter
	}
	return UnknownWriters
}
