package inotify

import (
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Batch is what one read(2) returned.
type Batch struct {
	// Events are in the kernel's order. Those of queue overflows are left out:
	// Rescan stands for them.
	Events []Event
	// Rescan says why events can no longer be relied on, so that directories
	// have to be watched again and read anew; 0 in the ordinary case. The watches
	// it concerns are those of the events with IN_IGNORED or IN_UNMOUNT, and all
	// of them after an overflow.
	Rescan Reason
	// At is when read(2) returned, with a monotonic reading.
	At time.Time
}

// Reason is a set of reasons to watch and read directories anew.
type Reason uint8

// The reasons.
const (
	Overflow  Reason = 1 << iota // the kernel's queue was full: events are lost
	Ignored                      // the kernel removed a watch: its directory is gone
	Unmounted                    // the file system of a directory was unmounted
)

// String names the reasons, for example "overflow+ignored".
func (r Reason) String() string {
	var names []string
	for _, known := range []struct {
		reason Reason
		name   string
	}{{Overflow, "overflow"}, {Ignored, "ignored"}, {Unmounted, "unmounted"}} {
		if r&known.reason != 0 {
			names = append(names, known.name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, "+")
}

// newBatch sorts records into events and reasons. removed reports, once for
// each, whether a watch was removed by its owner, for whom IN_IGNORED is no news.
func newBatch(records []Event, at time.Time, removed func(Watch) bool) Batch {
	b := Batch{Events: records[:0], At: at}
	for _, e := range records {
		switch {
		case e.Mask&unix.IN_Q_OVERFLOW != 0:
			b.Rescan |= Overflow
			continue
		case e.Mask&unix.IN_IGNORED != 0:
			if removed(e.Watch) {
				continue
			}
			b.Rescan |= Ignored
		case e.Mask&unix.IN_UNMOUNT != 0:
			b.Rescan |= Unmounted
		}
		b.Events = append(b.Events, e)
	}
	return b
}
