package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/cilium/ebpf"

	"bittern/internal/event"
)

// fixedHooks are those that are always there.
var fixedHooks = []Hook{
	{Class: event.ProcessExec, Name: "tp_btf/sched_process_exec"},
	{Class: event.ProcessExit, Name: "tp_btf/sched_process_exit"},
}

// Hook says where the events of a class come from on this host.
type Hook struct {
	Class  event.Class
	Name   string // as the kernel names it, for example "lsm/file_open"; "" if there is none
	Misses string // what it does not see, or costs; "" if nothing
	// Refused says why the better ones were not taken, or why there is none.
	Refused []Refusal
}

// Refusal says why a hook was not taken.
type Refusal struct {
	Name   string
	Reason string
	Remedy string // what would make it work; "" if nothing is known
}

// An UnsupportedError says that no hook gives the events of a class here.
type UnsupportedError struct{ Hook Hook }

func (e *UnsupportedError) Error() string {
	reasons := make([]string, len(e.Hook.Refused))
	for i, r := range e.Hook.Refused {
		reasons[i] = r.Name + ": " + r.Reason
	}
	return fmt.Sprintf("unsupported here: this kernel offers no hook for %s (%s)", e.Hook.Class, strings.Join(reasons, "; "))
}

// errNoCgroup is the reason of programs of cgroups where cgroup v2 is not mounted.
var errNoCgroup = errors.New("no cgroup2 file system is mounted")

// errNotSupported is the kernel's own ENOTSUPP, which package syscall does not know.
const errNotSupported = syscall.Errno(524)

// errPassive is the reason of programs that are security modules where none may be one.
var errPassive = errors.New("bpf is not among the active security modules")

// errKept is the reason of hooks that were not tried.
var errKept = errors.New("not tried, since the agent before has left another attached, through which events go on")

// errSilent is the reason of a hook that attaches, and does not fire.
var errSilent = errors.New("it attaches, and does not fire")

// passive reports, before anything is loaded, that the programs of a candidate would attach
// and not be run.
func passive(c candidate) error {
	if active, err := securityModules(); err == nil && strings.HasPrefix(c.name, "lsm/") && !slices.Contains(active, "bpf") {
		return errPassive
	}
	return nil
}

// refusal says why a candidate was not taken, and what would help.
func refusal(c candidate, err error) Refusal {
	r := Refusal{Name: c.name, Reason: shortReason(err)}
	older := olderKernel(c.least)
	switch {
	case errors.Is(err, errNoCgroup):
		r.Remedy = "mount it: mount -t cgroup2 none /sys/fs/cgroup"
	case errors.Is(err, os.ErrPermission):
		r.Remedy = "allow it: kernel lockdown, a seccomp filter or the container's runtime forbids it"
	case older:
		r.Remedy = "run Linux " + c.least + " or later"
	case errors.Is(err, errKept):
		r.Remedy = "stop the agent, run bittern unload, and start it again: events in between are missed"
	case errors.Is(err, errPassive):
		r.Remedy = "boot with bpf in the parameter lsm="
	}
	return r
}

// shortReason leaves out what the verifier says at length.
func shortReason(err error) string {
	switch {
	case errors.Is(err, os.ErrPermission):
		return "not permitted here"
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, errNotSupported):
		return "not supported by this kernel"
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}
