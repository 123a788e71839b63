package loader

import (
	"errors"
	"fmt"
	"sync"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// ErrFull says that a table of the kernel has no room. Nothing has changed.
var ErrFull = errors.New("no room")

// Swap is one change of one rule: from the version that is live, if any, to New,
// or to none if New is nil.
type Swap struct {
	RuleID string
	New    *rules.Rule
}

// A SwapError says which rule a commit failed at. Nothing of it has taken effect.
type SwapError struct {
	RuleID string
	Err    error
}

func (e *SwapError) Error() string {
	return fmt.Sprintf("committing rule %s: %v", e.RuleID, e.Err)
}

func (e *SwapError) Unwrap() error { return e.Err }

// Commit makes all of the swaps, at one moment for every CPU: each event is judged
// by the rules before or after all of them. It returns the epoch from which they
// count. On an error, a *SwapError, nothing has changed.
//
// It finds and attaches the hooks that the rules need, which takes a while if they are the
// first of their class; see Prepare.
func (k *Kernel) Commit(swaps ...Swap) (epoch uint64, err error) {
	k.committing.Lock()
	defer k.committing.Unlock()
	k.findHooks(swaps)
	// Hooks first: a rule is not live before its events flow.
	for i, s := range swaps {
		if err := k.use(s.New); err != nil {
			for _, before := range swaps[:i] {
				err = errors.Join(err, k.release(before.New))
			}
			return 0, &SwapError{s.RuleID, err}
		}
	}
	epoch, died, err := k.commit(swaps)
	var errs []error
	if err != nil {
		for _, s := range swaps {
			errs = append(errs, k.release(s.New))
		}
	}
	for _, old := range died {
		errs = append(errs, k.release(old.rule))
	}
	return epoch, errors.Join(append(errs, err)...)
}

// findHooks finds those that the swaps need, all at the same time.
func (k *Kernel) findHooks(swaps []Swap) {
	var finding sync.WaitGroup
	begun := make(map[event.Class]bool)
	for _, s := range swaps {
		if s.New == nil {
			continue
		}
		for _, class := range s.New.AppliesTo {
			if h := k.hooks[class]; h != nil && !begun[class] && !h.known() {
				begun[class] = true
				finding.Go(h.probe)
			}
		}
	}
	finding.Wait()
}

// Ready reports whether Commit would find the hooks that a rule needs attached, or known
// not to be there.
func (k *Kernel) Ready(r *rules.Rule) bool {
	for _, class := range r.AppliesTo {
		if h := k.hooks[class]; h != nil && !h.ready() {
			return false
		}
	}
	return true
}

// Prepare finds and attaches the hooks that a rule needs, while other rules are being
// committed. They stay until release is called, and then as long as live rules need them.
func (k *Kernel) Prepare(r *rules.Rule) (release func() error, err error) {
	if err := k.use(r); err != nil {
		return nil, &SwapError{r.ID, err}
	}
	return func() error { return k.release(r) }, nil
}

// use attaches the hooks that a rule, if there is one, needs.
func (k *Kernel) use(r *rules.Rule) error {
	if r == nil {
		return nil
	}
	for i, class := range r.AppliesTo {
		h := k.hooks[class]
		if h == nil {
			continue
		}
		if err := h.use(); err != nil {
			return errors.Join(err, k.releaseClasses(r.AppliesTo[:i]))
		}
	}
	return nil
}

// release undoes use. The hook of a class that no rule needs any more is detached, so that
// it costs nothing.
func (k *Kernel) release(r *rules.Rule) error {
	if r == nil {
		return nil
	}
	return k.releaseClasses(r.AppliesTo)
}

func (k *Kernel) releaseClasses(classes []event.Class) error {
	var errs []error
	for _, class := range classes {
		if h := k.hooks[class]; h != nil {
			errs = append(errs, h.release())
		}
	}
	return errors.Join(errs...)
}

func (k *Kernel) commit(swaps []Swap) (epoch uint64, died []*version, err error) {
	k.writer.Lock()
	defer k.writer.Unlock()

	var born []*version
	seen := make(map[string]bool, len(swaps))
	for _, s := range swaps {
		if seen[s.RuleID] {
			err = &SwapError{s.RuleID, errors.New("it is named twice in one commit")}
			break
		}
		seen[s.RuleID] = true
		if old := k.versions.live(s.RuleID); old != nil {
			died = append(died, old)
		}
		if s.New == nil {
			continue
		}
		n := k.versions.stage(s.New)
		born = append(born, n)
		if err = k.stage(n); err != nil {
			err = &SwapError{s.RuleID, err}
			break
		}
	}
	if err != nil {
		k.abandon(born)
		return 0, nil, err
	}

	epoch = k.epoch() + 1
	k.versions.swap(born, died, epoch)
	for _, n := range born {
		for _, slot := range n.slots {
			slot.table.born(slot.id, epoch)
		}
	}
	for _, old := range died {
		for _, slot := range old.slots {
			slot.table.died(slot.id, epoch)
		}
	}
	if k.fence != nil {
		if err := k.fence(); err != nil {
			return 0, nil, k.undo(born, died, err)
		}
	}
	if k.journal != nil {
		if err := k.journal.swap(born, died); err != nil {
			return 0, nil, k.undo(born, died, err)
		}
	}
	// This store is the swap.
	k.control.store(controlEpoch, epoch)
	k.bury(died)
	return epoch, died, nil
}

// undo takes back a swap that was prepared and not made.
func (k *Kernel) undo(born, died []*version, err error) error {
	for _, n := range born {
		for _, slot := range n.slots {
			slot.table.born(slot.id, never)
		}
	}
	for _, old := range died {
		for _, slot := range old.slots {
			slot.table.died(slot.id, never)
		}
	}
	k.versions.unswap(born, died)
	k.abandon(born)
	return fmt.Errorf("committing %d rules: %w", len(born)+len(died), err)
}

// abandon gives up versions that never became live. No program could see their slots,
// so these can be reused at once.
func (k *Kernel) abandon(staged []*version) {
	var ids []uint64
	for _, n := range staged {
		for _, slot := range n.slots {
			slot.table.reclaim(slot.id)
		}
		ids = append(ids, n.id)
	}
	k.versions.forget(ids, k.own.ring.produced())
}

// stage puts all clauses of a version into slots. When a table is full, or a key
// was deleted a moment ago, what waits to be reclaimed is waited for, once.
func (k *Kernel) stage(n *version) error {
	waited := false
	for _, plan := range n.rule.Plans() {
		table := k.slots[plan.Class]
		for _, clause := range plan.Clauses {
			err := k.stageClause(n, table, clause)
			if !waited && k.worthWaiting(err) {
				waited = true
				if err := k.reclaimNow(); err != nil {
					return err
				}
				err = k.stageClause(n, table, clause)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// worthWaiting reports whether a grace period would free what was missing.
func (k *Kernel) worthWaiting(err error) bool {
	switch {
	case errors.Is(err, errRecentlyDeleted):
		return true
	case errors.Is(err, errNoSlot):
		return len(k.dead) > 0 || k.waiting != nil
	}
	return errors.Is(err, ErrFull)
}

func (k *Kernel) stageClause(n *version, table *slotTable, c rules.Clause) error {
	id, err := table.stage(c, n.id)
	switch {
	case err == nil:
		n.slots = append(n.slots, slotRef{table, id})
	case id != noSlot:
		// Half a clause must never be born with the rest of the version.
		table.reclaim(id)
	}
	return err
}

// bury hands versions that nobody can see any more to the reclaimer.
func (k *Kernel) bury(dead []*version) {
	k.dead = append(k.dead, dead...)
	select {
	case k.reclaimer <- struct{}{}:
	default: // it is awake already
	}
}

func (k *Kernel) epoch() uint64 { return k.control.load(controlEpoch) }
