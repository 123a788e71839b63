package inotify

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Watch identifies one watched directory of one Watcher. The kernel does not
// use a number again while the Watcher lives.
type Watch int32

// Event is one record of the kernel. It says that something happened to a name,
// not what the name is now: whoever reads it has to look.
type Event struct {
	Watch  Watch
	Mask   uint32 // IN_* of inotify(7)
	Cookie uint32 // joins IN_MOVED_FROM and IN_MOVED_TO of one rename
	Name   string // entry of the directory, or "" for the directory itself
}

// headerBytes is the size of struct inotify_event without its name.
const headerBytes = unix.SizeofInotifyEvent

// ErrRecord is what Parse returns for bytes that are not whole records.
var ErrRecord = errors.New("malformed inotify record")

// Parse takes apart what one read(2) returned. It returns the records before a
// malformed one together with the error.
func Parse(buf []byte) ([]Event, error) {
	var events []Event
	for at := 0; at < len(buf); {
		rest := buf[at:]
		if len(rest) < headerBytes {
			return events, fmt.Errorf("parsing record at byte %d: %w: %d bytes left, a header has %d",
				at, ErrRecord, len(rest), headerBytes)
		}
		nameBytes := binary.NativeEndian.Uint32(rest[12:])
		// Compared as 64 bits, so that a huge length can't wrap on 32-bit machines.
		if uint64(nameBytes) > uint64(len(rest)-headerBytes) {
			return events, fmt.Errorf("parsing record at byte %d: %w: a name of %d bytes, %d left",
				at, ErrRecord, nameBytes, len(rest)-headerBytes)
		}
		end := headerBytes + int(nameBytes)
		name, _, ended := bytes.Cut(rest[headerBytes:end], []byte{0})
		if nameBytes > 0 && !ended {
			return events, fmt.Errorf("parsing record at byte %d: %w: a name without its final NUL", at, ErrRecord)
		}
		events = append(events, Event{
			Watch:  Watch(int32(binary.NativeEndian.Uint32(rest))),
			Mask:   binary.NativeEndian.Uint32(rest[4:]),
			Cookie: binary.NativeEndian.Uint32(rest[8:]),
			Name:   string(name),
		})
		at += end
	}
	return events, nil
}
