package wallclock

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// timer is a timerfd_create(2) timer. It is nonblocking, so that Close ends a read.
type timer struct {
	file    *os.File
	c       chan struct{}
	reading sync.WaitGroup
}

func newTimer(clock int) (*timer, error) {
	fd, err := unix.TimerfdCreate(clock, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("creating a timer: %w", err)
	}
	t := &timer{file: os.NewFile(uintptr(fd), "timer"), c: make(chan struct{}, 1)}
	t.reading.Go(t.read)
	return t, nil
}

// C has one message waiting if there was a reason since it was received from last.
func (t *timer) C() <-chan struct{} { return t.c }

// set sets the timer to a time of its clock, in nanoseconds; 0 is never.
func (t *timer) set(at int64) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(at)}
	conn, err := t.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("setting a timer: %w", err)
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		// Of a clock that nobody sets, the kernel ignores the second flag.
		failed = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &spec, nil)
	})
	if errors.Is(failed, unix.ECANCELED) {
		// It is set; the clock was as well, and the read may not say so any more.
		t.ring()
		failed = nil
	}
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("setting a timer: %w", err)
	}
	return nil
}

// Close ends the timer. It must not be used after that.
func (t *timer) Close() error {
	err := t.file.Close()
	t.reading.Wait()
	return err
}

func (t *timer) read() {
	count := make([]byte, 8)
	for {
		// That the clock was set ends the read with ECANCELED.
		_, err := t.file.Read(count)
		if err != nil && !errors.Is(err, unix.ECANCELED) {
			return // closed
		}
		t.ring()
	}
}

func (t *timer) ring() {
	select {
	case t.c <- struct{}{}:
	default:
	}
}
