package loader

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// host is what all programs share: maps, and what they are told.
type host struct {
	maps   map[string]*ebpf.Map
	vars   map[string]any
	types  kernelTypes
	found  func(Hook) // see Config
	cgroup string     // to attach programs of cgroups to; "" if there is none
}

// program is one loaded program of a hook.
type program struct {
	*ebpf.Program
	name       string
	objects    *ebpf.Collection
	attachType ebpf.AttachType
	attached   bool // it is, or has been
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
	return &program{Program: objects.Programs[name], name: name, objects: objects, attachType: only.AttachType}, nil
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

// worn reports whether the program can't be attached any more: before 5.13 those that
// hook functions or are security modules can be attached once.
func (p *program) worn() bool {
	trampoline := p.Type() == ebpf.LSM || p.attachType == ebpf.AttachTraceFEntry || p.attachType == ebpf.AttachTraceFExit
	return p.attached && trampoline && olderKernel(leastReattaching)
}

// leastReattaching is the Linux from which on all programs can be attached again.
const leastReattaching = "5.13"

// attach makes events flow until the link is closed.
func (p *program) attach(cgroup string) (link.Link, error) {
	p.attached = true
	switch p.Type() {
	case ebpf.LSM:
		return link.AttachLSM(link.LSMOptions{Program: p.Program})
	case ebpf.CGroupSockAddr, ebpf.CGroupSock:
		if cgroup == "" {
			return nil, errNoCgroup
		}
		return link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: p.attachType, Program: p.Program})
	}
	return link.AttachTracing(link.TracingOptions{Program: p.Program})
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
