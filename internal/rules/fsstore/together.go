package fsstore

import (
	"slices"
	"time"

	"bittern/internal/rules"
)

// attempt has the set that is gathered take effect, if the hold is gone and all of it is right
// and there. Grace is how long a file must have been away that is to be one which was deleted.
func (l *loop) attempt(grace time.Duration) {
	h := l.held
	h.again = time.Time{}
	if l.root.dir < 0 || l.lookForHold() {
		return
	}
	all := l.inspectAll(h.work)
	if l.meanwhile() != nothing {
		return // and once more, when that is handled
	}
	whole := true
	updates := make([]update, 0, len(all))
	for i, found := range all {
		name := h.work.order[i]
		if found.state == content && !found.same {
			h.parsed[name] = parsed{found.sum, found.file}
		}
		u, ok := l.conclude(name, *h.work.hints[name], h.work.seen, found)
		if b, busy := l.busy[name]; busy {
			*h.work.hints[name] = b.hint
			l.wake(b.due)
			whole = whole && u.kind == wait // of that it is said what is wrong
		} else if !ok {
			whole = false // the event that tells why it is away is still to come
		}
		switch src := l.store.set.sources[name]; {
		case u.kind != miss:
			delete(l.vanished, name)
			if u.kind == refuse && src != nil && src.bad != nil && src.bad.Message == u.problem.Message {
				u = update{kind: confirm, name: name} // it was so before
			}
		case src == nil:
			ok = false // it came and went
		default:
			u, ok = l.away(name, grace)
			whole = whole && ok
		}
		if ok {
			u.seen = h.work.seen
			updates = append(updates, u)
		}
	}
	if !whole {
		return
	}
	linked := l.link(updates)
	if flaws := l.store.set.flaws(linked); len(flaws) > 0 {
		h.told = l.store.refuse(edited(linked.updates, flaws), flaws, h.told)
		return
	}
	for _, u := range updates {
		if u.kind == drop {
			l.leads(u.name, nil)
		}
	}
	l.held = nil
	clear(l.vanished)
	l.store.apply(linked, l.set(true, true), true)
}

// edited leaves out the updates of files that only use lists which change, and are right with them.
func edited(updates []update, flaws []flaw) []update {
	return slices.DeleteFunc(slices.Clone(updates), func(u update) bool {
		return u.again && !slices.ContainsFunc(flaws, func(f flaw) bool { return f.name == u.name })
	})
}

// set makes a set of changes, if they are one.
func (l *loop) set(together, whole bool) rules.ChangeSet {
	if !together {
		return rules.ChangeSet{}
	}
	l.sets++
	return rules.ChangeSet{ID: l.sets, Whole: whole}
}

// away is what becomes of a file that is not there: a deletion, once it was away for the grace.
func (l *loop) away(name string, grace time.Duration) (update, bool) {
	v, known := l.vanished[name]
	if !known && grace > 0 {
		v = vanished{seen: l.held.work.seen, due: time.Now().Add(grace)}
		l.vanished[name] = v
	}
	if time.Now().Before(v.due) {
		l.wake(v.due)
		return update{}, false
	}
	return update{kind: drop, name: name}, true
}

// wake has the set looked at again at a time, at the latest.
func (l *loop) wake(at time.Time) {
	if h := l.held; h.again.IsZero() || at.Before(h.again) {
		h.again = at
	}
}
