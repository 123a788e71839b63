package loader

import (
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"bittern/internal/event"
)

// Hook says where the events of a class come from on this host.
type Hook struct {
	Class event.Class
	Name  string // as the kernel names it, for example "tp_btf/sched_process_exec"
}

// Caps is what this kernel offers Bittern.
type Caps struct {
	Hooks []Hook
}

// Caps returns what the kernel offers.
func (k *Kernel) Caps() Caps {
	return Caps{Hooks: []Hook{{event.ProcessExec, "tp_btf/sched_process_exec"}}}
}

// attach hooks the programs up. The process table is kept from the first fork on,
// and only then filled with what runs already: so nothing falls between.
func (k *Kernel) attach() error {
	for _, p := range []*ebpf.Program{k.objects.OnExit, k.objects.OnFork, k.objects.OnExec} {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return fmt.Errorf("attaching %s: %w", p, err)
		}
		k.links = append(k.links, l)
	}
	return k.seed()
}

// seed runs the task iterator once.
func (k *Kernel) seed() error {
	it, err := link.AttachIter(link.IterOptions{Program: k.objects.Seed})
	if err != nil {
		return fmt.Errorf("attaching the task iterator: %w", err)
	}
	defer it.Close()
	run, err := it.Open()
	if err != nil {
		return fmt.Errorf("starting the task iterator: %w", err)
	}
	defer run.Close()
	if _, err := io.Copy(io.Discard, run); err != nil {
		return fmt.Errorf("running the task iterator: %w", err)
	}
	return nil
}
