package loader

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// host is what all programs share: maps, and what they are told.
type host struct {
	maps   map[string]*ebpf.Map
	vars   map[string]any
	types  kernelTypes
	found  func(Hook) // see Config
	cgroup string     // to attach programs of cgroups to; "" if there is none
	pins   *pins      // where stubs are kept; nil if they go with this process
	log    *slog.Logger
	// ended waits until no event is in programs any more that were attached only to be tried. An event that
	// has met those of the agent before us as well would be reported by both, were rules live before.
	ended func() error
}

// attach makes the events of a program's hook flow to it: from one event to the next, if
// another agent has left a stub there.
func (h *host) attach(p *program) (*stub, error) {
	if h.pins == nil {
		return h.attachFor(p, h.cgroup)
	}
	dir, err := h.pins.hook(p, h.cgroup)
	if err != nil {
		return nil, err
	}
	s, err := adoptStub(dir)
	if s != nil {
		if err = s.hand(p); err == nil {
			return s, nil
		}
		defer s.release()
	}
	if err != nil {
		// The old stub is damaged, or for programs of another kind. It stays until ours is attached.
		h.log.Warn("a hook can't be taken over: events may be seen twice until the old one is detached", "hook", dir, "error", err)
	}
	s, err = h.attachFor(p, h.cgroup)
	if err != nil {
		return nil, err
	}
	if err := removePins(dir); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err := s.keep(dir); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// inherits reports whether an agent before us has left programs attached: all of these, of which there are some.
func (h *host) inherits(programs []string) bool {
	if h.pins == nil || len(programs) == 0 {
		return false
	}
	left, err := list(h.pins.hooks())
	return err == nil && !slices.ContainsFunc(programs, func(name string) bool {
		return !slices.ContainsFunc(left, func(pin string) bool { return pinOf(pin) == name })
	})
}

// attachFor attaches a stub that goes with this process.
func (h *host) attachFor(p *program, cgroup string) (*stub, error) {
	types := h.types.borrow()
	defer h.types.giveBack()
	s, err := attachStub(p, cgroup, types)
	if err != nil {
		return nil, fmt.Errorf("attaching %s: %w", p.name, err)
	}
	return s, nil
}

// program is one loaded program of a hook.
type program struct {
	*ebpf.Program
	name    string
	spec    *ebpf.ProgramSpec // what it is attached to; without instructions
	objects *ebpf.Collection
}

// errNotHere is the reason of programs that are for other architectures.
var errNotHere = errors.New("not on this architecture")

// loadProgram loads one program of an object, which it leaves as it is, by itself, so that one that this kernel
// refuses takes no other along.
func (h *host) loadProgram(spec *ebpf.CollectionSpec, name string) (*program, error) {
	types := h.types.borrow()
	defer h.types.giveBack()
	spec = spec.Copy()
	only := spec.Programs[name]
	if only == nil {
		return nil, errNotHere
	}
	spec.Programs = map[string]*ebpf.ProgramSpec{name: only}
	shared := make(map[string]*ebpf.Map)
	for name, m := range spec.Maps {
		if known := h.maps[name]; known != nil {
			m.MaxEntries = known.MaxEntries()
			shared[name] = known
		}
	}
	if err := setVariables(spec, h.vars); err != nil {
		return nil, err
	}
	if err := plainAtomics(spec); err != nil {
		return nil, err
	}
	objects, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: shared, Cache: types})
	if err != nil {
		return nil, err
	}
	only = only.Copy()
	only.Instructions = nil
	return &program{Program: objects.Programs[name], name: name, spec: only, objects: objects}, nil
}

// setVariables sets those of the variables that the object has.
func setVariables(spec *ebpf.CollectionSpec, vars map[string]any) error {
	for name, value := range vars {
		if v := spec.Variables[name]; v != nil {
			if err := v.Set(value); err != nil {
				return fmt.Errorf("setting %s: %w", name, err)
			}
		}
	}
	return nil
}

// ofCgroup reports whether the program is attached to a cgroup.
func (p *program) ofCgroup() bool {
	return p.spec.Type == ebpf.CGroupSockAddr || p.spec.Type == ebpf.CGroupSock
}

func (p *program) close() { p.objects.Close() }

// fetchOperation is BPF_ADD | BPF_FETCH. The library takes it from the constant of an
// instruction, and not from its opcode.
const fetchOperation = 0x01

// fetches reports whether programs may use atomic operations that return a value,
// which came with 5.12.
var fetches = sync.OnceValue(func() bool {
	fetch := asm.FetchAdd.Mem(asm.RFP, asm.R0, asm.DWord, -8)
	fetch.Constant = fetchOperation
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SocketFilter,
		Instructions: asm.Instructions{
			asm.Mov.Imm(asm.R0, 0),
			asm.StoreMem(asm.RFP, -8, asm.R0, asm.DWord),
			fetch,
			asm.Mov.Imm(asm.R0, 0),
			asm.Return(),
		},
		License: "Dual BSD/GPL",
	})
	if err != nil {
		return false
	}
	p.Close()
	return true
})

// plainAtomics turns atomic additions that return a value into plain ones where the kernel
// has no others. The programs are told, and then look at the sum themselves.
func plainAtomics(spec *ebpf.CollectionSpec) error {
	if fetches() {
		return nil
	}
	for _, p := range spec.Programs {
		for i := range p.Instructions {
			ins := &p.Instructions[i]
			if ins.OpCode.AtomicOp() == asm.FetchAdd {
				ins.OpCode, ins.Constant = ins.OpCode.SetAtomicOp(asm.AddAtomic), 0
			}
		}
	}
	return setVariables(spec, map[string]any{execVarNoAtomicFetch: true})
}
