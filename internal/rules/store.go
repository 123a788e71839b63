package rules

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ChangeKind says what happened to a rule.
type ChangeKind uint8

// The kinds of change.
const (
	// Definition: the rule is new or its content changed.
	Definition ChangeKind = iota + 1
	// Deleted: no file defines the rule any more.
	Deleted
	// Rejected: a file was edited and is now wrong; nothing that is live changed.
	// RuleID is "" if the problems belong to no known rule.
	Rejected
	// StateSet: the rule's state is another one, by somebody or since it expired. There need
	// be no rule of that id.
	StateSet
	// StatesRejected: the states were edited and are now wrong. Where one of them can't be
	// read, the rule keeps the state that it had.
	StatesRejected
)

// String returns "definition", "deleted", "rejected", "state" or "states rejected".
func (k ChangeKind) String() string {
	switch k {
	case Definition:
		return "definition"
	case Deleted:
		return "deleted"
	case Rejected:
		return "rejected"
	case StateSet:
		return "state"
	case StatesRejected:
		return "states rejected"
	}
	return "unknown"
}

// Change is one change of one rule. There is one for each rule of an edit, also of
// those that belong to a set.
type Change struct {
	Kind     ChangeKind
	RuleID   string
	Rule     *Rule    // Definition: the new version
	Problems Problems // Rejected, StatesRejected: why; Definition: warnings
	// State is what a rule has from this change on, of a StateSet or a Definition.
	State RuleState
	By    string // StateSet: who did it, ByExpiry or ByFleet; of a fleet's state "alice (group)"
	// Seen is when the store learned of the edit, with a monotonic reading: what
	// passed since then is the agent's part of the time from edit to live.
	Seen time.Time
	// Set is what the change has in common with others; zero if nothing.
	Set ChangeSet
}

// ChangeSet says that changes belong together: an event is to be judged by the rules
// before or after all of them. They come one after the other, with no other change
// between them.
type ChangeSet struct {
	ID   uint64 // no two sets of a store have the same; 0 for no set
	Size int    // how many changes it has
	// Whole: if one of them can't take effect, none is to. Otherwise the others are to.
	Whole bool
}

// ByExpiry is who did it when a state has expired.
const ByExpiry = "expiry"

// ByFleet is who did it when a fleet's state is there no more: it is not told whose doing that is.
const ByFleet = "fleet"

// SourceProblems is what is wrong at present with one source of rules: a file,
// or the rules directory itself.
type SourceProblems struct {
	Source   string
	Problems Problems
	// Stale are the ids of rules, in order, that are live in an older version
	// than the source has now, because what it has now is not usable.
	Stale []string
	// States says that the source is of states, not of rules.
	States bool
}

// ErrClosed is what a Subscription returns when no change will ever come.
var ErrClosed = errors.New("subscription closed")

// Feed hands every change to every subscription, in the order of Publish. The
// zero value is ready; a Feed is safe for use by several goroutines.
type Feed struct {
	mu     sync.Mutex
	subs   map[*Subscription]struct{}
	closed bool
}

// Publish queues the changes for all subscriptions. It never waits for one.
func (f *Feed) Publish(changes ...Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		s.push(changes)
	}
}

// Subscribe registers a subscription: it gets all that is published from now on.
func (f *Feed) Subscribe() *Subscription {
	s := &Subscription{feed: f, ready: make(chan struct{}, 1), done: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		s.end(false)
		return s
	}
	if f.subs == nil {
		f.subs = make(map[*Subscription]struct{})
	}
	f.subs[s] = struct{}{}
	return s
}

// Close ends all subscriptions. What is queued can still be received.
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for s := range f.subs {
		s.end(false)
	}
	clear(f.subs)
}

// Subscription is a queue of changes without a bound: a receiver that is slow
// holds up nobody, and loses nothing. It is safe for use by several goroutines.
type Subscription struct {
	feed  *Feed
	ready chan struct{} // holds a token while the queue may have something
	done  chan struct{} // closed when nothing more will be queued

	mu    sync.Mutex
	queue []Change
	ended bool
}

// Next returns the next change, and waits for it if need be. It returns the
// error of ctx, or ErrClosed if there will be no next one.
func (s *Subscription) Next(ctx context.Context) (Change, error) {
	for {
		if c, ok := s.TryNext(); ok {
			return c, nil
		}
		select {
		case <-s.ready:
		case <-s.done:
			// The queue may have grown between TryNext and the end.
			if c, ok := s.TryNext(); ok {
				return c, nil
			}
			return Change{}, ErrClosed
		case <-ctx.Done():
			return Change{}, ctx.Err()
		}
	}
}

// TryNext returns the next change if there is one already.
func (s *Subscription) TryNext() (Change, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		return Change{}, false
	}
	c := s.queue[0]
	s.queue[0] = Change{} // so that the array does not keep the rule alive
	s.queue = s.queue[1:]
	if len(s.queue) > 0 {
		s.signal()
	}
	return c, true
}

// Ready is for a select: it is received from when TryNext is worth a try.
func (s *Subscription) Ready() <-chan struct{} { return s.ready }

// Done is closed when nothing more will be queued.
func (s *Subscription) Done() <-chan struct{} { return s.done }

// Depth returns how many changes wait to be received.
func (s *Subscription) Depth() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// Close ends the subscription and drops what is queued. It may be called again.
func (s *Subscription) Close() {
	s.feed.mu.Lock()
	delete(s.feed.subs, s)
	s.feed.mu.Unlock()
	s.end(true)
}

func (s *Subscription) push(changes []Change) {
	if len(changes) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, changes...)
	s.signal()
}

func (s *Subscription) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (s *Subscription) end(drop bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if drop {
		s.queue = nil
	}
	if !s.ended {
		s.ended = true
		close(s.done)
	}
}
