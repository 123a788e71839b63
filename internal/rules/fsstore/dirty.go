package fsstore

import (
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify"
)

// dirty are the names to look at, in the order in which they were first named,
// each with what its last events say of it.
type dirty struct {
	order []string
	hints map[string]*hint
	seen  time.Time
	// renames from one rule file's name to another's, in order
	renames []rename
	// switched: the names are dirty since all of them were switched at one moment.
	switched bool
}

// hint is what events say of a name. They say what to expect, not what is.
type hint struct {
	// written: the content is whole, since a writer closed it, or moved it there.
	// Otherwise the file may be one that was just made, and is being written.
	written bool
	// removed: the name was taken away, so if it is not there, that is no race.
	removed bool
	// tries counts how often the file was put off since somebody was writing.
	tries int
	// first is when it was put off first.
	first time.Time
}

type rename struct{ from, to string }

func newDirty(seen time.Time) *dirty {
	return &dirty{hints: map[string]*hint{}, seen: seen}
}

func (d *dirty) hint(name string) *hint {
	h := d.hints[name]
	if h == nil {
		h = &hint{}
		d.hints[name] = h
		d.order = append(d.order, name)
	}
	return h
}

// event takes in one event of a name, which is a rule file's or a list's.
func (d *dirty) event(name string, e inotify.Event) {
	h := d.hint(name)
	switch {
	case e.Mask&(unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO) != 0:
		h.written = true
	case e.Mask&(unix.IN_DELETE|unix.IN_MOVED_FROM) != 0:
		h.removed, h.written = true, false
	case e.Mask&unix.IN_CREATE != 0:
		h.written = false
	}
}

// add takes in what others say of names.
func (d *dirty) add(other *dirty) {
	for _, name := range other.order {
		h, more := d.hint(name), other.hints[name]
		h.written = more.written || h.written && !more.removed
		h.removed = h.removed || more.removed
		h.tries, h.first = more.tries, more.first
	}
	d.seen = other.seen
}

// pair joins the two halves of renames whose both names are rule files'.
func (d *dirty) pair(events []inotify.Event, isDir func(inotify.Event) bool) {
	from := map[uint32]string{}
	for _, e := range events {
		switch {
		case !Accepts(e.Name) || !isDir(e):
		case e.Mask&unix.IN_MOVED_FROM != 0:
			from[e.Cookie] = e.Name
		case e.Mask&unix.IN_MOVED_TO != 0:
			if name, ok := from[e.Cookie]; ok {
				d.renames = append(d.renames, rename{name, e.Name})
			}
		}
	}
}

// halfRename reports whether a rule file was renamed to a name that is not
// among the events.
func halfRename(events []inotify.Event) bool {
	open := map[uint32]bool{}
	for _, e := range events {
		switch {
		case e.Mask&unix.IN_MOVED_FROM != 0 && Accepts(e.Name):
			open[e.Cookie] = true
		case e.Mask&unix.IN_MOVED_TO != 0:
			delete(open, e.Cookie)
		}
	}
	return len(open) > 0
}
