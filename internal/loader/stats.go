package loader

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

// Counters are sums over all CPUs since the programs were loaded.
type Counters struct {
	Classes   map[event.Class]ClassCounters
	Untracked uint64 // processes that the full process table could not take
}

// ClassCounters are those of one event class.
type ClassCounters struct {
	Events         uint64 // judged
	Matches        uint64 // events with at least one surviving clause
	Spills         uint64 // matches with more survivors than a record names
	UnknownParents uint64 // events whose parent was not in the process table
	LostRingFull   uint64 // matches that found no room in the ring
	LostBusy       uint64 // events that found all workspaces of their CPU taken
	// LostSkipped counts events at which the kernel did not run the program, since it
	// was at work on that CPU already: from 7.0 on tracepoints can be preempted.
	LostSkipped uint64
}

// Total adds up the classes.
func (c Counters) Total() ClassCounters {
	var sum ClassCounters
	for _, n := range c.Classes {
		sum.Events += n.Events
		sum.Matches += n.Matches
		sum.Spills += n.Spills
		sum.UnknownParents += n.UnknownParents
		sum.LostRingFull += n.LostRingFull
		sum.LostBusy += n.LostBusy
		sum.LostSkipped += n.LostSkipped
	}
	return sum
}

// Counters reads the kernel's counters.
func (k *Kernel) Counters() (Counters, error) {
	c := Counters{Classes: make(map[event.Class]ClassCounters)}
	var errs []error
	read := func(class event.Class, counter execCounter) uint64 {
		sum, err := k.own.count(class, counter)
		errs = append(errs, err)
		return sum
	}
	for _, class := range event.Classes() {
		c.Classes[class] = ClassCounters{
			Events:         read(class, execCounterCOUNTER_EVENTS),
			Matches:        read(class, execCounterCOUNTER_MATCHES),
			Spills:         read(class, execCounterCOUNTER_SPILLS),
			UnknownParents: read(class, execCounterCOUNTER_UNKNOWN_PARENTS),
			LostRingFull:   read(class, execCounterCOUNTER_LOST_RING_FULL),
			LostBusy:       read(class, execCounterCOUNTER_LOST_BUSY),
			LostSkipped:    k.skipped(class),
		}
	}
	c.Untracked = read(event.ClassUnknown, execCounterCOUNTER_UNTRACKED) + k.tracker.skipped(k.tracker.onFork)
	return c, errors.Join(errs...)
}

// skipped is how often the kernel did not run the programs of a class.
func (k *Kernel) skipped(class event.Class) uint64 {
	switch class {
	case event.ProcessExec:
		return k.tracker.skipped(k.tracker.onExec)
	case event.ProcessExit:
		return k.tracker.skipped(k.tracker.onExit)
	}
	if h := k.hooks[class]; h != nil {
		return h.skipped()
	}
	return 0
}

// Losses returns what was lost and has not been reported yet, also what agents before us have lost.
func (k *Kernel) Losses() ([]Loss, error) {
	var all []Loss
	var errs []error
	add := func(i *Instance, class event.Class, reason LossReason, total uint64) {
		if l := i.loss(class, reason, total); l.New > 0 {
			all = append(all, l)
		}
	}
	for _, i := range append(k.predecessors(), k.own) {
		i.settled.Store(i.drained.Load()) // first: what is read later may be lost
		add(i, event.ClassUnknown, Undecodable, i.books.load(bookUndecodable))
		for _, class := range event.Classes() {
			if !i.knows(class) {
				continue
			}
			for reason, counter := range map[LossReason]execCounter{RingFull: execCounterCOUNTER_LOST_RING_FULL, Busy: execCounterCOUNTER_LOST_BUSY} {
				total, err := i.count(class, counter)
				errs = append(errs, err)
				add(i, class, reason, total)
			}
		}
	}
	for _, class := range event.Classes() {
		add(k.own, class, Skipped, k.skipped(class))
	}
	slices.SortStableFunc(all, func(a, b Loss) int { return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Reason, b.Reason)) })
	return all, errors.Join(errs...)
}

// SlotUsage is how full the slots of a class are.
type SlotUsage struct {
	Taken int // dead ones that wait for reclamation included
	Free  int
}

// Usage says how full the kernel's tables are.
type Usage struct {
	Epoch        uint64
	Rules        int // live
	Slots        map[event.Class]SlotUsage
	Keys         int // in the index maps, idle ones included
	Cells        int // handed out, those waiting for reuse included
	GracePeriods uint64
}

// Usage reports the writer's books.
func (k *Kernel) Usage() Usage {
	k.writer.Lock()
	defer k.writer.Unlock()
	k.versions.mu.RLock()
	defer k.versions.mu.RUnlock()
	slots := make(map[event.Class]SlotUsage)
	for _, c := range event.Classes() {
		t := k.slots[c]
		slots[c] = SlotUsage{Taken: len(t.uses) - len(t.free), Free: len(t.free)}
	}
	return Usage{
		Epoch:        k.epoch(),
		Rules:        len(k.versions.byRule),
		Slots:        slots,
		Keys:         len(k.index.entries),
		Cells:        int(k.rows.nextCell),
		GracePeriods: k.graces,
	}
}

// ProgramInfo describes one loaded program.
type ProgramInfo struct {
	Name string
	// Verified is how many instructions the verifier looked at; its limit is
	// 1,000,000. 0 before 5.16.
	Verified uint32
}

// Programs lists the programs that this kernel takes, of all classes.
func (k *Kernel) Programs() ([]ProgramInfo, error) {
	programs := k.tracker.programs()
	k.Caps(true)
	for _, class := range event.Classes() {
		if h := k.hooks[class]; h != nil {
			programs = append(programs, h.loaded()...)
		}
	}
	var all []ProgramInfo
	for _, p := range programs {
		info, err := p.Info()
		if err != nil {
			return nil, fmt.Errorf("describing %s: %w", p, err)
		}
		verified, _ := info.VerifiedInstructions()
		all = append(all, ProgramInfo{info.Name, verified})
	}
	return all, nil
}

// ProgramStats is what the kernel counts of one attached program.
type ProgramStats struct {
	Name    string
	Runs    uint64        // 0 unless the kernel has been asked to count, see EnableStats
	RunTime time.Duration // the same
	Skipped uint64        // events at which it was not run, since it was at work on that CPU
}

// EnableStats has the kernel count runs of all programs, and measure them, until it is closed.
func EnableStats() (io.Closer, error) {
	c, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, fmt.Errorf("having the kernel measure programs: %w", err)
	}
	return c, nil
}

// AttachedStats describes the programs that are attached now.
func (k *Kernel) AttachedStats() ([]ProgramStats, error) {
	stats, err := k.tracker.stats()
	errs := []error{err}
	for _, class := range event.Classes() {
		if h := k.hooks[class]; h != nil {
			more, err := h.stats()
			stats, errs = append(stats, more...), append(errs, err)
		}
	}
	return stats, errors.Join(errs...)
}

// RingUsage is how full the ring of matches is, in bytes.
type RingUsage struct{ Used, Size uint64 }

// Ring says how full the ring of matches is.
func (k *Kernel) Ring() RingUsage {
	r := k.own.ring
	consumed := r.consumed() // first, so that the difference is not negative
	size := r.mask + 1
	return RingUsage{Used: min(r.produced()-consumed, size), Size: size}
}

// MapBytes is the memory that the kernel has charged for the maps, in bytes.
func (k *Kernel) MapBytes() (uint64, error) {
	o := &k.maps
	var total uint64
	for _, m := range []*ebpf.Map{
		o.Cells, o.Control, o.Counters, o.Filters, o.Grams, o.Images, o.Matches, o.NoGroup, o.Numbers,
		o.Processes, o.Rows, o.RowHits, o.Sequences, o.Slots, o.Texts, o.Watched, o.Workspaces,
	} {
		info, err := m.Info()
		if err != nil {
			return 0, fmt.Errorf("describing %s: %w", m, err)
		}
		n, _ := info.Memlock()
		total += n
	}
	return total, nil
}
