package event_test

import (
	"net/netip"
	"strings"
	"time"

	"bittern/internal/event"
)

func sampleExit() *event.Detection {
	d := sample()
	e := d.Event
	e.Class = event.ProcessExit
	e.Process.Start, e.Process.StartRel, e.Process.WorkingDirectory, e.Process.ArgsCount = e.Time.Add(-1500*time.Millisecond), time.Hour-1500*time.Millisecond, "", 0
	e.Exit = event.Exit{Code: 2, Runtime: 1500 * time.Millisecond}
	d.Evidence = []event.Field{event.ProcessExitCode, event.ProcessExitSignal}
	return d
}

// sampleRepeats is of a window that goes on, and of a process with a name that is odd.
func sampleRepeats() *event.Repeats {
	d := sample()
	at := d.Event.Time
	return &event.Repeats{
		ID: "019ab1c2-0000-7000-8000-000000000003", Count: 120, Total: 240,
		First: at.Add(-58 * time.Second), Last: at, Began: at.Add(-2 * time.Minute),
		Rule: d.Rule, State: "clipped", Tags: d.Tags, Host: d.Host,
		Limit: event.Limit{Per: "process", Max: 5, Window: 5 * time.Minute},
		Source: event.Source{Process: event.Process{
			PID: 4700, StartRel: time.Second, EntityID: event.EntityID(d.Host.BootID, 4700, time.Second), Executable: "/tmp/a\n\xff",
		}},
	}
}

func userRepeats() *event.Repeats {
	r := sampleRepeats()
	r.Limit.Per, r.Count, r.Total, r.Over, r.State = "user", 1, 1, true, ""
	r.Source = event.Source{User: event.User{ID: 1000, EffectiveID: 1000, Name: "alice"}}
	return r
}

func ruleRepeats() *event.Repeats {
	r := sampleRepeats()
	r.Limit.Per, r.Over, r.Source, r.Tags, r.Host = "rule", true, event.Source{}, nil, nil
	return r
}

// sampleClipped is of a rule whose confidence an operator has limited.
func sampleClipped() *event.Detection {
	d := sample()
	d.State = "clipped"
	for i := range d.Tags {
		d.Tags[i].Confidence = 0.25
	}
	return d
}

func sampleKilled() *event.Detection {
	d := sampleExit()
	d.Event.Exit = event.Exit{Signal: 11, Runtime: 90*time.Second + time.Microsecond}
	return d
}

func sampleOpen() *event.Detection {
	d := sample()
	e := d.Event
	e.Class = event.FileOpen
	e.Process.WorkingDirectory, e.Process.ArgsCount = "", 0
	e.File = event.File{Path: "/home/alice/.ssh/known hosts.old", PathTruncated: true, Read: true, Write: true, Create: true, Truncate: true}
	d.Evidence = []event.Field{event.FilePath, event.FileName, event.FileOpenRead, event.FilePathTruncated}
	return d
}

func sampleConnect() *event.Detection {
	d := sample()
	e := d.Event
	e.Class = event.NetworkConnect
	e.Process.WorkingDirectory, e.Process.ArgsCount = "", 0
	e.Network = event.Network{Destination: netip.MustParseAddr("::ffff:198.51.100.7"), Port: 443, Transport: "tcp"}
	d.Evidence = []event.Field{event.DestinationIP, event.DestinationPort, event.NetworkTransport, event.NetworkType}
	return d
}

func sampleConnect6() *event.Detection {
	d := sampleConnect()
	d.Event.Network = event.Network{Destination: netip.MustParseAddr("2001:db8:0:0::1%eth0"), Port: 53, Transport: "udp"}
	return d
}

// unknownPeer is what is written of a connection of which nothing is known.
func unknownPeer() *event.Detection {
	d := sampleConnect()
	d.Event.Network = event.Network{}
	return d
}

// hostileOpen has bytes in the file's path that are neither text nor harmless.
func hostileOpen() *event.Detection {
	d := sampleOpen()
	d.Host = nil
	d.Event.File = event.File{Path: "/tmp/\x1b[2J/\xff\n.so\\\xe9"}
	return d
}

// sampleOf is the sample as another class has it, with nothing of the class known.
func sampleOf(class event.Class, operation string, evidence ...event.Field) *event.Detection {
	d := sample()
	ev := event.Blank(class)
	from := d.Event
	ev.Time, ev.CPU, ev.Sequence, ev.Epoch = from.Time, from.CPU, from.Sequence, from.Epoch
	ev.Process, ev.Parent, ev.User = from.Process, from.Parent, from.User
	ev.Process.WorkingDirectory, ev.Process.ArgsCount = "", 0
	ev.Operation = operation
	d.Event, d.Evidence = &ev, evidence
	return d
}

// sampleRename is by a script in a container, on a hook that sees only the call.
func sampleRename() *event.Detection {
	d := sampleOf(event.FileChange, "rename", event.FileOperation, event.FileNewPath, event.FileModeSetuid, event.FileUID, event.FieldContainerID)
	e := d.Event
	e.File.Path, e.File.NewPath = "/tmp/.x", "/etc/cron.d/x"
	e.File.PathClaimed, e.File.NewPathTruncated = true, true
	e.CgroupPath = "/docker-" + strings.Repeat("0a", 32) + ".scope"
	e.ContainerID = event.ContainerID(e.CgroupPath)
	e.Process.Executable, e.Process.Invoked, e.Process.Script = "/usr/bin/python3.11", "/tmp/x.py", "/tmp/x.py"
	return d
}

func sampleSymlink() *event.Detection {
	d := sampleOf(event.FileChange, "symlink")
	d.Event.File.Path, d.Event.File.TargetPath = "/tmp/a b", "../etc/shadow"
	return d
}

// sampleChmod is by an image that has no file.
func sampleChmod() *event.Detection {
	d := sampleOf(event.FileChange, "chmod", event.FileModeSetuid, event.FileModeWorldWritable)
	e := d.Event
	e.File.Path, e.File.Mode, e.File.ModeKnown = "/usr/bin/bash", 0o4755, true
	e.Process.Executable, e.Process.Invoked = "memfd:x", "/proc/self/fd/3"
	e.Process.ExecutableMemfd, e.Process.ExecutableDeleted = true, true
	return d
}

func hostileChange() *event.Detection {
	d := sampleOf(event.FileChange, "rename", event.FileNewPath)
	d.Host = nil
	e := d.Event
	e.File.Path, e.File.NewPath, e.File.TargetPath = "/tmp/a", "/tmp/\x1b[2J\xff\n", "\u202e\xe9 x"
	e.Process.Script, e.Process.ExecutableDeleted = "/tmp/\x80 script=\n", true
	e.CgroupPath = "/\xff\x00"
	return d
}

func sampleAccept() *event.Detection {
	d := sampleOf(event.NetworkListen, "accept", event.NetworkOperation, event.SourceIP, event.SourcePort, event.NetworkType)
	d.Event.Network = event.Network{
		Source: netip.MustParseAddr("::ffff:127.0.0.1"), SourcePort: 22,
		Destination: netip.MustParseAddr("198.51.100.7"), Port: 51234, Transport: "tcp",
	}
	return d
}

func sampleBind() *event.Detection {
	d := sampleOf(event.NetworkListen, "bind", event.DestinationIP, event.NetworkType)
	d.Event.Network = event.Network{Source: netip.MustParseAddr("::"), SourcePort: 53, Transport: "udp"}
	return d
}

func sampleSetuid() *event.Detection {
	d := sampleOf(event.PrivilegeChange, "setuid", event.UserChangesID, event.UserChangesEffectiveID, event.UserChangesGroupID)
	d.Event.Privilege.EUID = 0
	return d
}

func samplePtrace() *event.Detection {
	d := sampleOf(event.PrivilegeChange, "ptrace", event.PrivilegeTargetPID, event.PrivilegeTargetExecutable)
	d.Event.Privilege.TargetPID, d.Event.Privilege.TargetExecutable = 4711, "/usr/bin/x"
	return d
}

func sampleMount() *event.Detection {
	d := sampleOf(event.PrivilegeChange, "mount", event.MountType, event.FilePath, event.FilePathClaimed)
	d.Event.Privilege.MountSource, d.Event.Privilege.MountType = "/dev/sda1", "ext4"
	d.Event.File.Path, d.Event.File.PathClaimed = "/mnt", true
	return d
}

func sampleCapset() *event.Detection {
	d := sampleOf(event.PrivilegeChange, "capset", event.PrivilegeCapabilities, event.PrivilegeNamespaces)
	d.Event.Privilege.Capabilities, d.Event.Privilege.Namespaces = 1<<63|1<<40|1<<21|1, 1<<2|1<<6
	return d
}

func allCapabilities() *event.Detection {
	d := sampleCapset()
	d.Event.Privilege.Capabilities = ^uint64(0)
	return d
}

func sampleModule() *event.Detection {
	d := sampleOf(event.KernelChange, "module_file", event.FileName)
	d.Event.File.Path = "/tmp/diamorphine.ko"
	return d
}

func sampleProgram() *event.Detection {
	d := sampleOf(event.KernelChange, "bpf_program", event.KernelName, event.KernelType)
	d.Event.Kernel = event.KernelObject{Name: "x", Type: "kprobe"}
	return d
}

func sampleKexec() *event.Detection { return sampleOf(event.KernelChange, "kexec") }

// sampleBlank is of a class with an operation, which is not known.
func sampleBlank() *event.Detection { return sampleOf(event.PrivilegeChange, "") }
