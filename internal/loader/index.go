package loader

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// entry is one key of an index map. Its row never changes while it is there.
type entry struct {
	key  indexKey
	row  *row
	uses int  // by slots, dead ones included until they are reclaimed
	lead int  // those of them in the first group of a clause
	idle bool // uses is 0: kept, since the next version may want it again

	// Of texts: those that begin with this one's, and the longest that this one begins with.
	longer  []*entry
	shorter *entry
}

// index is the single writer's side of the index maps. Programs look keys up at
// any moment, and hash elements are recycled under readers: so a key is inserted
// once, complete, and one that was deleted comes back only after a grace period.
type index struct {
	texts, numbers, grams *ebpf.Map
	filters               *words
	control               *words
	rows                  *rowTable

	entries map[indexKey]*entry
	sorted  map[uint32][]string   // keys of texts by tag, in byte order
	idle    []*entry              // oldest first; some may be in use again
	deleted map[indexKey]struct{} // since the last grace period

	bitUses map[int]int // how many entries need a bit, by its number in the words
	maxIdle int
}

func newIndex(m *execMaps, filters, control *words, rows *rowTable) *index {
	return &index{
		texts: m.Texts, numbers: m.Numbers, grams: m.Grams,
		filters: filters, control: control, rows: rows,
		entries: make(map[indexKey]*entry),
		sorted:  make(map[uint32][]string),
		deleted: make(map[indexKey]struct{}),
		bitUses: make(map[int]int),
		// An eighth of the room: enough for versions that come and go.
		maxIdle: int(m.Grams.MaxEntries()) / 8,
	}
}

// errRecentlyDeleted asks the caller to wait for a grace period and try again.
var errRecentlyDeleted = errors.New("key was deleted a moment ago")

// acquire returns the entry of a key, inserting it if it is new, and counts one use, in
// the first group of a clause or in another.
func (x *index) acquire(key indexKey, lead bool) (*entry, error) {
	e, ok := x.entries[key]
	if !ok {
		var err error
		if e, err = x.insert(key); err != nil {
			return nil, err
		}
	}
	e.idle = false
	if e.uses++; e.uses == 1 {
		x.useLook(key, lookAll, 1)
	}
	if lead {
		if e.lead++; e.lead == 1 {
			x.useLook(key, lookFirst, 1)
		}
	}
	return e, nil
}

// release gives one use back. The key stays for the next version that wants it,
// within limits.
func (x *index) release(e *entry, lead bool) {
	if lead {
		if e.lead--; e.lead == 0 {
			x.useLook(e.key, lookFirst, -1)
		}
	}
	if e.uses--; e.uses > 0 {
		return
	}
	x.useLook(e.key, lookAll, -1)
	e.idle = true
	x.idle = append(x.idle, e)
}

// evict deletes the oldest idle keys beyond the limit.
func (x *index) evict() error {
	for len(x.idle) > x.maxIdle {
		e := x.idle[0]
		x.idle = x.idle[1:]
		if !e.idle || x.entries[e.key] != e {
			continue
		}
		if err := x.remove(e); err != nil {
			return err
		}
	}
	return nil
}

func (x *index) insert(key indexKey) (*entry, error) {
	if _, ok := x.deleted[key]; ok {
		return nil, errRecentlyDeleted
	}
	shorter := x.shorter(key)
	r, err := x.newRow(shorter)
	if err != nil {
		return nil, err
	}
	x.useFilter(key, 1)
	if err := x.update(key, r.id); err != nil {
		x.useFilter(key, -1)
		x.rows.drop(r)
		return nil, err
	}
	e := &entry{key: key, row: r, shorter: shorter}
	x.entries[key] = e
	if key.table == textTable {
		x.join(e)
	}
	return e, nil
}

// newRow returns the row for a new key: what a shorter key of a text already says
// holds for it too, since the longest match is the only one that programs see.
func (x *index) newRow(shorter *entry) (*row, error) {
	if shorter != nil {
		return x.rows.copyRow(shorter.row)
	}
	return x.rows.newRow()
}

// shorter returns the longest of the keys of texts that a key begins with, itself left out; nil if
// there is none.
func (x *index) shorter(key indexKey) *entry {
	if key.table != textTable {
		return nil
	}
	for n := len(key.text) - 1; n >= 0; n-- {
		shorter := indexKey{table: textTable, tag: key.tag, text: key.text[:n], bits: key.bits}
		if e, ok := x.entries[shorter]; ok {
			return e
		}
	}
	return nil
}

// join tells the entry of a new text and those that it begins with, or that begin with it, of each other.
func (x *index) join(e *entry) {
	all := x.sorted[e.key.tag]
	i := sort.SearchStrings(all, e.key.text)
	for _, text := range all[i:] {
		if !strings.HasPrefix(text, e.key.text) {
			break
		}
		longer := x.entries[indexKey{table: textTable, tag: e.key.tag, text: text, bits: e.key.bits}]
		e.longer = append(e.longer, longer)
		if longer.shorter == e.shorter {
			longer.shorter = e
		}
	}
	x.sorted[e.key.tag] = slices.Insert(all, i, e.key.text)
	for s := e.shorter; s != nil; s = s.shorter {
		s.longer = append(s.longer, e)
	}
}

// part undoes join.
func (x *index) part(e *entry) {
	all := x.sorted[e.key.tag]
	i := sort.SearchStrings(all, e.key.text)
	x.sorted[e.key.tag] = slices.Delete(all, i, i+1)
	for _, longer := range e.longer {
		if longer.shorter == e {
			longer.shorter = e.shorter
		}
	}
	for s := e.shorter; s != nil; s = s.shorter {
		s.longer = slices.DeleteFunc(s.longer, func(l *entry) bool { return l == e })
	}
}

func (x *index) remove(e *entry) error {
	var err error
	switch e.key.table {
	case textTable:
		err = x.texts.Delete(e.key.kernelText())
	case numberTable:
		err = x.numbers.Delete(execNumberKey{Field: uint64(e.key.tag), Value: e.key.number})
	case gramTable:
		err = x.grams.Delete(execGramKey{Field: e.key.gramField(), Gram: uint32(e.key.number)})
	}
	if err != nil {
		return fmt.Errorf("deleting key %s: %w", e.key, err)
	}
	delete(x.entries, e.key)
	x.deleted[e.key] = struct{}{}
	x.rows.drop(e.row)
	x.useFilter(e.key, -1)
	if e.key.table == textTable {
		x.part(e)
	}
	return nil
}

func (x *index) update(key indexKey, rowID uint32) error {
	var err error
	switch key.table {
	case textTable:
		err = x.texts.Update(key.kernelText(), rowID, ebpf.UpdateNoExist)
	case numberTable:
		err = x.numbers.Update(execNumberKey{Field: uint64(key.tag), Value: key.number}, rowID, ebpf.UpdateNoExist)
	case gramTable:
		err = x.grams.Update(execGramKey{Field: key.gramField(), Gram: uint32(key.number)}, rowID, ebpf.UpdateNoExist)
	}
	switch {
	case errors.Is(err, unix.E2BIG), errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("inserting key %s: the kernel's table of keys is full: %w", key, ErrFull)
	case err != nil:
		return fmt.Errorf("inserting key %s: %w", key, err)
	}
	return nil
}

// add makes hits of the entry count for the group of the slot. Longer keys of the
// same text hide this one, so they must say the same.
func (x *index) add(e *entry, slot slotID, group uint8) error {
	if err := x.rows.add(e.row, slot, group); err != nil {
		return err
	}
	for _, longer := range e.longer {
		if err := x.rows.add(longer.row, slot, group); err != nil {
			return err
		}
	}
	return nil
}

// drop undoes add.
func (x *index) drop(e *entry, slot slotID, group uint8) {
	x.rows.remove(e.row, slot, group)
	for _, longer := range e.longer {
		x.rows.remove(longer.row, slot, group)
	}
}

// takeDeleted returns the keys deleted since the last call; after the next grace
// period they go to allow.
func (x *index) takeDeleted() []indexKey {
	keys := make([]indexKey, 0, len(x.deleted))
	for key := range x.deleted {
		keys = append(keys, key)
	}
	return keys
}

// allow lets deleted keys come back.
func (x *index) allow(keys []indexKey) {
	for _, key := range keys {
		delete(x.deleted, key)
	}
}
