package sink

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"bittern/internal/outbox"
)

// scripted fails with these errors, one after the other, then takes everything.
type scripted struct {
	errs   []error
	took   []uint64
	closed bool
}

func (s *scripted) Deliver(_ context.Context, batch []outbox.Record) error {
	if len(s.errs) > 0 {
		err := s.errs[0]
		s.errs = s.errs[1:]
		return err
	}
	for _, r := range batch {
		s.took = append(s.took, r.Seq)
	}
	return nil
}

func (s *scripted) Close() error { s.closed = true; return nil }

// at once is a clock whose timers are all over.
func atOnce(waits *[]time.Duration) func(time.Duration) <-chan time.Time {
	return func(d time.Duration) <-chan time.Time {
		if waits != nil {
			*waits = append(*waits, d)
		}
		c := make(chan time.Time)
		close(c)
		return c
	}
}

func runner(t *testing.T, q Source, s Sink, cfg RunnerConfig) *Runner {
	t.Helper()
	r, err := NewRunner(q, s, cfg)
	must(t, err)
	return r
}

func TestRunnerTriesAgain(t *testing.T) {
	full, slow := errors.New("disk is full"), errors.New("too slow")
	s := &scripted{errs: []error{full, full, slow, full, slow, full, full, os.ErrClosed}}
	q := newQueue("file", records(1, 3), records(4, 5))
	close(q.batches)
	var log logbook
	var waits []time.Duration
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	r := runner(t, q, s, RunnerConfig{Log: log.log(), After: atOnce(&waits), Random: func() float64 { return 0.5 }, Now: func() time.Time { return now }})
	var health []error
	r.cfg.After = func(d time.Duration) <-chan time.Time {
		health = append(health, r.Health())
		return atOnce(&waits)(d)
	}
	must(t, r.Run(t.Context()))
	wantSeqs(t, s.took, upTo(5))
	for i, want := range []time.Duration{1500, 3000, 6000, 12000, 24000, 45000, 45000, 45000} {
		if waits[i] != want*time.Millisecond {
			t.Errorf("wait %d is %v, want %v", i, waits[i], want*time.Millisecond)
		}
	}
	for text, want := range map[string]int{"disk is full": 1, "too slow": 1, "delivers again": 1, "level=ERROR": 3} {
		if got := log.count(text); got != want {
			t.Errorf("%q was logged %d times, want %d", text, got, want)
		}
	}
	if want := "fails since 2026-11-23T00:00:00Z: disk is full"; health[0] == nil || health[0].Error() != want {
		t.Errorf("health %v, want %s", health[0], want)
	}
	if got := r.Stats(); got != (Stats{Delivered: 5, Errors: 8, Last: got.Last}) || !got.Last.Equal(now) || r.Health() != nil {
		t.Errorf("stats %+v, health %v", got, r.Health())
	}
	if !s.closed || q.acked != 2 {
		t.Errorf("closed %v, acknowledged %d", s.closed, q.acked)
	}
}

func TestRunnerSourceFails(t *testing.T) {
	q := newQueue("file", records(1, 3))
	close(q.batches)
	q.readErr, q.ackErr = []error{errors.New("bad sector")}, errors.New("no cursor")
	var log logbook
	s := &scripted{}
	must(t, runner(t, q, s, RunnerConfig{Log: log.log(), After: atOnce(nil)}).Run(t.Context()))
	wantSeqs(t, s.took, upTo(3))
	if log.count("bad sector") != 1 || log.count("no cursor") != 1 {
		t.Error(log.buf.String())
	}
}

func TestRunnerGone(t *testing.T) {
	read, write, err := os.Pipe()
	must(t, err)
	must(t, read.Close())
	defer write.Close()
	out, err := NewOutput(write, OutputConfig{Format: JSON})
	must(t, err)
	err = runner(t, newQueue("stdout", records(1, 3)), out, RunnerConfig{Log: new(logbook).log()}).Run(t.Context())
	var gone *GoneError
	if !errors.As(err, &gone) || !errors.Is(err, syscall.EPIPE) || !strings.Contains(err.Error(), "whoever read them is gone") {
		t.Fatalf("error %v, want a GoneError of EPIPE", err)
	}
}

func TestRunnerStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	q, s := newQueue("a"), &scripted{errs: []error{io.EOF}}
	waits := make(chan time.Duration)
	r := runner(t, q, s, RunnerConfig{Log: new(logbook).log(), After: func(d time.Duration) <-chan time.Time { waits <- d; return nil }})
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	q.batches <- records(1, 1)
	<-waits // it waits for its second attempt, for ever
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || !errors.Is(err, io.EOF) || !s.closed {
		t.Fatalf("error %v, closed %v", err, s.closed)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := runner(t, newQueue("a"), s, RunnerConfig{Log: new(logbook).log()}).Run(cancelled); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
}

// A pipe that nobody reads holds back neither another sink nor the end of the agent, and makes the sink unhealthy.
func TestRunnerHangs(t *testing.T) {
	read, write, err := os.Pipe()
	must(t, err)
	out, err := NewOutput(write, OutputConfig{Format: JSON})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	q := newQueue("stdout", records(1, 1000)) // more than a pipe holds
	hung := make(chan struct{})
	grace := func(time.Duration) <-chan time.Time { return atOnce(nil)(0) }
	r := runner(t, q, deliverSignal{out, hung}, RunnerConfig{Log: new(logbook).log(), Patience: time.Nanosecond, After: grace})
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	<-hung

	path := t.TempDir() + "/log"
	file, err := NewFile(FileConfig{Path: path})
	must(t, err)
	other := newQueue("file", records(1, 10))
	close(other.batches)
	must(t, runner(t, other, file, RunnerConfig{Log: new(logbook).log()}).Run(t.Context()))
	content, err := os.ReadFile(path)
	must(t, err)
	wantSeqs(t, seqs(t, content), upTo(10))

	if err := r.Health(); err == nil || !strings.Contains(err.Error(), "delivering: at one thing since ") {
		t.Errorf("health %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, ErrHangs) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want ErrHangs", err)
	}
	must(t, read.Close()) // lets go of what was left behind
	must(t, write.Close())
}

type deliverSignal struct {
	Sink
	begun chan struct{}
}

func (d deliverSignal) Deliver(ctx context.Context, batch []outbox.Record) error {
	close(d.begun)
	return d.Sink.Deliver(ctx, batch)
}
