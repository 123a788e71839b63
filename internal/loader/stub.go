package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
)

// A stub is what is attached to a hook: it hands each event on to the program that its
// table names. What is attached to most hooks can't be replaced; the entry of a table can, by
// one store, so that each event is seen by exactly the program before or after it.
type stub struct {
	table   *ebpf.Map // of one program
	program *ebpf.Program
	link    link.Link
	pin     string // directory of table and link; "" if they go with this process
}

const (
	stubTable   = "table"
	stubProgram = "program"
	stubLink    = "link"
	stubIndex   = "index" // always 0
)

// attachStub attaches a new stub to the hook of a program, and to the cgroup if the hook is of
// cgroups.
func attachStub(p *program, cgroup string, types *btf.Cache) (_ *stub, err error) {
	verdict := int32(0)
	if p.ofCgroup() {
		if cgroup == "" {
			return nil, errNoCgroup
		}
		verdict = 1 // go on
	}
	spec := &ebpf.CollectionSpec{
		Maps: map[string]*ebpf.MapSpec{
			stubTable: {Name: "bittern_stub", Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1},
			stubIndex: {Name: "bittern_index", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1},
		},
		Programs: map[string]*ebpf.ProgramSpec{p.name: {
			Name: p.name, Type: p.spec.Type, AttachType: p.spec.AttachType, AttachTo: p.spec.AttachTo, License: p.spec.License,
			Instructions: asm.Instructions{
				// The context is in the first register. The index comes from memory, since for one that it
				// knows the kernel patches the stub's own code at each change, which is more than a store.
				asm.LoadMapValue(asm.R3, 0, 0).WithReference(stubIndex),
				asm.LoadMem(asm.R3, asm.R3, 0, asm.Word),
				asm.LoadMapPtr(asm.R2, 0).WithReference(stubTable),
				asm.FnTailCall.Call(),
				asm.Mov.Imm(asm.R0, verdict), // there is no program
				asm.Return(),
			},
		}},
	}
	objects, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: types})
	if err != nil {
		return nil, fmt.Errorf("loading the stub of %s: %w", p.name, err)
	}
	s := &stub{table: objects.DetachMap(stubTable), program: objects.DetachProgram(p.name)}
	objects.Close()
	if err = s.hand(p); err == nil {
		s.link, err = attachLink(s.program, p, cgroup)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func attachLink(stub *ebpf.Program, p *program, cgroup string) (link.Link, error) {
	switch {
	case p.spec.Type == ebpf.LSM:
		return link.AttachLSM(link.LSMOptions{Program: stub})
	case p.ofCgroup():
		return link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: p.spec.AttachType, Program: stub})
	}
	return link.AttachTracing(link.TracingOptions{Program: stub})
}

// hand makes the stub hand events on to a program, from one event to the next.
func (s *stub) hand(p *program) error {
	if err := s.table.Put(uint32(0), p.Program); err != nil {
		return fmt.Errorf("handing events to %s: %w", p.name, err)
	}
	return nil
}

// keep pins the stub in a directory, so that it outlives this process. The link comes last:
// without it the pins are of no use to anybody.
func (s *stub) keep(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("pinning a hook: %w", err)
	}
	s.pin = dir
	if err := s.table.Pin(filepath.Join(dir, stubTable)); err != nil {
		return fmt.Errorf("pinning a hook: %w", err)
	}
	if err := s.program.Pin(filepath.Join(dir, stubProgram)); err != nil {
		return fmt.Errorf("pinning a hook: %w", err)
	}
	if err := s.link.Pin(filepath.Join(dir, stubLink)); err != nil {
		return fmt.Errorf("pinning a hook: %w", err)
	}
	return nil
}

// adoptStub opens a stub that is pinned. It returns nil if none is.
func adoptStub(dir string) (_ *stub, err error) {
	s := &stub{pin: dir}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("adopting the hook in %s: %w", dir, err), s.release())
		}
	}()
	// The link comes first, as it was pinned last.
	if s.link, err = link.LoadPinnedLink(filepath.Join(dir, stubLink), nil); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	if s.table, err = ebpf.LoadPinnedMap(filepath.Join(dir, stubTable), nil); err != nil {
		return nil, err
	}
	s.program, err = ebpf.LoadPinnedProgram(filepath.Join(dir, stubProgram), nil)
	return s, err
}

// skipped is how often the kernel did not run the stub, since it was at work on that CPU
// already. Kernels before 5.12 do not count it.
func (s *stub) skipped() uint64 {
	stats, err := s.program.Stats()
	if err != nil {
		return 0
	}
	return stats.RecursionMisses
}

// stats is what the kernel counts of the stub and what it leads to.
func (s *stub) stats(p *program) (ProgramStats, error) {
	stats, err := s.program.Stats()
	if errors.Is(err, ebpf.ErrNotSupported) {
		return ProgramStats{Name: p.name}, nil
	}
	if err != nil {
		return ProgramStats{}, fmt.Errorf("reading the statistics of %s: %w", p.name, err)
	}
	return ProgramStats{Name: p.name, Runs: stats.RunCount, RunTime: stats.Runtime, Skipped: stats.RecursionMisses}, nil
}

// statsOf collects those of stubs, each with its program.
func statsOf(stubs []*stub, programs []*program) ([]ProgramStats, error) {
	all := make([]ProgramStats, 0, len(stubs))
	var errs []error
	for i, s := range stubs {
		stats, err := s.stats(programs[i])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, stats)
	}
	return all, errors.Join(errs...)
}

// close detaches the stub. It must not be used any more. No event goes through it from now on, also none that has
// come to it already: to detach it by itself leaves these.
func (s *stub) close() error {
	var errs []error
	if s.table != nil {
		if err := s.table.Delete(uint32(0)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("ending a hook: %w", err))
		}
	}
	if s.pin != "" {
		errs = append(errs, removePins(s.pin))
	}
	return errors.Join(append(errs, s.release())...)
}

// release leaves the stub to its pins. Without any it is detached.
func (s *stub) release() error {
	var errs []error
	if s.link != nil {
		errs = append(errs, s.link.Close())
	}
	if s.table != nil {
		errs = append(errs, s.table.Close())
	}
	if s.program != nil {
		errs = append(errs, s.program.Close())
	}
	return errors.Join(errs...)
}
