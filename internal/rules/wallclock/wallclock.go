// Package wallclock has alarms that go off at a time of day. Those of package time count
// the time that passes: they go off too late or too early if the clock is set meanwhile, and
// too late if the machine sleeps.
package wallclock

import (
	"errors"
	"fmt"
	"os"
	"sync"
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
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("creating a timer: %w", err)
	}
	a := &alarm{timer: os.NewFile(uintptr(fd), "timer"), c: make(chan struct{}, 1)}
	a.reading.Go(a.read)
	return a, nil
}

// alarm is a timerfd_create(2) timer. It is nonblocking, so that Close ends a read.
type alarm struct {
	timer   *os.File
	c       chan struct{}
	reading sync.WaitGroup
}

func (a *alarm) C() <-chan struct{} { return a.c }

func (a *alarm) Set(at time.Time) error {
	var spec unix.ItimerSpec
	if !at.IsZero() {
		// Zero would be never; what is past goes off at once.
		spec.Value = unix.NsecToTimespec(max(at.UnixNano(), 1))
	}
	conn, err := a.timer.SyscallConn()
	if err != nil {
		return fmt.Errorf("setting a timer: %w", err)
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &spec, nil)
	})
	if errors.Is(failed, unix.ECANCELED) {
		// It is set; the clock was as well, and the read may not say so any more.
		a.ring()
		failed = nil
	}
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("setting a timer: %w", err)
	}
	return nil
}

// Close ends the alarm. It must not be used after that.
func (a *alarm) Close() error {
	err := a.timer.Close()
	a.reading.Wait()
	return err
}

func (a *alarm) read() {
	count := make([]byte, 8)
	for {
		// That the clock was set ends the read with ECANCELED.
		_, err := a.timer.Read(count)
		if err != nil && !errors.Is(err, unix.ECANCELED) {
			return // closed
		}
		a.ring()
	}
}

func (a *alarm) ring() {
	select {
	case a.c <- struct{}{}:
	default:
	}
}
