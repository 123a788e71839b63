package rulestest

import (
	"net/netip"

	"bittern/internal/event"
)

// ofClass adds what only the event's class has.
func (g *Generator) ofClass(ev *event.Event) {
	switch ev.Class {
	case event.ProcessExit:
		ev.Exit = g.exit()
	case event.FileOpen:
		ev.File = g.fileOpen()
	case event.NetworkConnect:
		ev.Network = g.connection()
	case event.FileChange:
		g.fileChange(ev)
	case event.NetworkListen:
		g.networkListen(ev)
	case event.PrivilegeChange:
		g.privilegeChange(ev)
	case event.KernelChange:
		g.kernelChange(ev)
	}
}

func (g *Generator) exit() event.Exit {
	if g.oneIn(3) {
		return event.Exit{Signal: pick(g, signals)}
	}
	return event.Exit{Code: pick(g, exitCodes)}
}

func (g *Generator) file() event.File {
	return event.File{Path: g.spoil(g.value(event.FilePath)), PathTruncated: g.oneIn(8)}
}

func (g *Generator) fileOpen() event.File {
	f := g.file()
	f.Read, f.Write, f.Create, f.Truncate = !g.oneIn(4), g.oneIn(2), g.oneIn(4), g.oneIn(4)
	return f
}

// fileChange adds an operation, and of the file what the operation tells.
func (g *Generator) fileChange(ev *event.Event) {
	ev.Operation = g.value(event.FileOperation)
	ev.File = g.file()
	f := &ev.File
	f.UID, f.GID = event.NoID, event.NoID
	f.PathClaimed = g.oneIn(6)
	switch ev.Operation {
	case "rename", "link":
		f.NewPath, f.NewPathTruncated = g.spoil(g.value(event.FileNewPath)), g.oneIn(8)
	case "symlink":
		f.TargetPath = g.spoil(g.value(event.FileTargetPath))
	case "create", "mkdir", "chmod":
		if f.ModeKnown = !g.oneIn(6); f.ModeKnown {
			f.Mode = pick(g, modes)
		}
	case "chown":
		f.UID, f.GID = g.id(), g.id()
	}
}

// id is a user or group id, which may not be known.
func (g *Generator) id() uint32 {
	if g.oneIn(4) {
		return event.NoID
	}
	return pick(g, uids)
}

// connection is a peer, of which nothing may be known.
func (g *Generator) connection() event.Network {
	n := event.Network{Port: uint16(pick(g, ports)), Transport: g.transport()}
	if !g.oneIn(12) {
		n.Destination = g.address()
	}
	return n
}

// networkListen adds a socket, which has a peer only if it was accepted.
func (g *Generator) networkListen(ev *event.Event) {
	ev.Operation = g.value(event.NetworkOperation)
	n := &ev.Network
	if ev.Operation == "accept" {
		*n = g.connection()
	}
	n.Transport, n.SourcePort = g.transport(), uint16(pick(g, ports))
	switch {
	case n.Destination.IsValid(): // both sides have the same version of IP
		n.Source = netip.IPv6Loopback()
		if n.Destination.Unmap().Is4() {
			n.Source = netip.MustParseAddr("127.0.0.1")
		}
	case !g.oneIn(12):
		n.Source = g.address()
	}
}

func (g *Generator) transport() string { return pick(g, []string{"tcp", "udp", ""}) }

func (g *Generator) address() netip.Addr {
	addr := netip.MustParseAddr(pick(g, addresses))
	if addr.Is4() && g.oneIn(3) {
		return netip.AddrFrom16(addr.As16()) // mapped into IPv6
	}
	return addr
}

// privilegeChange adds an operation and what it changes.
func (g *Generator) privilegeChange(ev *event.Event) {
	ev.Operation = g.value(event.PrivilegeOperation)
	ev.File.UID, ev.File.GID = event.NoID, event.NoID
	p := &ev.Privilege
	p.UID, p.EUID, p.GID = event.NoID, event.NoID, event.NoID
	switch ev.Operation {
	case "setuid":
		p.UID, p.EUID = g.id(), g.id()
	case "setgid":
		p.GID = g.id()
	case "capset":
		p.Capabilities = g.bits(event.PrivilegeCapabilities)
	case "ptrace":
		p.TargetPID, p.TargetExecutable = uint32(g.between(0, 3)), g.spoil(g.value(event.PrivilegeTargetExecutable))
	case "unshare", "setns":
		p.Namespaces = uint32(g.bits(event.PrivilegeNamespaces))
	case "mount":
		p.MountSource, p.MountType = g.spoil(g.value(event.MountSource)), g.spoil(g.value(event.MountType))
		ev.File.Path, ev.File.PathTruncated, ev.File.PathClaimed = g.spoil(g.value(event.FilePath)), g.oneIn(8), g.oneIn(6)
	}
}

// bits are of none, some or all values of an enumerated field.
func (g *Generator) bits(f event.Field) uint64 {
	all := uint64(1)<<len(f.Info().Values) - 1
	switch g.rnd.IntN(4) {
	case 0:
		return pick(g, []uint64{0, all})
	case 1:
		return all & g.rnd.Uint64()
	}
	return all & g.rnd.Uint64() & g.rnd.Uint64() & g.rnd.Uint64()
}

// kernelChange adds what was loaded.
func (g *Generator) kernelChange(ev *event.Event) {
	ev.Operation = g.value(event.KernelOperation)
	ev.File.UID, ev.File.GID = event.NoID, event.NoID
	switch ev.Operation {
	case "module_load":
		ev.Kernel.Name = g.spoil(g.value(event.KernelName))
	case "bpf_program":
		ev.Kernel = event.KernelObject{Name: g.spoil(g.value(event.KernelName)), Type: g.value(event.KernelType)}
		if g.oneIn(8) {
			ev.Kernel.Type = ""
		}
	default:
		ev.File.Path, ev.File.PathTruncated = g.spoil(g.value(event.FilePath)), g.oneIn(8)
	}
}
