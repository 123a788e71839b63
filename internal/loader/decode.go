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

// decode returns the event and the ids of the versions that let it pass. The fixed part of the record
// has the given number of bytes: more or less than here if another build has made it.
func (d *decoder) decode(raw []byte, fixed int) (ev *event.Event, ids []uint64, spilled bool, err error) {
	var rec execRecord
	if len(raw) < fixed {
		return nil, nil, false, &DecodeError{fmt.Sprintf("it has %d bytes, want at least %d", len(raw), fixed)}
	}
	// Layouts agree: the type is made from the object's BTF.
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&rec)), recordBytes), raw[:fixed])
	if class := event.Class(rec.Header.Class); !slices.Contains(event.Classes(), class) {
		return nil, nil, false, &DecodeError{fmt.Sprintf("unknown event class %d", rec.Header.Class)}
	}
	rest := raw[fixed:]
	if want := int(rec.Header.Data) + 8*int(rec.Header.Versions); len(rest) < want {
		return nil, nil, false, &DecodeError{fmt.Sprintf("%d bytes behind the header, want %d", len(rest), want)}
	}
	data := string(rest[:rec.Header.Data]) // one copy; the strings below share it
	for i := range int(rec.Header.Versions) {
		ids = append(ids, binary.NativeEndian.Uint64(rest[int(rec.Header.Data)+8*i:]))
	}
	ev, err = d.event(&rec, data)
	return ev, ids, rec.Header.Flags&uint32(execRecordFlagRECORD_SPILLED) != 0, err
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
	flag := func(f execRecordFlag) bool { return rec.Header.Flags&uint32(f) != 0 }
	boot := d.bootTime()
	ev := &event.Event{
		Class:    event.Class(rec.Header.Class),
		Time:     boot.Add(time.Duration(rec.Header.Time)),
		Uptime:   time.Duration(rec.Header.Time),
		CPU:      rec.Header.Cpu,
		Sequence: rec.Header.Sequence,
		Epoch:    rec.Header.Epoch,

		CgroupID:   rec.Cgroup,
		CgroupPath: text(rec.CgroupPath),
		User:       event.User{ID: rec.Uid, EffectiveID: rec.Euid, GID: rec.Gid, EffectiveGID: rec.Egid},
		Process: event.Process{
			PID:              rec.Pid,
			Start:            boot.Add(time.Duration(rec.Start)),
			StartRel:         time.Duration(rec.Start),
			Executable:       text(rec.Executable),
			Invoked:          text(rec.Invoked),
			ArgsCount:        rec.ArgsCount,
			WorkingDirectory: text(rec.Cwd),

			ExecutableTruncated:       flag(execRecordFlagRECORD_EXECUTABLE_TRUNCATED),
			ExecutableDeleted:         flag(execRecordFlagRECORD_EXECUTABLE_DELETED),
			ExecutableMemfd:           flag(execRecordFlagRECORD_EXECUTABLE_MEMFD),
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
	ev.ContainerID = event.ContainerID(ev.CgroupPath)
	if flag(execRecordFlagRECORD_SCRIPT) {
		ev.Process.Script = ev.Process.Invoked
	}
	d.ofClass(ev, rec, text, flag)
	setArgs(&ev.Process, text(rec.Args))
	setArgs(&ev.Parent, text(rec.ParentArgs))
	if outside != nil {
		return nil, outside
	}
	return ev, nil
}

// ofClass sets what only some classes have.
func (d *decoder) ofClass(ev *event.Event, rec *execRecord, text func(execSpan) string, flag func(execRecordFlag) bool) {
	blank := event.Blank(ev.Class)
	ev.File, ev.Privilege = blank.File, blank.Privilege
	switch ev.Class {
	case event.ProcessExit:
		ev.Exit = event.Exit{
			Code:    rec.ExitCode >> 8 & 0xff,
			Signal:  rec.ExitCode & 0x7f,
			Runtime: time.Duration(rec.Header.Time - rec.Start),
		}
	case event.FileOpen, event.FileChange, event.PrivilegeChange, event.KernelChange:
		ev.File = event.File{
			Path:             text(rec.FilePath),
			PathTruncated:    flag(execRecordFlagRECORD_FILE_PATH_TRUNCATED),
			PathClaimed:      flag(execRecordFlagRECORD_PATH_CLAIMED),
			Read:             flag(execRecordFlagRECORD_OPEN_READ),
			Write:            flag(execRecordFlagRECORD_OPEN_WRITE),
			Create:           flag(execRecordFlagRECORD_OPEN_CREATE),
			Truncate:         flag(execRecordFlagRECORD_OPEN_TRUNCATE),
			NewPath:          text(rec.NewPath),
			NewPathTruncated: flag(execRecordFlagRECORD_NEW_PATH_TRUNCATED),
			TargetPath:       text(rec.TargetPath),
			Mode:             rec.Mode,
			ModeKnown:        flag(execRecordFlagRECORD_MODE_KNOWN),
			UID:              rec.FileUid,
			GID:              rec.FileGid,
		}
	case event.NetworkConnect, event.NetworkListen:
		ev.Network = network(rec)
	}
	switch ev.Class {
	case event.FileChange:
		ev.Operation = named(event.FileOperation, rec.Operation)
	case event.NetworkListen:
		ev.Operation = named(event.NetworkOperation, rec.Operation)
	case event.PrivilegeChange:
		ev.Operation = named(event.PrivilegeOperation, rec.Operation)
		ev.Privilege = event.Privilege{
			UID: rec.NewUid, EUID: rec.NewEuid, GID: rec.NewGid,
			Capabilities: rec.Capabilities, Namespaces: rec.Namespaces,
			TargetPID: rec.TargetPid, TargetExecutable: text(rec.TargetExecutable),
			MountSource: text(rec.MountSource), MountType: text(rec.MountType),
		}
	case event.KernelChange:
		ev.Operation = named(event.KernelOperation, rec.Operation)
		ev.Kernel = event.KernelObject{Name: text(rec.KernelName), Type: named(event.KernelType, rec.KernelType)}
	}
}

// named returns the value of an enumerated field that has the code, "" if none has.
func named[T uint8 | uint32](f event.Field, code T) string {
	values := f.Info().Values
	if code == 0 || int(code) > len(values) {
		return ""
	}
	return values[code-1]
}

// network is what a record says of a socket's two sides.
func network(rec *execRecord) event.Network {
	n := event.Network{
		Destination: address(rec.Family, rec.Address), Port: rec.Port,
		Source: address(rec.SourceFamily, rec.Source), SourcePort: rec.SourcePort,
	}
	switch rec.Transport {
	case unix.IPPROTO_TCP:
		n.Transport = "tcp"
	case unix.IPPROTO_UDP:
		n.Transport = "udp"
	}
	return n
}

// address is the zero Addr if the family is 0.
func address(family uint8, bytes [16]byte) netip.Addr {
	switch family {
	case 4:
		return netip.AddrFrom4([4]byte(bytes[:4]))
	case 6:
		return netip.AddrFrom16(bytes)
	}
	return netip.Addr{}
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
