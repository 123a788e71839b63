// Package loader is the kernel's side of Bittern: it loads and attaches the
// programs of bpf/, turns the plans of rules into entries of their maps, swaps rule
// versions atomically, and reads back what matched. It knows nothing of YAML or
// Postgres.
//
// One writer, behind Kernel.Commit, changes the maps while programs read them on
// every CPU. The order in which it does so is what makes a change atomic; it is
// described in bpf/match.h and held by the tests of this package.
package loader

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"

	"github.com/cilium/ebpf"

	"bittern/internal/event"
)

// Kernel is the live programs and maps. Its methods are safe for use by several
// goroutines.
type Kernel struct {
	log     *slog.Logger
	host    *host
	maps    execMaps
	tracker tracker
	memory  []*words
	grace   *gracePeriod
	cgroup  *os.File                   // the cgroup that is watched, or nil
	left    bool                       // the kernel goes on without us
	hooks   map[event.Class]*classHook // of classes that have a choice

	// What goes on without us; see takeover.go.
	pins          *pins    // nil if nothing does
	journal       *journal // nil if nothing does
	noted         string   // directory of the journal
	own           *Instance
	processLayout string // builds that agree in it share the process table
	adopted       bool   // the process table is that of another agent

	inheriting sync.Mutex
	inherited  []*Instance // of agents that are gone, as long as they have losses to tell

	committing sync.Mutex // held by Commit throughout

	// writer guards what follows, and the kernel's maps against a second writer.
	writer  sync.Mutex
	control *words
	rows    *rowTable
	index   *index
	slots   []*slotTable // by event class
	dead    []*version   // waiting for a grace period
	waiting *burial      // in the hands of the reclaimer
	graces  uint64
	// fence is called between staging and the store of the epoch. On x86-64 it is nil:
	// neither stores nor loads change places. On arm64 loads do, and load-acquire came
	// to BPF with 6.15 only; a grace period keeps programs from loading the new epoch
	// and then what was there before it was staged.
	fence func() error

	versions *versions

	reclaimer chan struct{} // has one message if there is something to reclaim
	stop      chan struct{}
	stopping  sync.Once
	done      sync.WaitGroup
}

// Open loads the programs, attaches them and fills the process table. The caller
// must call Stop, read what is left, and then Close.
//
// Errors name what the kernel refused; a *CapabilityError says which capabilities
// are missing.
func Open(cfg Config) (*Kernel, error) {
	k, err := Load(cfg)
	if err != nil {
		return nil, err
	}
	if err := k.Attach(); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// Load does all that Open does but attaching: rules can be committed, and events begin to
// flow with Attach.
func Load(cfg Config) (*Kernel, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := CheckCapabilities(); err != nil {
		return nil, err
	}
	return load(cfg)
}

// load creates maps and programs, and starts the reclaimer. Nothing is attached. The
// configuration is valid.
func load(cfg Config) (_ *Kernel, err error) {
	k := &Kernel{
		log:       cfg.Log,
		hooks:     make(map[event.Class]*classHook),
		reclaimer: make(chan struct{}, 1),
		stop:      make(chan struct{}),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.Close())
		}
	}()
	spec, err := loadExec()
	if err != nil {
		return nil, fmt.Errorf("reading the embedded programs: %w", err)
	}
	if err := cfg.apply(spec); err != nil {
		return nil, err
	}
	if err := k.openPins(cfg, spec); err != nil {
		return nil, err
	}
	if err := k.makeMaps(spec); err != nil {
		return nil, err
	}
	if k.own, err = newInstance(k.maps.Matches, k.maps.Counters); err != nil {
		return nil, err
	}
	k.versions = k.own.versions
	if k.pins != nil {
		if k.journal, err = newJournal(cfg.Journal, k.own.ID); err != nil {
			return nil, err
		}
	}
	if k.grace, err = newGracePeriod(); err != nil {
		return nil, err
	}
	k.host = k.share(cfg)
	if err := k.tracker.load(spec, k.host); err != nil {
		return nil, err
	}
	for class := range sources {
		k.hooks[class] = newClassHook(class, k.host)
	}
	if cfg.Cgroup != "" {
		if err := k.watchCgroup(cfg.Cgroup); err != nil {
			return nil, err
		}
	}
	if runtime.GOARCH != "amd64" {
		k.fence = k.grace.wait
	}
	if err := k.mapMemory(cfg.Slots); err != nil {
		return nil, err
	}
	k.done.Go(k.reclaim)
	return k, nil
}

// mapMemory maps the arrays that the writer changes in place.
func (k *Kernel) mapMemory(slotsPerClass int) error {
	mapped := make(map[*ebpf.Map]*words)
	for _, m := range []*ebpf.Map{k.maps.Control, k.maps.Slots, k.maps.NoGroup, k.maps.Rows, k.maps.RowHits, k.maps.Cells, k.maps.Filters} {
		w, err := mapWords(m)
		if err != nil {
			return err
		}
		mapped[m] = w
		k.memory = append(k.memory, w)
	}
	k.control = mapped[k.maps.Control]
	k.rows = newRowTable(mapped[k.maps.Rows], mapped[k.maps.RowHits], mapped[k.maps.Cells])
	k.index = newIndex(&k.maps, mapped[k.maps.Filters], k.control, k.rows)
	var err error
	k.slots, err = newSlotTables(mapped[k.maps.Slots], mapped[k.maps.NoGroup], slotsPerClass, k.rows, k.index)
	return err
}

func (k *Kernel) watchCgroup(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("watching cgroup: %w", err)
	}
	k.cgroup = dir
	if err := k.maps.Watched.Update(uint32(0), uint32(dir.Fd()), ebpf.UpdateAny); err != nil {
		return fmt.Errorf("watching cgroup %s: %w (want a directory of a cgroup2 file system)", path, err)
	}
	return nil
}

// Reader returns the reader of matches. There must be only one at work, after Attach.
func (k *Kernel) Reader() *Reader {
	k.inheriting.Lock()
	defer k.inheriting.Unlock()
	return &Reader{own: k.own, inherited: slices.Clone(k.inherited), decoder: decoder{bootTime: bootTime}, caughtUp: make(chan struct{})}
}

// Stop detaches the hooks and ends the reader, which still gets what is in the ring.
func (k *Kernel) Stop() { k.halt(k.tracker.detach, (*classHook).detach) }

// Leave ends the reader and leaves all else as it is, so that the kernel goes on without us until
// another process takes over. Without pins it is Stop.
func (k *Kernel) Leave() {
	k.left = k.pins != nil
	k.halt(k.tracker.leave, (*classHook).leave)
}

func (k *Kernel) halt(endTracker func() error, endHook func(*classHook) error) {
	k.stopping.Do(func() {
		if err := endTracker(); err != nil {
			k.log.Error("detaching a hook", "error", err)
		}
		for class, h := range k.hooks {
			if err := endHook(h); err != nil {
				k.log.Error("detaching a hook", "class", class.String(), "error", err)
			}
		}
		close(k.stop)
		if k.own != nil && k.own.ring != nil {
			k.own.ring.wake()
		}
	})
	k.done.Wait()
}

// Close frees everything, but what was left to other processes. The reader must not be used any more.
func (k *Kernel) Close() error {
	k.Stop()
	errs := []error{k.closePins()}
	for _, w := range k.memory {
		errs = append(errs, w.unmap())
	}
	if k.grace != nil {
		k.grace.close()
	}
	for _, h := range k.hooks {
		errs = append(errs, h.close())
	}
	if k.cgroup != nil {
		errs = append(errs, k.cgroup.Close())
	}
	k.tracker.close()
	if k.maps.Control != nil {
		errs = append(errs, k.maps.Close())
	}
	return errors.Join(errs...)
}
