package loader

import (
	"fmt"
	"io"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"bittern/internal/event"
)

// Caps is what this kernel offers Bittern.
type Caps struct {
	Hooks []Hook // one for each event class
}

// Caps returns what the kernel offers, for all classes or those whose hooks have been
// found because a rule needed them.
func (k *Kernel) Caps(all bool) Caps {
	caps := Caps{Hooks: slices.Clone(fixedHooks)}
	if !k.seeded {
		caps.Hooks[0].Misses = "arguments of processes that ran before (bpf_copy_from_user_task came with Linux 5.18)"
	}
	for _, class := range event.Classes() {
		h := k.hooks[class]
		if h == nil {
			continue
		}
		if all {
			h.probe()
		}
		if h.known() {
			caps.Hooks = append(caps.Hooks, h.hook)
		}
	}
	return caps
}

// share is what the programs of hooks, and the task iterator, have in common.
func (k *Kernel) share(cfg Config) *host {
	o := &k.objects
	return &host{
		maps: map[string]*ebpf.Map{
			execMapCells: o.Cells, execMapControl: o.Control, execMapCounters: o.Counters, execMapFilters: o.Filters,
			execMapGrams: o.Grams, execMapImages: o.Images, execMapMatches: o.Matches, execMapNoGroup: o.NoGroup,
			execMapNumbers: o.Numbers, execMapProcesses: o.Processes, execMapRows: o.Rows, execMapSequences: o.Sequences,
			execMapSlots: o.Slots, execMapTexts: o.Texts, execMapWatched: o.Watched, execMapWorkspaces: o.Workspaces,
		},
		vars:  cfg.variables(),
		types: new(kernelTypes),
	}
}

// prepareHooks makes ready for finding hooks when rules need them.
func (k *Kernel) prepareHooks(cfg Config) {
	shared := k.share(cfg)
	shared.found, shared.cgroup = cfg.Found, cfg.Cgroup
	if shared.cgroup == "" {
		// Without one, candidates that need it say so.
		shared.cgroup, _ = cgroupRoot()
	}
	for class := range sources {
		k.hooks[class] = newClassHook(class, shared)
	}
}

// attach hooks the programs up. The process table is kept from the first fork on,
// and only then filled with what runs already: so nothing falls between.
func (k *Kernel) attach(cfg Config) error {
	for _, p := range []*ebpf.Program{k.objects.OnExit, k.objects.OnFork, k.objects.OnExec} {
		l, err := link.AttachTracing(link.TracingOptions{Program: p})
		if err != nil {
			return fmt.Errorf("attaching %s: %w", p, err)
		}
		k.links = append(k.links, l)
	}
	return k.seed(cfg)
}

// seed runs the task iterator once.
func (k *Kernel) seed(cfg Config) error {
	shared := k.share(cfg)
	shared.vars[seedVarSeedWorkspace] = k.objects.Workspaces.MaxEntries() - 1
	spec, err := loadSeed()
	if err != nil {
		return fmt.Errorf("reading the embedded programs: %w", err)
	}
	p, err := shared.loadProgram(spec, "seed")
	k.seeded = err == nil
	if err != nil {
		// Before 5.18 iterators don't sleep.
		if p, err = shared.loadProgram(spec, "seed_without_args"); err != nil {
			return fmt.Errorf("loading the task iterator: %w", err)
		}
	}
	defer p.close()
	it, err := link.AttachIter(link.IterOptions{Program: p.Program})
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
