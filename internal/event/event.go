// Package event holds what the kernel saw, decoded, and what Bittern says
// about it. It is the only place that knows the names of the Elastic Common
// Schema (ECS).
package event

import (
	"net/netip"
	"time"
)

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

	Exit    Exit    // process_exit
	File    File    // file_open
	Network Network // network_connect

	CgroupID uint64 // inode number of the cgroup v2 directory
}

// Process describes a process at the time of an event.
type Process struct {
	PID      uint32        // thread group id in the initial pid namespace
	Start    time.Time     // zero if not known
	StartRel time.Duration // start since boot; with PID and boot id it names the process for good
	EntityID string        // stable unique id, "" if not known

	Executable string // resolved path as the process sees it
	Invoked    string // path given to execve, may be relative; "" if not known
	Args       []string
	ArgsCount  uint32 // as given to execve; more than len(Args) if they were cut short
	// CommandLine is Args joined by single spaces. Bytes, not necessarily UTF-8.
	CommandLine      string
	WorkingDirectory string

	ExecutableTruncated       bool
	CommandLineTruncated      bool
	WorkingDirectoryTruncated bool
}

// Exit says how a process ended.
type Exit struct {
	Code    uint32 // exit status, 0 to 255; 0 if a signal ended it
	Signal  uint32 // the signal that ended it, 0 if it ended by itself
	Runtime time.Duration
}

// File is the file that was opened, and how.
type File struct {
	Path          string // as the process sees it; "" if not known
	PathTruncated bool

	Read, Write bool
	Create      bool // it was to be created if it did not exist
	Truncate    bool // it was to be emptied
}

// Network is the peer that a socket was to be connected to.
type Network struct {
	Destination netip.Addr // the zero Addr if not known
	Port        uint16
	Transport   string // "tcp", "udp", or "" if it is another
}

// User is the identity an event happened under.
type User struct {
	ID, EffectiveID   uint32
	GID, EffectiveGID uint32
	Name              string // "" if not looked up or unknown
}
