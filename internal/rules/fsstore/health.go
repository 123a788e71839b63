package fsstore

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	liveness "bittern/internal/health"
	"bittern/internal/rules"
)

// UnwatchedError says that edits have no effect at present, and why.
type UnwatchedError struct {
	Source string // the rules directory, or the file of states
	Reason string
	Since  time.Time
}

// Error names the source and the reason.
func (e *UnwatchedError) Error() string {
	return fmt.Sprintf("%s is not watched: %s", e.Source, e.Reason)
}

// errNotStarted is the health of a store that has yet to read its rules.
var errNotStarted = errors.New("rule store is not started")

// stuckAfter is how long the store may be at one thing. To read and compile 4,096
// rules takes about a second; a file system that hangs takes for ever.
const stuckAfter = 30 * time.Second

// health is what is known of the goroutines that watch. It is read without any
// lock, so that one that hangs with a lock held can't look well.
type health struct {
	rules, states atomic.Pointer[UnwatchedError] // nil while all is well
	work          liveness.Work                  // of the goroutine, at rest while it waits
	began         time.Time
}

// Health returns nil while edits take effect: the directory, and the file of
// states, are watched by goroutines that live. It takes no lock.
func (s *Store) Health() error {
	select {
	case <-s.stop:
		return ErrStopped
	default:
	}
	select {
	case <-s.up:
	default:
		return errNotStarted
	}
	if s.startErr != nil {
		return s.startErr
	}
	select {
	case <-s.done:
		return &UnwatchedError{Source: s.cfg.Dir, Reason: "what watches it has ended", Since: s.health.began}
	default:
	}
	var errs []error
	for _, e := range []*UnwatchedError{s.health.rules.Load(), s.health.stuck(s.cfg), s.health.states.Load()} {
		if e != nil {
			errs = append(errs, e)
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// stuck says whether the goroutine has been at one thing for too long.
func (h *health) stuck(cfg Config) *UnwatchedError {
	since, is := h.work.Longer(cfg.stuck)
	if !is {
		return nil
	}
	return &UnwatchedError{Source: cfg.Dir, Since: since, Reason: fmt.Sprintf("a look at it takes more than %v", cfg.stuck)}
}

// watches notes what is wrong with one of the two, or that nothing is.
func (h *health) watches(of *atomic.Pointer[UnwatchedError], problems rules.Problems) {
	if len(problems) == 0 {
		of.Store(nil)
		return
	}
	now := &UnwatchedError{Source: problems[0].Pos.File, Reason: problems[0].Message, Since: time.Now()}
	if was := of.Load(); was != nil {
		now.Since = was.Since
	}
	of.Store(now)
}
