// Package health says whether an agent does its work, and if not, why. Whoever asks waits for nobody, so that
// an agent that hangs can still be asked.
package health

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// Board is the parts of an agent that can fail while others go on. It can be asked at any time;
// parts are added before Started.
type Board struct {
	parts   []part
	started atomic.Bool
}

type part struct {
	name string
	ask  func() error
}

// Report is how a part is.
type Report struct {
	Part string
	Err  error // nil if it does its work
}

// Add adds a part. ask is nil while it does its work, and must take no lock that is held over
// work.
func (b *Board) Add(name string, ask func() error) { b.parts = append(b.parts, part{name, ask}) }

// Started says that all has been loaded.
func (b *Board) Started() { b.started.Store(true) }

// Reports asks all parts, in the order in which they were added; none before the start.
func (b *Board) Reports() []Report {
	if !b.started.Load() {
		return nil
	}
	all := make([]Report, len(b.parts))
	for i, p := range b.parts {
		all[i] = Report{p.name, p.ask()}
	}
	return all
}

// Healthy is nil if all parts do their work, else an *Error.
func (b *Board) Healthy() error {
	var failed []Report
	for _, r := range b.Reports() {
		if r.Err != nil {
			failed = append(failed, r)
		}
	}
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
var ErrStarting = errors.New("starting: rules are being loaded")

// Error says which parts don't do their work, and why.
type Error struct{ Failed []Report }

// Error has a line for each part.
func (e *Error) Error() string {
	lines := make([]string, len(e.Failed))
	for i, r := range e.Failed {
		lines[i] = r.Part + ": " + r.Err.Error()
	}
	return strings.Join(lines, "\n")
}

// Work is something that is done again and again, and must not take for ever. Its zero value is
// at rest. One goroutine at a time may be at it.
type Work struct{ began atomic.Int64 } // ns since loaded, by a clock that nobody sets; 0 at rest

var loaded = time.Now()

// Begin is called when it begins, and End when it is done.
func (w *Work) Begin() { w.began.Store(max(int64(time.Since(loaded)), 1)) }

// End is called when it is done.
func (w *Work) End() { w.began.Store(0) }

// Longer reports whether it has been going on for longer than that, and since when.
func (w *Work) Longer(than time.Duration) (since time.Time, is bool) {
	began := w.began.Load()
	if began == 0 {
		return time.Time{}, false
	}
	since = loaded.Add(time.Duration(began))
	return since, time.Since(since) >= than
}

// Within returns an error if it has been going on for longer than that.
func (w *Work) Within(most time.Duration) error {
	if since, is := w.Longer(most); is {
		return fmt.Errorf("at one thing since %s, which should take less than %v", since.UTC().Format(time.RFC3339), most)
	}
	return nil
}
