// Package fleetstate lays the states which a fleet's operators have given to rules over those that
// this host's own operators have given.
//
// The store below is left as it is, and its file has none of the fleet's states. These are kept
// in a file of their own, so that they count and expire with the fleet's database down, also after a
// restart or a reboot.
//
// A state of this host comes before any of the fleet. Of the fleet's, the first that has not expired
// counts. They expire by the time since the start of the machine, which nobody can set; across a
// reboot, by whichever leaves them less.
package fleetstate

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"bittern/internal/rules"
)

// Under is the store that the states are laid over: this host's own. All that Load and State tell was
// announced to subscriptions before.
type Under interface {
	Load() []rules.Stated
	State(id string) rules.RuleState
	SetState(id string, state rules.RuleState, by string) error
	Subscribe() ([]rules.Stated, *rules.Subscription)
	Problems() []rules.SourceProblems
	Health() error
	Close() error
}

// Config is what a Store is made of.
type Config struct {
	Under Under  // this host's own store, which Close closes
	File  string // where remote states are kept
	// Floor reports whether a rule can't be disabled from afar; nil if all can.
	Floor func(ruleID string) bool
	Clock Clock // nil means that of the system
	Log   *slog.Logger

	ops *ops // nil but in tests
}

// Validate reports what is missing.
func (c Config) Validate() error {
	var errs []error
	if c.Under == nil {
		errs = append(errs, errors.New("no store is given"))
	}
	if c.File == "" {
		errs = append(errs, errors.New("no file is given"))
	}
	if c.Log == nil {
		errs = append(errs, errors.New("no logger is given"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("configuring states of the fleet: %w", err)
	}
	return nil
}

// Store is a store of rules in which a fleet's states count. It is safe for use by several
// goroutines.
type Store struct {
	under   Under
	floor   func(string) bool
	clock   Clock
	log     *slog.Logger
	feed    rules.Feed
	disk    *disk // its lock is taken before mu, and held wherever remote states are replaced
	wake    chan struct{}
	quit    chan struct{}
	running sync.WaitGroup

	mu    sync.Mutex // guards what follows, and orders it with the feed
	below *rules.Subscription
	// local are states of the store below, as far as its changes were taken in. Of those rules
	// that have a remote state it has all; a zero value is one that is known.
	local  map[string]rules.RuleState
	remote map[string][]decision // none is empty; the slices never change
	counts map[string]rules.RuleState
	spent  map[string][]decision // have expired, and are not to come back
	base   base
	alarm  Alarm
	due    time.Duration // of the clock, when the next decision expires; 0 for never
	write  time.Duration // of the clock, when the file is to be written again; 0 for never
	failed bool          // to write it again was in vain
	closed bool
}

// base is what was applied last.
type base struct {
	generation int64
	timeline   string
	ok         bool // something was
}

var errStopped = errors.New("the store of states is stopped")

// New lays remote states over a store, those of the file to begin with. That there is none that can
// be used is no error: see Known.
func New(cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Clock == nil {
		system, err := NewSystem()
		if err != nil {
			return nil, err
		}
		cfg.Clock = system
	}
	if cfg.Floor == nil {
		cfg.Floor = func(string) bool { return false }
	}
	s := &Store{
		under: cfg.Under, floor: cfg.Floor, clock: cfg.Clock, log: cfg.Log.With("component", "fleet states"),
		disk: newDisk(cfg.File, cfg.ops), wake: make(chan struct{}, 1), quit: make(chan struct{}),
		local: map[string]rules.RuleState{}, remote: map[string][]decision{},
		counts: map[string]rules.RuleState{}, spent: map[string][]decision{},
	}
	alarm, err := cfg.Clock.NewAlarm()
	if err != nil {
		return nil, fmt.Errorf("preparing states of the fleet: %w", err)
	}
	s.alarm = alarm
	var loaded []rules.Stated
	loaded, s.below = cfg.Under.Subscribe()
	for _, r := range loaded {
		s.local[r.ID] = r.State
	}
	if s.begin() {
		s.rewrite() // so that the time since the last write counts only once
	}
	s.running.Go(s.run)
	return s, nil
}

// run takes in what happens below and what expires, and writes the file now and then.
func (s *Store) run() {
	done := s.below.Done()
	for {
		select {
		case <-s.quit:
			return
		case <-s.below.Ready():
		case <-s.alarm.C():
		case <-s.wake:
		case <-done:
			// The store below was closed by itself: nothing more is to come of rules.
			done = nil
		}
		s.mu.Lock()
		s.settle()
		due := s.write != 0 && s.clock.Uptime() >= s.write
		s.mu.Unlock()
		if due {
			s.rewrite()
		}
	}
}

// Close ends all subscriptions, closes the store below, and writes how much is left of what expires.
// Rules and states can still be read. It may be called again.
func (s *Store) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	err := s.under.Close()
	if !first {
		return err
	}
	close(s.quit)
	s.running.Wait()
	s.mu.Lock()
	s.settle()
	expires := s.due != 0 || s.write != 0
	s.mu.Unlock()
	if expires {
		s.rewrite()
	}
	s.feed.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	err = errors.Join(err, s.alarm.Close())
	s.alarm = nil
	return err
}
