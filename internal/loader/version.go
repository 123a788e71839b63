package loader

import (
	"cmp"
	"slices"
	"sync"

	"bittern/internal/rules"
)

// version is one rule version that the kernel runs or ran.
type version struct {
	id         uint64
	rule       *rules.Rule
	slots      []slotRef
	born, died uint64 // epochs; died is never while it lives
	// restore makes the rule of a version that another agent has left.
	restore func() (*rules.Rule, error)
}

// made returns the rule.
func (v *version) made() (*rules.Rule, error) {
	if v.restore != nil {
		return v.restore()
	}
	return v.rule, nil
}

// slotRef is one slot of one class.
type slotRef struct {
	table *slotTable
	id    slotID
}

// versions resolves the ids in records to rules. A version stays until the ring
// has been read past its death, so that every record finds its rules.
type versions struct {
	mu     sync.RWMutex
	byID   map[uint64]*version
	byRule map[string]*version // the live version of each rule
	lastID uint64
	drains []drain // oldest first
}

// drain says that versions can be forgotten once the ring is read up to position.
type drain struct {
	position uint64
	ids      []uint64
}

func newVersions() *versions {
	return &versions{byID: make(map[uint64]*version), byRule: make(map[string]*version)}
}

// stage gives a rule version an id. It is not live yet.
func (v *versions) stage(rule *rules.Rule) *version {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lastID++
	n := &version{id: v.lastID, rule: rule, born: never, died: never}
	v.byID[n.id] = n
	return n
}

func (v *versions) live(ruleID string) *version {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.byRule[ruleID]
}

// swap records what becomes live and what dies at an epoch. It must come before
// the store that makes it so, since records of that epoch can arrive at once.
func (v *versions) swap(born, died []*version, epoch uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, old := range died {
		old.died = epoch
		delete(v.byRule, old.rule.ID)
	}
	for _, n := range born {
		n.born = epoch
		v.byRule[n.rule.ID] = n
	}
}

// unswap undoes swap, for an epoch that never came.
func (v *versions) unswap(born, died []*version) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, n := range born {
		n.born = never
		delete(v.byRule, n.rule.ID)
	}
	for _, old := range died {
		old.died = never
		v.byRule[old.rule.ID] = old
	}
}

// forget drops versions once the ring has been read up to position.
func (v *versions) forget(ids []uint64, position uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.drains = append(v.drains, drain{position, ids})
}

// drained tells that the ring has been read up to position.
func (v *versions) drained(position uint64) {
	v.mu.RLock()
	due := len(v.drains) > 0 && v.drains[0].position <= position
	v.mu.RUnlock()
	if !due {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(v.drains) > 0 && v.drains[0].position <= position {
		for _, id := range v.drains[0].ids {
			delete(v.byID, id)
		}
		v.drains = v.drains[1:]
	}
}

// resolve returns the rules of the given versions, each once. unknown counts ids
// that no version has; a sound kernel never gives one.
func (v *versions) resolve(ids []uint64) (found []*rules.Rule, unknown int) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for i, id := range ids {
		if slices.Contains(ids[:i], id) {
			continue
		}
		if n, ok := v.byID[id]; !ok {
			unknown++
		} else if rule, err := n.made(); err != nil {
			unknown++
		} else {
			found = append(found, rule)
		}
	}
	return found, unknown
}

// known returns all versions that can still be asked for, by id, as they are now.
func (v *versions) known() []version {
	v.mu.RLock()
	defer v.mu.RUnlock()
	all := make([]version, 0, len(v.byID))
	for _, n := range v.byID {
		all = append(all, *n)
	}
	slices.SortFunc(all, func(a, b version) int { return cmp.Compare(a.id, b.id) })
	return all
}

// liveAt returns every rule that was live at an epoch, sorted by id.
func (v *versions) liveAt(epoch uint64) (live []*rules.Rule, unknown int) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, n := range v.byID {
		if n.born > epoch || epoch >= n.died {
			continue
		}
		if rule, err := n.made(); err != nil {
			unknown++
		} else {
			live = append(live, rule)
		}
	}
	slices.SortFunc(live, func(a, b *rules.Rule) int { return cmp.Compare(a.ID, b.ID) })
	return live, unknown
}
