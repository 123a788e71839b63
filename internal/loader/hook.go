package loader

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

// candidate is one way to learn of the events of a class.
type candidate struct {
	name     string // as the kernel names the hook
	programs []string
	misses   string // what it does not see, or what it costs; "" if nothing
}

// source is where the events of a class can come from: the object with the programs,
// the candidates, best first, and something that makes such an event.
type source struct {
	load       func() (*ebpf.CollectionSpec, error)
	candidates []candidate
	test       func() error
}

// sources lists the classes that have a choice. The hooks of process_exec and
// process_exit are not among them: they keep the process table, and are always there.
var sources = map[event.Class]source{
	event.FileOpen: {loadFile, []candidate{
		{"lsm/file_open", []string{"on_open_lsm"}, ""},
		{"fexit/security_file_open", []string{"on_open_fexit"}, ""},
		{"tp_btf/sys_exit", []string{"on_open_sys_exit"}, "opens by io_uring; costs every system call a little while a rule needs it"},
	}, openSomeFile},
	event.NetworkConnect: {loadNetwork, []candidate{
		{"cgroup/connect4, cgroup/connect6", []string{"on_connect4", "on_connect6"}, "datagrams sent by sockets that are not connected"},
	}, connectSomewhere},
}

func openSomeFile() error {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		return err
	}
	return file.Close()
}

// connectSomewhere connects a UDP socket, which sends nothing.
func connectSomewhere() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}})
}

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

// errSilent is the reason of a hook that attaches, and does not fire.
var errSilent = errors.New("it attaches, and does not fire")

// classHook is the hook of one class: found once, attached while a rule needs it.
type classHook struct {
	found       chan struct{} // closed when hook, objects and programs are set
	hook        Hook
	objects     *ebpf.Collection // nil if there is no hook
	programs    []*ebpf.Program
	attachTypes map[*ebpf.Program]ebpf.AttachType
	cgroup      string // where programs of cgroups are attached

	mu    sync.Mutex  // guards links
	links []link.Link // none while detached
}

// probe is what finding a hook takes.
type probe struct {
	maps   map[string]*ebpf.Map // that all programs share
	vars   map[string]any
	cgroup string // to attach programs of cgroups to
}

// probeHook finds the best hook of a class: it loads and attaches each candidate in
// turn and sees whether it fires.
func probeHook(class event.Class, p probe) *classHook {
	h := &classHook{found: make(chan struct{}), hook: Hook{Class: class}, cgroup: p.cgroup}
	go func() {
		defer close(h.found)
		for _, c := range sources[class].candidates {
			err := h.try(class, c, p)
			if err == nil {
				h.hook.Name, h.hook.Misses = c.name, c.misses
				return
			}
			h.hook.Refused = append(h.hook.Refused, Refusal{c.name, shortReason(err)})
		}
	}()
	return h
}

// try loads one candidate and keeps it if it works.
func (h *classHook) try(class event.Class, c candidate, p probe) error {
	spec, err := sources[class].load()
	if err != nil {
		return err
	}
	for _, name := range c.programs {
		if spec.Programs[name] == nil {
			return errors.New("not on this architecture")
		}
	}
	for name := range spec.Programs {
		if !slices.Contains(c.programs, name) {
			delete(spec.Programs, name)
		}
	}
	shared := make(map[string]*ebpf.Map)
	for name, m := range spec.Maps {
		if known := p.maps[name]; known != nil {
			m.MaxEntries = known.MaxEntries()
			shared[name] = known
		}
	}
	for name, value := range p.vars {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	objects, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared})
	if err != nil {
		return err
	}
	h.objects, h.programs, h.attachTypes = objects, nil, make(map[*ebpf.Program]ebpf.AttachType)
	for _, name := range c.programs {
		program := objects.Programs[name]
		h.programs = append(h.programs, program)
		h.attachTypes[program] = spec.Programs[name].AttachType
	}
	if err := h.selfTest(sources[class].test); err != nil {
		objects.Close()
		h.objects, h.programs = nil, nil
		return err
	}
	return nil
}

// selfTest attaches the programs and does what they should be told of. For that,
// programs of cgroups are attached to the one that this process is in.
func (h *classHook) selfTest(act func() error) error {
	self, fired := h.objects.Variables[fileVarSelfTestTgid], h.objects.Variables[fileVarSelfTestFired]
	if err := self.Set(uint32(os.Getpid())); err != nil {
		return err
	}
	watched := h.cgroup
	defer func() { h.cgroup = watched }()
	if own, err := ownCgroup(); err == nil {
		h.cgroup = own
	}
	if err := h.attach(); err != nil {
		return err
	}
	defer h.detach()
	if err := act(); err != nil {
		return err
	}
	var n uint64
	if err := fired.Get(&n); err != nil {
		return err
	}
	if n == 0 {
		return errSilent
	}
	return self.Set(uint32(0))
}

// attach makes events of the class flow. It does nothing if they do already.
func (h *classHook) attach() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.links) > 0 {
		return nil
	}
	for _, p := range h.programs {
		l, err := h.attachProgram(p)
		if err != nil {
			return errors.Join(err, h.detachLocked())
		}
		h.links = append(h.links, l)
	}
	return nil
}

func (h *classHook) attachProgram(p *ebpf.Program) (link.Link, error) {
	switch p.Type() {
	case ebpf.LSM:
		return link.AttachLSM(link.LSMOptions{Program: p})
	case ebpf.CGroupSockAddr:
		if h.cgroup == "" {
			return nil, errNoCgroup
		}
		return link.AttachCgroup(link.CgroupOptions{Path: h.cgroup, Attach: h.attachTypes[p], Program: p})
	}
	return link.AttachTracing(link.TracingOptions{Program: p})
}

// detach ends them.
func (h *classHook) detach() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.detachLocked()
}

func (h *classHook) detachLocked() error {
	var errs []error
	for _, l := range h.links {
		errs = append(errs, l.Close())
	}
	h.links = nil
	return errors.Join(errs...)
}

// need attaches the hook for a rule, once it is known which that is.
func (h *classHook) need() error {
	<-h.found
	if h.objects == nil {
		return &UnsupportedError{h.hook}
	}
	if err := h.attach(); err != nil {
		return fmt.Errorf("attaching %s: %w", h.hook.Name, err)
	}
	return nil
}

func (h *classHook) close() error {
	<-h.found
	err := h.detach()
	if h.objects != nil {
		h.objects.Close()
	}
	return err
}

// shortReason leaves out what the verifier says at length.
func shortReason(err error) string {
	if errors.Is(err, os.ErrPermission) {
		return "not permitted here"
	}
	if errors.Is(err, ebpf.ErrNotSupported) {
		return "not supported by this kernel"
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}
