package wallclock

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Uptime returns how long ago the machine was started, also while it slept. Nobody can set that.
func Uptime() (time.Duration, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, fmt.Errorf("reading the time since the start of the machine: %w", err)
	}
	return time.Duration(now.Nano()), nil
}

// UptimeAlarm says when the machine has been up for so long, also if it has slept meanwhile.
type UptimeAlarm struct{ *timer }

// NewUptimeAlarm makes an alarm that is not set.
func NewUptimeAlarm() (*UptimeAlarm, error) {
	t, err := newTimer(unix.CLOCK_BOOTTIME)
	if err != nil {
		return nil, err
	}
	return &UptimeAlarm{t}, nil
}

// Set sets the alarm anew; 0 is never.
func (a *UptimeAlarm) Set(at time.Duration) error { return a.set(int64(at)) }
