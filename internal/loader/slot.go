package loader

import (
	"fmt"
	"math"

	"bittern/internal/rules"
)

// slotID numbers a slot. A slot holds one clause of one rule version.
type slotID uint32

// never is an epoch that does not come.
const never = math.MaxUint64

// Words of struct slot.
const (
	slotBorn = iota
	slotDied
	slotVersion
	slotWords
)

// slotUse is one key of the clause in a slot.
type slotUse struct {
	entry *entry
	group uint8
}

// slotTable is the single writer's side of the slots: who lives where.
type slotTable struct {
	words   *words // struct slot
	noGroup *words
	rows    *rowTable
	index   *index
	always  *row // for clauses without groups
	uses    [][]slotUse
	free    []slotID
}

func newSlotTable(slots, noGroup *words, rows *rowTable, x *index) (*slotTable, error) {
	n := slots.len() / slotWords
	t := &slotTable{words: slots, noGroup: noGroup, rows: rows, index: x, uses: make([][]slotUse, n), free: make([]slotID, n)}
	for i := range t.free {
		t.free[i] = slotID(n - 1 - i)
	}
	for i := range n {
		t.words.store(i*slotWords+slotBorn, never)
		t.words.store(i*slotWords+slotDied, never)
	}
	always, err := rows.newRow()
	if err != nil {
		return nil, err
	}
	if always.id != uint32(execLimitROW_ALWAYS) {
		return nil, fmt.Errorf("preparing the slots: the row of clauses without groups is %d, not %d", always.id, execLimitROW_ALWAYS)
	}
	t.always = always
	return t, nil
}

// noSlot is no slot at all.
const noSlot = slotID(math.MaxUint32)

// errNoSlot is the ErrFull of the slots.
var errNoSlot = fmt.Errorf("%w in the kernel's slots", ErrFull)

// stage puts a clause into a free slot. It stays invisible until born is called.
// On an error the slot, unless it is noSlot, holds part of the clause; it must be
// reclaimed like one that has died.
func (t *slotTable) stage(c rules.Clause, version uint64) (slotID, error) {
	if len(t.free) == 0 {
		return noSlot, fmt.Errorf("all %d slots are taken: %w", len(t.uses), errNoSlot)
	}
	id := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]

	t.words.store(int(id)*slotWords+slotVersion, version)
	t.setGroups(id, len(c.Groups))
	if len(c.Groups) == 0 {
		if err := t.rows.add(t.always, id, 0); err != nil {
			return id, err
		}
	}
	for g, group := range c.Groups {
		for _, key := range group {
			if err := t.hit(id, key, uint8(g)); err != nil {
				return id, err
			}
		}
	}
	for _, key := range c.Not {
		if err := t.hit(id, key, groupNot); err != nil {
			return id, err
		}
	}
	return id, nil
}

// setGroups says which groups the clause does not have. Group 0 is always one:
// clauses without groups hit it through the row that every event hits.
func (t *slotTable) setGroups(id slotID, groups int) {
	for g := 1; g < maxGroups; g++ {
		at := g*maxBlocks + int(id/slotsPerCell)
		old := t.noGroup.load(at)
		if g < groups {
			t.noGroup.store(at, old&^slotBit(id))
		} else {
			t.noGroup.store(at, old|slotBit(id))
		}
	}
}

func (t *slotTable) hit(id slotID, key rules.Key, group uint8) error {
	k, err := indexKeyOf(key)
	if err != nil {
		return err
	}
	e, err := t.index.acquire(k)
	if err != nil {
		return err
	}
	t.uses[id] = append(t.uses[id], slotUse{e, group})
	return t.index.add(e, id, group)
}

// born makes the slot visible from the given epoch on.
func (t *slotTable) born(id slotID, epoch uint64) {
	t.words.store(int(id)*slotWords+slotBorn, epoch)
}

// died makes the slot invisible from the given epoch on.
func (t *slotTable) died(id slotID, epoch uint64) {
	t.words.store(int(id)*slotWords+slotDied, epoch)
}

// reclaim empties a slot that no program can see any more, or ever could.
func (t *slotTable) reclaim(id slotID) {
	t.rows.remove(t.always, id, 0)
	for _, u := range t.uses[id] {
		t.index.drop(u.entry, id, u.group)
		t.index.release(u.entry)
	}
	t.uses[id] = nil
	// Born first: visible of bpf/match.h says why.
	t.words.store(int(id)*slotWords+slotBorn, never)
	t.words.store(int(id)*slotWords+slotDied, never)
	t.free = append(t.free, id)
}
