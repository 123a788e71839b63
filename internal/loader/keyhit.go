package loader

import (
	"slices"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// Hit reports whether an event of a class has hit a key since the kernel has it. It is false of a key that
// it does not have. Keys are shared: another rule may have brought one in earlier. Those of the first
// groups of clauses are looked up in each event; others only in events that have hit the first group of some
// clause.
func (k *Kernel) Hit(class event.Class, key rules.Key) (bool, error) {
	at, err := indexKeyOf(class, key)
	if err != nil {
		return false, err
	}
	k.writer.Lock()
	defer k.writer.Unlock()
	return k.index.hit(at), nil
}

// hit looks at longer keys as well, which hide this one from programs.
func (x *index) hit(key indexKey) bool {
	e, ok := x.entries[key]
	if !ok {
		return false
	}
	if x.rows.hit(e.row) {
		return true
	}
	return slices.ContainsFunc(e.longer, func(longer *entry) bool { return x.rows.hit(longer.row) })
}
