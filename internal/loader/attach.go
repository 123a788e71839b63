package loader

import (
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"bittern/internal/event"
)

// Caps is what this kernel offers Bittern.
type Caps struct {
	Hooks []Hook // one for each event class
}

// Caps returns what the kernel offers. It waits until that has been found out.
func (k *Kernel) Caps() Caps {
	caps := Caps{Hooks: append([]Hook(nil), fixedHooks...)}
	for _, class := range event.Classes() {
		if h := k.hooks[class]; h != nil {
			<-h.found
			caps.Hooks = append(caps.Hooks, h.hook)
		}
	}
	return caps
}

// probeHooks begins to find the hooks of the classes that have a choice.
func (k *Kernel) probeHooks(cfg Config) {
	o := &k.objects
	base := map[string]*ebpf.Map{
		execMapCells: o.Cells, execMapControl: o.Control, execMapCounters: o.Counters, execMapGramFilter: o.GramFilter,
		execMapGrams: o.Grams, execMapImages: o.Images, execMapMatches: o.Matches, execMapNoGroup: o.NoGroup,
		execMapNumbers: o.Numbers, execMapProcesses: o.Processes, execMapRows: o.Rows, execMapSequences: o.Sequences,
		execMapSlots: o.Slots, execMapTexts: o.Texts, execMapWatched: o.Watched, execMapWorkspaces: o.Workspaces,
	}
	p := probe{maps: base, vars: cfg.variables(), cgroup: cfg.Cgroup}
	if p.cgroup == "" {
		// Without one, candidates that need it say so.
		p.cgroup, _ = cgroupRoot()
	}
	for class := range sources {
		k.hooks[class] = probeHook(class, p)
	}
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
