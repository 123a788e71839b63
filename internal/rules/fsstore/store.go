// Package fsstore keeps the rule definitions of a directory live: it watches
// the directory, reads what was edited, and announces one change for each rule
// of an edit. What is wrong never takes away what was right: the last good
// version of a rule stays live while its file is bad.
//
// Files that are symbolic links are followed, and links inside the directory
// are watched; the target of a link that leads out of it is not: it is read
// again when the link is switched, or by the rescan, as all is that makes no
// event.
package fsstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bittern/internal/rules"
)

// ErrStopped is returned by Start after Stop.
var ErrStopped = errors.New("rule store is stopped")

// Store is the rules of a directory. It is safe for use by several goroutines.
type Store struct {
	cfg  Config
	feed rules.Feed
	st   *states       // nil if there are none
	stop chan struct{} // closed by the first Stop
	up   chan struct{} // closed when the first Start has ended
	done chan struct{} // closed when the goroutine has ended, or will never start

	revised chan struct{} // see Revised

	health health
	stats  stats
	rescan atomic.Int64 // a time.Duration, see Config.Rescan

	mu       sync.Mutex // guards what follows, and orders it with the feed
	set      *set
	lost     rules.Problems         // what is wrong with the directory itself
	held     rules.Problems         // that the directory is held
	waiting  []rules.SourceProblems // of a set that waits
	pending  map[string]update      // of that set, for snapshots
	whole    bool                   // see Snapshot
	started  bool
	stopping bool
	startErr error
	w        watcher
	// states are those that are not the default. Also read under states.writing, which is
	// held wherever they are replaced; the maps themselves never change.
	states        map[string]rules.RuleState
	stateProblems rules.Problems
}

// New makes a store that is not started: it has no rules.
func New(cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, set: newSet(),
		stop: make(chan struct{}), up: make(chan struct{}), done: make(chan struct{}),
		revised: make(chan struct{}, 1),
	}
	s.health.began = time.Now()
	s.rescan.Store(int64(cfg.Rescan))
	if cfg.States != "" {
		s.st = newStates(s)
	}
	return s, nil
}

// Open makes a store and starts it.
func Open(cfg Config) (*Store, error) {
	s, err := New(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.Start(); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// Start watches the directory, then reads it, and returns when all its rules
// are loaded. Files that are wrong are no error: see Problems. It does nothing
// if the store is started, and returns ErrStopped if it is stopped.
func (s *Store) Start() error {
	s.mu.Lock()
	first := !s.started
	if s.stopping && first {
		s.mu.Unlock()
		return ErrStopped
	}
	s.started = true
	s.mu.Unlock()
	if !first {
		<-s.up
		return s.startErr
	}
	defer close(s.up)
	l := newLoop(s)
	err := s.st.start() // first, so that no rule is live without its state
	if err == nil {
		err = l.begin()
	}
	if s.startErr = err; err != nil {
		select {
		case <-s.stop:
			s.startErr = ErrStopped // that the watcher was closed is only how
		default:
		}
		l.end()
		s.st.stop()
		close(s.done)
		return s.startErr
	}
	go func() {
		defer close(s.done)
		defer l.end()
		defer s.st.stop()
		l.run()
	}()
	return nil
}

// Stop ends the watching and all subscriptions, and returns when that is done.
// The rules can still be read. It may be called at any time, and again.
func (s *Store) Stop() {
	s.mu.Lock()
	first := !s.stopping
	s.stopping = true
	started, w := s.started, s.w
	s.mu.Unlock()
	if first {
		close(s.stop)
		if !started {
			close(s.done)
		}
	}
	if w != nil {
		_ = w.Close() // ends the read that waits; end closes it as well
	}
	<-s.done
	s.feed.Close()
}

// Close is Stop; it returns nil.
func (s *Store) Close() error {
	s.Stop()
	return nil
}

// Load returns every live rule with its state, ordered by id.
func (s *Store) Load() []rules.Stated {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load()
}

// State returns the state of a rule, whether there is a rule of that id or not.
func (s *Store) State(id string) rules.RuleState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.states[id]
}

// SetState gives a rule another state, and returns when that is on disk, has taken effect and
// is announced; after an error, none of these. by says who did it. When it was is filled in.
// There need be no rule of that id: the state is kept for when there is one.
func (s *Store) SetState(id string, state rules.RuleState, by string) error {
	if err := s.setState(id, state, by); err != nil {
		return fmt.Errorf("setting the state of rule %s: %w", id, err)
	}
	return nil
}

func (s *Store) setState(id string, state rules.RuleState, by string) error {
	state.SetBy = by
	switch err := errors.Join(rules.CheckID(id), state.Validate()); {
	case err != nil:
		return err
	case strings.TrimSpace(by) == "":
		return errors.New("it is not said by whom")
	case state.Scope != "":
		return fmt.Errorf("scope %s is of states that a fleet's database gives", state.Scope)
	case s.st == nil:
		return errors.New("there is no directory for states")
	}
	return s.st.set(id, state, by)
}

// Changes returns a subscription to all changes from now on. What happens
// before the first receive is queued.
func (s *Store) Changes() *rules.Subscription {
	return s.feed.Subscribe()
}

// Subscribe returns the live rules and a subscription to the changes that come
// after exactly these.
func (s *Store) Subscribe() ([]rules.Stated, *rules.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load(), s.feed.Subscribe()
}

// Problems returns what is wrong at present, by file, with the rules that are
// stale because of it.
func (s *Store) Problems() []rules.SourceProblems {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problems()
}

func (s *Store) problems() []rules.SourceProblems {
	report := s.withWaiting(s.set.report())
	if len(s.stateProblems) > 0 {
		report = append(report, rules.SourceProblems{Source: s.st.file.Path(), Problems: slices.Clone(s.stateProblems), States: true})
	}
	if len(s.lost) > 0 {
		whole := rules.SourceProblems{Source: s.cfg.Dir, Problems: slices.Clone(s.lost)}
		report = slices.Insert(report, 0, whole)
	}
	return report
}

func (s *Store) load() []rules.Stated {
	all := make([]rules.Stated, 0, len(s.set.live))
	for id, l := range s.set.live {
		all = append(all, rules.Stated{Rule: l.rule, State: s.states[id]})
	}
	slices.SortFunc(all, func(a, b rules.Stated) int { return strings.Compare(a.ID, b.ID) })
	return all
}

// apply takes updates in and announces what they change, as a set if they are one. A
// snapshot has both or neither. Until a set that waits is taken in, nothing else is.
func (s *Store) apply(linked linked, set rules.ChangeSet, held bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = nil
	changes := s.set.apply(linked)
	s.revise(linked.updates, held, false)
	for i, c := range changes {
		if c.Kind == rules.Definition {
			changes[i].State = s.states[c.RuleID]
		}
	}
	if set.Size = len(changes); set.ID != 0 && set.Size > 1 {
		for i := range changes {
			changes[i].Set = set
		}
	}
	s.feed.Publish(changes...)
}

// lose says that the directory can't be watched at present, and announces it if
// that is news; no problems, that it can. Files that were missing may be back when
// it is.
func (s *Store) lose(change rules.Change, news bool) {
	s.health.watches(&s.health.rules, change.Problems)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = change.Problems
	if !news {
		return
	}
	for _, src := range s.set.sources {
		src.missing = false
	}
	s.feed.Publish(change)
}

// adopt makes a watcher the one that Stop closes; false if it is too late.
func (s *Store) adopt(w watcher) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w = w
	return !s.stopping
}

// watchError is for errors that end the watching at the start.
func watchError(dir string, err error) error {
	if errors.Is(err, errGone) {
		return fmt.Errorf("opening rules directory %s: %w (create it, or name another)", dir, err)
	}
	return fmt.Errorf("opening rules directory %s: %w", dir, err)
}
