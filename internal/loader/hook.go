package loader

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"bittern/internal/event"
)

// candidate is one way to learn of the events of a class.
type candidate struct {
	name    string // as the kernel names the hook
	program string
	misses  string // what it does not see, or what it costs; "" if nothing
}

// hookTable lists the candidates of each class that has a choice, best first. The
// hooks of process_exec and process_exit are not among them: they keep the process
// table, and are always there.
var hookTable = map[event.Class][]candidate{
	event.FileOpen: {
		{"lsm/file_open", "on_open_lsm", ""},
		{"fexit/security_file_open", "on_open_fexit", ""},
		{"tp_btf/sys_exit", "on_open_sys_exit", "opens by io_uring; costs every system call a little while a rule needs it"},
	},
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

// errSilent is the reason of a hook that attaches, and does not fire.
var errSilent = errors.New("it attaches, and does not fire")

// classHook is the hook of one class: found once, attached while a rule needs it.
type classHook struct {
	found   chan struct{} // closed when hook and programs are set
	hook    Hook
	objects *ebpf.Collection // nil if there is no hook
	program *ebpf.Program

	mu   sync.Mutex // guards link
	link link.Link  // nil while detached
}

// probeHook finds the best hook of a class: it loads and attaches each candidate in
// turn and sees whether it fires. base holds the maps that all programs share.
func probeHook(class event.Class, base map[string]*ebpf.Map, vars map[string]any) *classHook {
	h := &classHook{found: make(chan struct{}), hook: Hook{Class: class}}
	go func() {
		defer close(h.found)
		for _, c := range hookTable[class] {
			err := h.try(c, base, vars)
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
func (h *classHook) try(c candidate, base map[string]*ebpf.Map, vars map[string]any) error {
	spec, err := loadFile()
	if err != nil {
		return err
	}
	if spec.Programs[c.program] == nil {
		return errors.New("not on this architecture")
	}
	for name := range spec.Programs {
		if name != c.program {
			delete(spec.Programs, name)
		}
	}
	shared := make(map[string]*ebpf.Map)
	for name, m := range spec.Maps {
		if known := base[name]; known != nil {
			m.MaxEntries = known.MaxEntries()
			shared[name] = known
		}
	}
	for name, value := range vars {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("setting %s: %w", name, err)
		}
	}
	objects, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared})
	if err != nil {
		return err
	}
	h.objects, h.program = objects, objects.Programs[c.program]
	if err := h.selfTest(); err != nil {
		objects.Close()
		h.objects, h.program = nil, nil
		return err
	}
	return nil
}

// selfTest attaches the program and opens a file, to see whether it is told.
func (h *classHook) selfTest() error {
	self, fired := h.objects.Variables[fileVarSelfTestTgid], h.objects.Variables[fileVarSelfTestFired]
	if err := self.Set(uint32(os.Getpid())); err != nil {
		return err
	}
	if err := h.attach(); err != nil {
		return err
	}
	defer h.detach()
	file, err := os.Open("/proc/self/status")
	if err != nil {
		return err
	}
	file.Close()
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
	if h.link != nil {
		return nil
	}
	var err error
	if h.program.Type() == ebpf.LSM {
		h.link, err = link.AttachLSM(link.LSMOptions{Program: h.program})
	} else {
		h.link, err = link.AttachTracing(link.TracingOptions{Program: h.program})
	}
	return err
}

// detach ends them.
func (h *classHook) detach() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.link == nil {
		return nil
	}
	l := h.link
	h.link = nil
	return l.Close()
}

// need attaches the hook for a rule, once it is known which that is.
func (h *classHook) need() error {
	<-h.found
	if h.program == nil {
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
