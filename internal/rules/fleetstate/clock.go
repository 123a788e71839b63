package fleetstate

import (
	"fmt"
	"os"
	"strings"
	"time"

	"bittern/internal/rules/wallclock"
)

// Clock is what remote states expire by.
type Clock interface {
	// Uptime is the time since the machine was started, also while it slept.
	Uptime() time.Duration
	// BootID says which start that was; "" if it can't be told: then there was another one
	// whenever that is asked.
	BootID() string
	// Now is the time of day, which can be wrong.
	Now() time.Time
	// NewAlarm makes an alarm that is not set.
	NewAlarm() (Alarm, error)
}

// Alarm says when the machine has been up for so long.
type Alarm interface {
	// Set sets the alarm anew; 0 is never.
	Set(at time.Duration) error
	// C has one message waiting if there was a reason since it was received from last.
	C() <-chan struct{}
	Close() error
}

// System is the clock of this machine.
type System struct{ boot string }

// NewSystem finds out about the machine's clock.
func NewSystem() (System, error) {
	if _, err := wallclock.Uptime(); err != nil {
		return System{}, err
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return System{}, fmt.Errorf("asking which start of the machine this is: %w", err)
	}
	return System{boot: strings.TrimSpace(string(id))}, nil
}

// Uptime is the kernel's CLOCK_BOOTTIME.
func (System) Uptime() time.Duration {
	now, _ := wallclock.Uptime() // NewSystem has read it, so it can be read
	return now
}

// BootID is the kernel's.
func (s System) BootID() string { return s.boot }

// Now returns the time of day, without a monotonic reading.
func (System) Now() time.Time { return wallclock.System{}.Now() }

// NewAlarm makes a timer of the kernel.
func (System) NewAlarm() (Alarm, error) { return wallclock.NewUptimeAlarm() }
