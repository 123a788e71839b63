package loader

import (
	"fmt"
	"math"

	"bittern/internal/event"
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

// slotTable is the single writer's side of the slots of one event class: who lives
// where. Slots are counted within the class.
type slotTable struct {
	class   event.Class
	first   int    // the class's first slot in words
	words   *words // struct slot, of all classes
	noGroup *words
	rows    *rowTable
	index   *index
	always  *row // for clauses without groups
	uses    [][]slotUse
	free    []slotID
}

// newSlotTables divides the slots among the classes. It must be the first to make
// rows: those for clauses without groups have the numbers of the classes.
func newSlotTables(slots, noGroup *words, perClass int, rows *rowTable, x *index) ([]*slotTable, error) {
	tables := make([]*slotTable, execEventClassEVENT_CLASS_COUNT)
	for c := range tables {
		always, err := rows.newRow()
		if err != nil {
			return nil, err
		}
		if always.id != uint32(c) {
			return nil, fmt.Errorf("preparing the slots: the row of clauses without groups is %d, not %d", always.id, c)
		}
		t := &slotTable{
			class: event.Class(c), first: c * perClass, words: slots, noGroup: noGroup, rows: rows, index: x, always: always,
			uses: make([][]slotUse, perClass), free: make([]slotID, perClass),
		}
		for i := range t.free {
			id := slotID(perClass - 1 - i)
			t.free[i] = id
			t.store(id, slotBorn, never)
			t.store(id, slotDied, never)
		}
		tables[c] = t
	}
	return tables, nil
}

func (t *slotTable) store(id slotID, word int, value uint64) {
	t.words.store((t.first+int(id))*slotWords+word, value)
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
		return noSlot, fmt.Errorf("all %d slots of %s are taken: %w", len(t.uses), t.class, errNoSlot)
	}
	id := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]

	t.store(id, slotVersion, version)
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
	blocks := len(t.uses) / int(slotsPerCell)
	for g := 1; g < maxGroups; g++ {
		at := (int(t.class)*maxGroups+g)*blocks + int(id/slotsPerCell)
		old := t.noGroup.load(at)
		if g < groups {
			t.noGroup.store(at, old&^slotBit(id))
		} else {
			t.noGroup.store(at, old|slotBit(id))
		}
	}
}

func (t *slotTable) hit(id slotID, key rules.Key, group uint8) error {
	k, err := indexKeyOf(t.class, key)
	if err != nil {
		return err
	}
	e, err := t.index.acquire(k, group == 0)
	if err != nil {
		return err
	}
	t.uses[id] = append(t.uses[id], slotUse{e, group})
	return t.index.add(e, id, group)
}

// born makes the slot visible from the given epoch on.
func (t *slotTable) born(id slotID, epoch uint64) {
	t.store(id, slotBorn, epoch)
}

// died makes the slot invisible from the given epoch on.
func (t *slotTable) died(id slotID, epoch uint64) {
	t.store(id, slotDied, epoch)
}

// reclaim empties a slot that no program can see any more, or ever could, and returns how many
// keys it had.
func (t *slotTable) reclaim(id slotID) int {
	keys := len(t.uses[id])
	t.rows.remove(t.always, id, 0)
	for _, u := range t.uses[id] {
		t.index.drop(u.entry, id, u.group)
		t.index.release(u.entry, u.group == 0)
	}
	t.uses[id] = nil
	// Born first: visible of bpf/match.h says why.
	t.store(id, slotBorn, never)
	t.store(id, slotDied, never)
	t.free = append(t.free, id)
	return keys
}
