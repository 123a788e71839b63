package loader

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

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
	if !k.tracker.seedsArgs {
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

// share makes what all programs have in common.
func (k *Kernel) share(cfg Config) *host {
	m := &k.maps
	h := &host{
		maps: map[string]*ebpf.Map{
			execMapCells: m.Cells, execMapControl: m.Control, execMapCounters: m.Counters, execMapFilters: m.Filters,
			execMapGrams: m.Grams, execMapImages: m.Images, execMapMatches: m.Matches, execMapNoGroup: m.NoGroup,
			execMapNumbers: m.Numbers, execMapProcesses: m.Processes, execMapRows: m.Rows, execMapRowHits: m.RowHits, execMapSequences: m.Sequences,
			execMapSlots: m.Slots, execMapTexts: m.Texts, execMapWatched: m.Watched, execMapWorkspaces: m.Workspaces,
		},
		vars:   cfg.variables(),
		found:  cfg.Found,
		cgroup: cfg.Cgroup,
		pins:   k.pins,
		log:    k.log,
		ended:  func() error { return nil },
	}
	if len(k.inherited) > 0 {
		h.ended = k.grace.wait
	}
	h.vars[seedVarSeedWorkspace] = m.Workspaces.MaxEntries() - 1
	if h.cgroup == "" {
		// Without one, candidates that need it say so.
		h.cgroup, _ = cgroupRoot()
	}
	return h
}

// tracker is the programs that keep the process table. They also see executions and exits.
type tracker struct {
	onExec, onExit, onFork *program
	seed                   *program // the task iterator that fills the table
	seedsArgs              bool     // it can read the arguments of what runs already

	mu    sync.Mutex // guards what follows
	stubs []*stub    // in the order of programs
	past  [3]uint64  // how often the kernel did not run them, once they are gone
}

// load loads them at the same time.
func (t *tracker) load(exec *ebpf.CollectionSpec, h *host) error {
	var loading sync.WaitGroup
	var errs [4]error
	loading.Go(func() { t.onExec, errs[0] = h.loadProgram(exec, "on_exec") })
	loading.Go(func() { t.onExit, errs[1] = h.loadProgram(exec, "on_exit") })
	loading.Go(func() { t.onFork, errs[2] = h.loadProgram(exec, "on_fork") })
	loading.Go(func() { errs[3] = t.loadSeed(h) })
	loading.Wait()
	if err := cmp.Or(errs[:]...); err != nil {
		return explainLoadError(err)
	}
	return nil
}

func (t *tracker) loadSeed(h *host) error {
	spec, err := loadSeed()
	if err != nil {
		return fmt.Errorf("reading the embedded programs: %w", err)
	}
	t.seed, err = h.loadProgram(spec, "seed")
	t.seedsArgs = err == nil
	if err != nil {
		// Before 5.18 iterators don't sleep.
		if t.seed, err = h.loadProgram(spec, "seed_without_args"); err != nil {
			return fmt.Errorf("loading the task iterator: %w", err)
		}
	}
	return nil
}

// attach hooks the programs up. The process table is kept from the first fork on.
func (t *tracker) attach(h *host) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.programs() {
		s, err := h.attach(p)
		if err != nil {
			return err
		}
		t.stubs = append(t.stubs, s)
	}
	return nil
}

func (t *tracker) programs() []*program { return []*program{t.onExit, t.onFork, t.onExec} }

// stats are those of the programs that are attached.
func (t *tracker) stats() ([]ProgramStats, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return statsOf(t.stubs, t.programs())
}

// detach ends the events.
func (t *tracker) detach() error { return t.end((*stub).close) }

// leave lets go of the programs and leaves them to their pins.
func (t *tracker) leave() error { return t.end((*stub).release) }

func (t *tracker) end(each func(*stub) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for i, s := range t.stubs {
		t.past[i] += s.skipped()
		errs = append(errs, each(s))
	}
	t.stubs = nil
	return errors.Join(errs...)
}

// skipped is how often the kernel did not run a program.
func (t *tracker) skipped(p *program) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.programs(), p)
	if i >= len(t.stubs) {
		return t.past[i]
	}
	return t.stubs[i].skipped()
}

func (t *tracker) close() { closeAll([]*program{t.onExec, t.onExit, t.onFork, t.seed}) }

// fill runs the task iterator once.
func (t *tracker) fill() error {
	it, err := link.AttachIter(link.IterOptions{Program: t.seed.Program})
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
