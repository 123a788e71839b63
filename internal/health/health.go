// Package health says whether an agent does its work, and if not, why. Whoever asks waits for nobody:
// what the parts of the agent say is kept in atomic values, so that an agent that hangs can still be
// asked.
package health

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Part is one part of the agent, which says how it is.
type Part struct {
	name string
	last atomic.Pointer[Report]
}

// Report is how a part was when it said so last.
type Report struct {
	Part  string
	Err   error // nil if it does its work
	Since time.Time
}

// Set says how the part is: nil if it does its work. Reports of the same error keep the time of the first.
func (p *Part) Set(err error) {
	before := p.last.Load()
	if before.Err == nil && err == nil || before.Err != nil && err != nil && before.Err.Error() == err.Error() {
		return
	}
	p.last.Store(&Report{Part: p.name, Err: err, Since: time.Now()})
}

// Board is what all parts say. Parts are added before it is asked.
type Board struct {
	parts   []*Part
	started atomic.Bool
}

// Add makes a part that does its work.
func (b *Board) Add(name string) *Part {
	p := &Part{name: name}
	p.last.Store(&Report{Part: name, Since: time.Now()})
	b.parts = append(b.parts, p)
	return p
}

// Started says that the agent has started: all that it had to load is loaded.
func (b *Board) Started() { b.started.Store(true) }

// Reports are those of all parts, in the order in which they were added.
func (b *Board) Reports() []Report {
	all := make([]Report, len(b.parts))
	for i, p := range b.parts {
		all[i] = *p.last.Load()
	}
	return all
}

// Healthy is nil if all parts do their work, else it says which don't, and why.
func (b *Board) Healthy() error {
	failed := slices.DeleteFunc(b.Reports(), func(r Report) bool { return r.Err == nil })
	if len(failed) == 0 {
		return nil
	}
	return &Error{failed}
}

// Ready is nil once the agent has started and as long as it is healthy.
func (b *Board) Ready() error {
	if !b.started.Load() {
		return ErrStarting
	}
	return b.Healthy()
}

// ErrStarting says that the agent has not come so far yet.
var ErrStarting = fmt.Errorf("starting: rules are being loaded")

// Error says which parts don't do their work.
type Error struct{ Failed []Report }

func (e *Error) Error() string {
	var b strings.Builder
	for i, r := range e.Failed {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s since %s: %v", r.Part, r.Since.UTC().Format(time.RFC3339), r.Err)
	}
	return b.String()
}
