package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"

	"bittern/internal/event"
)

// An agent that is killed leaves the kernel matching: what is attached, the rules' tables and
// the ring are held by pins. The next one does not go on with these tables, which it would have
// to understand and to clean up after a commit that was cut short. It makes its own, with all of its
// rules, and then takes the hooks over one by one, each by one store: so each event is judged
// by exactly the old or exactly the new programs, tables and rules, whichever build made them. Then it
// waits for a grace period, reads the old ring to its end, and throws all that away.
//
// Only the process table is taken over as it is, if it has the same layout: it knows things
// about processes that can't be found out any more.

// openPins takes hold of the pins, if there are to be any.
func (k *Kernel) openPins(cfg Config, spec *ebpf.CollectionSpec) (err error) {
	if cfg.Pins == "" {
		return nil
	}
	k.processLayout, err = layout(spec.Types, "process", "image", "image_key")
	if err != nil {
		return err
	}
	k.processLayout += fmt.Sprintf("-%d-%d", cfg.Processes, cfg.Images)
	k.pins, err = openPins(cfg.Pins)
	if errors.Is(err, errNoBPFFS) {
		k.log.Warn("a restart will miss what happens meanwhile", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	if k.inherited, err = adoptInstances(k.pins, k.log); err != nil {
		return err
	}
	k.noted = cfg.Journal
	for _, i := range k.inherited {
		if i.versions, err = readJournal(cfg.Journal, i.ID, cfg.Restore); err != nil {
			// Its records name versions that nobody knows: each is reported.
			k.log.Error("what rules the last agent had can't be told", "error", err)
			i.versions = newVersions()
		}
	}
	return nil
}

// makeMaps makes the maps of our own, but for the process table if there is one.
func (k *Kernel) makeMaps(spec *ebpf.CollectionSpec) error {
	options := &ebpf.CollectionOptions{MapReplacements: make(map[string]*ebpf.Map)}
	defer func() {
		for _, m := range options.MapReplacements {
			m.Close()
		}
	}()
	if k.pins != nil {
		k.adopted = true
		for _, name := range []string{execMapProcesses, execMapImages} {
			m, err := ebpf.LoadPinnedMap(filepath.Join(k.processTable(), name), nil)
			if errors.Is(err, os.ErrNotExist) {
				k.adopted = false
				continue
			}
			if err != nil {
				return fmt.Errorf("adopting the process table: %w", err)
			}
			options.MapReplacements[name] = m
		}
		if !k.adopted {
			for name, m := range options.MapReplacements { // half of it
				m.Close()
				delete(options.MapReplacements, name)
			}
		}
	}
	if err := spec.LoadAndAssign(&k.maps, options); err != nil {
		return explainLoadError(err)
	}
	return nil
}

func (k *Kernel) processTable() string {
	return filepath.Join(k.pins.processes(), k.processLayout)
}

// Attach makes events flow: those that another agent's programs have seen until now, if it has
// left any, from one event to the next. Rules that need other hooks must have been committed
// before, or these are detached for a while.
func (k *Kernel) Attach() error {
	err := k.attach()
	// Some hooks may be ours and others not: what another agent has left goes on, and whoever comes next
	// takes all of it over.
	k.left = err != nil && len(k.inherited) > 0
	return err
}

func (k *Kernel) attach() error {
	if k.pins != nil {
		// Before it gets its first match.
		if err := k.own.keep(k.pins); err != nil {
			return err
		}
	}
	if err := k.tracker.attach(k.host); err != nil {
		return err
	}
	if !k.adopted {
		// Only now, so that nothing falls between.
		if err := k.tracker.fill(); err != nil {
			return err
		}
	}
	for _, h := range k.hooks {
		if err := h.start(); err != nil {
			return err
		}
	}
	if k.pins == nil {
		return nil
	}
	return k.settle()
}

// settle ends what the agents before us have left.
func (k *Kernel) settle() error {
	if !k.adopted {
		if err := removeOthers(k.pins.processes(), nil); err != nil {
			return err
		}
		if err := pinMaps(k.processTable(), map[string]*ebpf.Map{execMapProcesses: k.maps.Processes, execMapImages: k.maps.Images}); err != nil {
			return err
		}
	}
	var hooks []string
	for _, s := range k.tracker.stubs {
		hooks = append(hooks, s.pin)
	}
	for _, h := range k.hooks {
		hooks = append(hooks, h.pinned()...)
	}
	if err := removeOthers(k.pins.hooks(), hooks); err != nil {
		return err
	}
	k.inheritSkips()
	// Their programs may still be at work. After that, nobody writes to their rings.
	if err := k.grace.wait(); err != nil {
		return err
	}
	keep, journals := []string{k.own.pin}, []string{k.own.ID}
	for _, i := range k.inherited {
		keep, journals = append(keep, i.pin), append(journals, i.ID)
	}
	return errors.Join(removeOthers(k.pins.instances(), keep), removeJournals(k.noted, journals))
}

// inheritSkips notes what has been reported of a number that goes on from agent to agent, since
// stubs do.
func (k *Kernel) inheritSkips() {
	for _, i := range k.inherited {
		for _, class := range event.Classes() {
			if !i.knows(class) {
				continue
			}
			for _, at := range []int{announced(class, Skipped), reported(class, Skipped)} {
				k.own.books.store(at, max(k.own.books.load(at), min(i.books.load(at), k.skipped(class))))
			}
		}
	}
}

// Rest lets go of what is needed only while hooks are being found, when no more is expected soon.
func (k *Kernel) Rest() { k.host.types.drop() }

// predecessors returns what agents before us have left and was not disposed of yet.
func (k *Kernel) predecessors() []*Instance {
	k.inheriting.Lock()
	defer k.inheriting.Unlock()
	return slices.Clone(k.inherited)
}

// Dispose throws away what agents before us have left and the reader had read to the end when Losses was called last. What that
// returned must have been reported.
func (k *Kernel) Dispose() error {
	k.inheriting.Lock()
	defer k.inheriting.Unlock()
	var errs []error
	k.inherited = slices.DeleteFunc(k.inherited, func(i *Instance) bool {
		if !i.settled.Load() {
			return false
		}
		errs = append(errs, i.remove())
		if err := os.Remove(journalPath(k.noted, i.ID)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("removing a journal: %w", err))
		}
		return true
	})
	return errors.Join(errs...)
}

// closePins gives the pins up, and removes ours unless the kernel goes on without us.
func (k *Kernel) closePins() error {
	var errs []error
	if k.journal != nil {
		errs = append(errs, k.journal.close())
	}
	for _, i := range k.inherited {
		i.close()
	}
	if k.own != nil {
		k.own.close()
	}
	if k.pins == nil {
		return errors.Join(errs...)
	}
	attached := k.own != nil && k.own.pin != ""
	switch {
	case k.left: // all of it stays
	case attached && len(k.inherited) == 0:
		errs = append(errs, k.pins.empty(), removeJournals(k.noted, nil))
	case attached: // somebody has to read what those before us have left
		errs = append(errs, removePins(k.pins.hooks()), removePins(k.pins.processes()), removePins(k.own.pin))
		fallthrough
	case k.journal != nil: // those before us go on
		errs = append(errs, os.Remove(k.journal.path))
	}
	return errors.Join(append(errs, k.pins.close())...)
}
