// Package event holds what the kernel saw, decoded, and what Bittern says
// about it. It is the only place that knows the names of the Elastic Common
// Schema (ECS).
package event

import "time"

// Event is one decoded kernel record. The decoder fills it once; after that
// nobody writes to it.
type Event struct {
	Class    Class
	Time     time.Time     // wall clock at the event
	Uptime   time.Duration // since boot, suspended time included
	CPU      uint32
	Sequence uint64 // per CPU and class, from 1; a missing number is a lost record
	Epoch    uint64 // rule epoch that judged it

	Process Process
	Parent  Process // PID 0 if the kernel knows no parent
	User    User

	// Operation is what was done, in the classes that tell several apart: one of the
	// Values of file.operation, network.operation, privilege.operation or
	// kernel.operation; "" if not known.
	Operation string
	Exit      Exit         // process_exit
	File      File         // file_open, file_change; what was mounted on, or loaded, in privilege_change and kernel_change
	Network   Network      // network_connect, network_listen
	Privilege Privilege    // privilege_change
	Kernel    KernelObject // kernel_change

	CgroupID    uint64 // inode number of the cgroup v2 directory
	CgroupPath  string // last components of its path, for example "/docker-<64 hex>.scope"; "" if not known
	ContainerID string // of CgroupPath, see the function ContainerID
}

// NoID stands for a user or group id that was not changed or is not known.
const NoID = ^uint32(0)

// Blank returns an event of a class of which nothing else is known.
func Blank(class Class) Event {
	return Event{
		Class:     class,
		File:      File{UID: NoID, GID: NoID},
		Privilege: Privilege{UID: NoID, EUID: NoID, GID: NoID},
	}
}

// Process describes a process at the time of an event.
type Process struct {
	PID      uint32        // thread group id in the initial pid namespace
	Start    time.Time     // zero if not known
	StartRel time.Duration // start since boot; with PID and boot id it names the process for good
	EntityID string        // stable unique id, "" if not known

	Executable string // resolved path as the process sees it
	Invoked    string // path given to execve, may be relative; "" if not known
	Script     string // path given to execve of a script whose interpreter Executable is; "" if there is none, or not known
	Args       []string
	ArgsCount  uint32 // as given to execve; more than len(Args) if they were cut short
	// CommandLine is Args joined by single spaces. Bytes, not necessarily UTF-8.
	CommandLine      string
	WorkingDirectory string

	ExecutableTruncated       bool
	CommandLineTruncated      bool
	WorkingDirectoryTruncated bool
	ExecutableDeleted         bool // the image's file had no name any more when it was executed
	ExecutableMemfd           bool // the image is an anonymous file of memfd_create(2)
}

// Exit says how a process ended.
type Exit struct {
	Code    uint32 // exit status, 0 to 255; 0 if a signal ended it
	Signal  uint32 // the signal that ended it, 0 if it ended by itself
	Runtime time.Duration
}

// User is the identity an event happened under.
type User struct {
	ID, EffectiveID   uint32
	GID, EffectiveGID uint32
	Name              string // "" if not looked up or unknown
}
