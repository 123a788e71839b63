package storetest

import (
	"sync"
	"time"

	"bittern/internal/rules/wallclock"
)

// Clock is a clock that a test sets.
type Clock struct {
	mu     sync.Mutex // guards what follows
	now    time.Time
	alarms map[*testAlarm]struct{}
}

// NewClock returns a clock that stands still.
func NewClock() *Clock {
	return &Clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), alarms: map[*testAlarm]struct{}{}}
}

// Now returns what it was set to.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Pass lets time pass: alarms go off whose time has come.
func (c *Clock) Pass(d time.Duration) { c.move(d, false) }

// Step sets the clock forward or back: alarms go off that are set at all, and have to be set anew.
func (c *Clock) Step(d time.Duration) { c.move(d, true) }

func (c *Clock) move(d time.Duration, step bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for a := range c.alarms {
		if step && !a.at.IsZero() {
			a.at = time.Time{}
			a.ring()
		}
		a.check(c.now)
	}
}

// NewAlarm makes an alarm that is not set.
func (c *Clock) NewAlarm() (wallclock.Alarm, error) {
	a := &testAlarm{clock: c, c: make(chan struct{}, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alarms[a] = struct{}{}
	return a, nil
}

type testAlarm struct {
	clock *Clock
	at    time.Time
	c     chan struct{}
}

func (a *testAlarm) C() <-chan struct{} { return a.c }

func (a *testAlarm) Set(at time.Time) error {
	a.clock.mu.Lock()
	defer a.clock.mu.Unlock()
	a.at = at
	a.check(a.clock.now)
	return nil
}

func (a *testAlarm) Close() error {
	a.clock.mu.Lock()
	defer a.clock.mu.Unlock()
	delete(a.clock.alarms, a)
	return nil
}

func (a *testAlarm) check(now time.Time) {
	if !a.at.IsZero() && !now.Before(a.at) {
		a.at = time.Time{} // once
		a.ring()
	}
}

func (a *testAlarm) ring() {
	select {
	case a.c <- struct{}{}:
	default:
	}
}
