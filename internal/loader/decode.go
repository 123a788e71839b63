package loader

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

// decoder turns records of the ring into events. It holds what makes times since
// boot into wall clock times.
type decoder struct {
	bootTime func() time.Time // wall clock time at which the boot clock was zero
}

// A DecodeError says what is wrong with a record. The kernel's programs make none
// such: it means that program and decoder differ.
type DecodeError struct{ Reason string }

func (e *DecodeError) Error() string { return "decoding a kernel record: " + e.Reason }

// decode returns the event and the ids of the versions that let it pass.
func (d *decoder) decode(raw []byte) (ev *event.Event, ids []uint64, spilled bool, err error) {
	var rec execRecord
	size := int(unsafe.Sizeof(rec))
	if len(raw) < size {
		return nil, nil, false, &DecodeError{fmt.Sprintf("it has %d bytes, want at least %d", len(raw), size)}
	}
	// Layouts agree: the type is made from the object's BTF.
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&rec)), size), raw)
	if class := event.Class(rec.Header.Class); !slices.Contains(event.Classes(), class) {
		return nil, nil, false, &DecodeError{fmt.Sprintf("unknown event class %d", rec.Header.Class)}
	}
	rest := raw[size:]
	if want := int(rec.Header.Data) + 8*int(rec.Header.Versions); len(rest) < want {
		return nil, nil, false, &DecodeError{fmt.Sprintf("%d bytes behind the header, want %d", len(rest), want)}
	}
	data := string(rest[:rec.Header.Data]) // one copy; the strings below share it
	for i := range int(rec.Header.Versions) {
		ids = append(ids, binary.NativeEndian.Uint64(rest[int(rec.Header.Data)+8*i:]))
	}
	ev, err = d.event(&rec, data)
	return ev, ids, rec.Header.Flags&uint16(execRecordFlagRECORD_SPILLED) != 0, err
}

func (d *decoder) event(rec *execRecord, data string) (*event.Event, error) {
	var outside error
	text := func(s execSpan) string {
		from, to := int(s.Offset), int(s.Offset)+int(s.Length)
		if to > len(data) {
			outside = &DecodeError{fmt.Sprintf("a string at %d to %d of %d bytes of data", from, to, len(data))}
			return ""
		}
		return data[from:to]
	}
	flag := func(f execRecordFlag) bool { return rec.Header.Flags&uint16(f) != 0 }
	boot := d.bootTime()
	ev := &event.Event{
		Class:    event.Class(rec.Header.Class),
		Time:     boot.Add(time.Duration(rec.Header.Time)),
		Uptime:   time.Duration(rec.Header.Time),
		CPU:      rec.Header.Cpu,
		Sequence: rec.Header.Sequence,
		Epoch:    rec.Header.Epoch,
		CgroupID: rec.Cgroup,
		User:     event.User{ID: rec.Uid, EffectiveID: rec.Euid, GID: rec.Gid, EffectiveGID: rec.Egid},
		Process: event.Process{
			PID:              rec.Pid,
			Start:            boot.Add(time.Duration(rec.Start)),
			StartRel:         time.Duration(rec.Start),
			Executable:       text(rec.Executable),
			Invoked:          text(rec.Invoked),
			ArgsCount:        rec.ArgsCount,
			WorkingDirectory: text(rec.Cwd),

			ExecutableTruncated:       flag(execRecordFlagRECORD_EXECUTABLE_TRUNCATED),
			CommandLineTruncated:      flag(execRecordFlagRECORD_ARGS_TRUNCATED),
			WorkingDirectoryTruncated: flag(execRecordFlagRECORD_CWD_TRUNCATED),
		},
		Parent: event.Process{
			PID:        rec.ParentPid,
			StartRel:   time.Duration(rec.ParentStart),
			Executable: text(rec.ParentExecutable),
			Invoked:    text(rec.ParentInvoked),

			ExecutableTruncated:  flag(execRecordFlagRECORD_PARENT_EXECUTABLE_TRUNCATED),
			CommandLineTruncated: flag(execRecordFlagRECORD_PARENT_ARGS_TRUNCATED),
		},
	}
	if rec.ParentStart != 0 {
		ev.Parent.Start = boot.Add(time.Duration(rec.ParentStart))
	}
	switch ev.Class {
	case event.ProcessExit:
		ev.Exit = event.Exit{
			Code:    rec.ExitCode >> 8 & 0xff,
			Signal:  rec.ExitCode & 0x7f,
			Runtime: time.Duration(rec.Header.Time - rec.Start),
		}
	case event.FileOpen:
		ev.File = event.File{
			Path:          text(rec.FilePath),
			PathTruncated: flag(execRecordFlagRECORD_FILE_PATH_TRUNCATED),
			Read:          flag(execRecordFlagRECORD_OPEN_READ),
			Write:         flag(execRecordFlagRECORD_OPEN_WRITE),
			Create:        flag(execRecordFlagRECORD_OPEN_CREATE),
			Truncate:      flag(execRecordFlagRECORD_OPEN_TRUNCATE),
		}
	case event.NetworkConnect:
		ev.Network = network(rec)
	}
	setArgs(&ev.Process, text(rec.Args))
	setArgs(&ev.Parent, text(rec.ParentArgs))
	if outside != nil {
		return nil, outside
	}
	return ev, nil
}

// network is the peer of a network_connect record.
func network(rec *execRecord) event.Network {
	n := event.Network{Port: rec.Port}
	switch rec.Family {
	case 4:
		n.Destination = netip.AddrFrom4([4]byte(rec.Address[:4]))
	case 6:
		n.Destination = netip.AddrFrom16(rec.Address)
	}
	switch rec.Transport {
	case unix.IPPROTO_TCP:
		n.Transport = "tcp"
	case unix.IPPROTO_UDP:
		n.Transport = "udp"
	}
	return n
}

// setArgs splits a block of arguments, each ended by NUL; the last end may have been
// cut off. match_span of bpf/exec.h reads the command line in the same way.
func setArgs(p *event.Process, block string) {
	block = strings.TrimSuffix(block, "\x00")
	if block == "" && (p.ArgsCount == 0 || p.CommandLineTruncated) {
		return // none known
	}
	p.Args = strings.Split(block, "\x00")
	p.CommandLine = strings.ReplaceAll(block, "\x00", " ")
}
