// Package repeat holds the limits of rules: of each rule version and source it writes so many detections
// within a window, and counts the others. A count is told in records and is never dropped; kept in
// a journal it survives the death of the agent at any moment, to the last detection.
//
// It decides and counts, and knows nothing of the kernel or of how records look.
package repeat

import (
	"container/list"
	"time"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// Source is what a limit counts apart. Only the fields of its kind are set.
type Source struct {
	Per   rules.Per
	PID   uint32        // process
	Start time.Duration // process: from boot to its start
	User  uint32        // user: id
}

// SourceOf returns the source of a detection, and the executable of the process if it is one.
// A fork and exec loop makes new processes all the time, so of executions and ends the source is the parent, if it is known.
func SourceOf(per rules.Per, ev *event.Event) (from Source, executable string) {
	switch per {
	case rules.PerUser:
		return Source{Per: per, User: ev.User.ID}, ""
	case rules.PerProcess:
		p := &ev.Process
		if (ev.Class == event.ProcessExec || ev.Class == event.ProcessExit) && ev.Parent.PID != 0 {
			p = &ev.Parent
		}
		return Source{Per: per, PID: p.PID, Start: p.StartRel}, p.Executable
	}
	return Source{Per: per}, ""
}

// Record names a record of the kernel for good.
type Record struct {
	Instance string // whose programs made it
	Class    event.Class
	CPU      uint32
	Sequence uint64
}

// Moment is one detection's place and time.
type Moment struct {
	Record Record
	Time   time.Time
	Uptime time.Duration // since boot: windows are measured by it, since clocks are set
}

// Window counts the detections of one rule version and source from the first one on.
type Window struct {
	Rule       *rules.Rule // with Limit; little more of it is known if its document was lost
	Source     Source
	Executable string // of the source, if that is a process
	Boot       string // id of the boot that Uptime and PID are of
	Opened     time.Duration
	Began      time.Time

	Written     uint64 // detections that are, or are about to be, in the output
	Held        uint64 // detections that were counted instead
	Announced   uint64 // of these, how many records tell of, or are about to tell of
	Told        uint64 // of these, how many records are in the output for sure
	ToldAt      time.Duration
	First, Last time.Time // of those held and not told

	// The last detection, and whether it was held: a record of the kernel that is read again gets the
	// same answer again.
	Record   Record
	LastHeld bool

	place   place         // in the journal
	retired time.Duration // when its rule version was first found not to be live; 0 if it is
	quiet   *list.Element // in the quiet windows of its rule; nil if it is not one
}

type key struct {
	rule   rules.Hash
	source Source
}

func (w *Window) key() key { return key{w.Rule.Hash, w.Source} }

// end is when the window is over by its own length.
func (w *Window) end() time.Duration { return w.Opened + w.Rule.Limit.Window }

// hold counts a detection that is not written.
func (w *Window) hold(at Moment) {
	if w.Held == w.Told {
		w.First, w.Last = at.Time, at.Time
	}
	if w.Held == 0 {
		w.ToldAt = at.Uptime
	}
	if at.Time.Before(w.First) {
		w.First = at.Time
	}
	if at.Time.After(w.Last) {
		w.Last = at.Time
	}
	w.Held++
}
