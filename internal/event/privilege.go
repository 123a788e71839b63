package event

import (
	"fmt"
	"slices"
	"strings"
)

// Privilege is what a process can do after a privilege_change, or whom it can do it to.
type Privilege struct {
	UID, EUID, GID   uint32 // after setuid, setgid; NoID if not changed or not known
	Capabilities     uint64 // effective set after capset; bit n is capability n
	Namespaces       uint32 // bits in the order of the Values of privilege.namespaces
	TargetPID        uint32 // ptrace; 0 if there is none
	TargetExecutable string
	MountSource      string
	MountType        string
}

var privilegeOperations = []string{"setuid", "setgid", "capset", "ptrace", "unshare", "setns", "mount"}

// privilegeOperationDocs say what each operation is, and which fields it has.
var privilegeOperationDocs = []string{
	"user ids change: `user.changes.*`",
	"group ids change: `user.changes.group.id`",
	"capabilities change: `privilege.capabilities`",
	"a process takes hold of another: `privilege.target.*`",
	"a process leaves namespaces for new ones: `privilege.namespaces`",
	"a process leaves namespaces for those of others: `privilege.namespaces`",
	"a file system is mounted: `file.path`, `mount.*`",
}

// namespaces are in the order of the bits of Privilege.Namespaces.
var namespaces = []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}

// capabilities are in the order of their numbers, see linux/capability.h.
var capabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW",
	"CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT",
	"CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD",
	"CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
	"CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// appendBits appends the names of the bits that are set.
func appendBits(dst []string, set uint64, names []string) []string {
	for i, name := range names {
		if set>>i&1 != 0 {
			dst = append(dst, name)
		}
	}
	return dst
}

// bitsOf returns the bits of names, each of which is in the list.
func bitsOf(given, names []string) uint64 {
	var set uint64
	for _, name := range given {
		set |= 1 << slices.Index(names, name)
	}
	return set
}

func (p *Privilege) text(f Field) string {
	switch f {
	case PrivilegeTargetExecutable:
		return p.TargetExecutable
	case MountSource:
		return p.MountSource
	case MountType:
		return p.MountType
	}
	return ""
}

func (p *Privilege) setTexts(f Field, values []string) {
	switch f {
	case PrivilegeCapabilities:
		p.Capabilities = bitsOf(values, capabilities)
	case PrivilegeNamespaces:
		p.Namespaces = uint32(bitsOf(values, namespaces))
	case PrivilegeTargetExecutable:
		p.TargetExecutable = values[0]
	case MountSource:
		p.MountSource = values[0]
	case MountType:
		p.MountType = values[0]
	}
}

func (p *Privilege) number(f Field) (value uint64, ok bool) {
	switch f {
	case PrivilegeTargetPID:
		return uint64(p.TargetPID), p.TargetPID != 0
	case UserChangesID:
		return uint64(p.UID), p.UID != NoID
	case UserChangesEffectiveID:
		return uint64(p.EUID), p.EUID != NoID
	case UserChangesGroupID:
		return uint64(p.GID), p.GID != NoID
	}
	return 0, false
}

func (p *Privilege) setNumber(f Field, value uint64) error {
	switch f {
	case PrivilegeTargetPID:
		p.TargetPID = uint32(value)
	case UserChangesID:
		p.UID = uint32(value)
	case UserChangesEffectiveID:
		p.EUID = uint32(value)
	case UserChangesGroupID:
		p.GID = uint32(value)
	default:
		return fmt.Errorf("setting %s: not a number", f)
	}
	return nil
}

// appendUserChanges writes user.changes.*.
func appendUserChanges(w *writer, e *Event) {
	if e.Class != PrivilegeChange {
		return
	}
	p := &e.Privilege
	w.object("changes", "user.changes.", func() {
		w.knownID("id", p.UID)
		w.object("effective", "user.changes.effective.", func() { w.knownID("id", p.EUID) })
		w.object("group", "user.changes.group.", func() { w.knownID("id", p.GID) })
	})
}

func appendPrivilege(w *writer, p *Privilege) {
	w.texts("capabilities", appendBits(nil, p.Capabilities, capabilities))
	w.texts("namespaces", appendBits(nil, uint64(p.Namespaces), namespaces))
	w.object("target", "bittern.target.", func() {
		if p.TargetPID != 0 {
			w.number("pid", uint64(p.TargetPID))
		}
		w.text("executable", p.TargetExecutable)
	})
	w.object("mount", "bittern.mount.", func() {
		w.text("source", p.MountSource)
		w.text("type", p.MountType)
	})
}

// privilegeChange appends what a process of a privilege_change did.
func (l *line) privilegeChange(e *Event) {
	p := &e.Privilege
	l.known("privilege", e.Operation)
	l.knownID("uid", p.UID)
	l.knownID("euid", p.EUID)
	l.knownID("gid", p.GID)
	if all := uint64(1)<<len(capabilities) - 1; p.Capabilities&all == all {
		l.word("capabilities", "all")
	} else {
		l.known("capabilities", strings.Join(appendBits(nil, p.Capabilities, capabilities), ","))
	}
	l.known("namespaces", strings.Join(appendBits(nil, uint64(p.Namespaces), namespaces), ","))
	if p.TargetPID != 0 {
		l.knownID("target", p.TargetPID)
	}
	l.known("target_exe", p.TargetExecutable)
	l.known("mount", p.MountSource)
	l.known("type", p.MountType)
	l.known("file", e.File.Path)
}
