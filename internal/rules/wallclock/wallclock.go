// Package wallclock has alarms that go off at a time of day. Those of package time count
// the time that passes: they go off too late or too early if the clock is set meanwhile, and
// too late if the machine sleeps. There is one of the time since the start of the machine as well,
// which nobody can set.
package wallclock

import (
	"time"

	"golang.org/x/sys/unix"
)

// Clock tells the time of day.
type Clock interface {
	Now() time.Time
	// NewAlarm makes an alarm that is not set.
	NewAlarm() (Alarm, error)
}

// Alarm says when it is time to look at the clock: at the time that it was set to, and
// whenever the clock was set meanwhile. It may say so without a reason, and has to be set anew then.
type Alarm interface {
	// Set sets the alarm anew; the zero time is never.
	Set(at time.Time) error
	// C has one message waiting if there was a reason since it was received from last.
	C() <-chan struct{}
	Close() error
}

// System is the clock of this machine.
type System struct{}

// Now returns the time of day, without a monotonic reading.
func (System) Now() time.Time { return time.Now().Round(0) }

// NewAlarm makes a timer of the kernel.
func (System) NewAlarm() (Alarm, error) {
	t, err := newTimer(unix.CLOCK_REALTIME)
	if err != nil {
		return nil, err
	}
	return alarm{t}, nil
}

// alarm is a timer of the time of day.
type alarm struct{ *timer }

func (a alarm) Set(at time.Time) error {
	if at.IsZero() {
		return a.set(0)
	}
	return a.set(max(at.UnixNano(), 1)) // what is past goes off at once
}
