package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"bittern/internal/health"
	"bittern/internal/outbox"
)

// RunnerConfig is how a Runner goes about it. Log is required.
type RunnerConfig struct {
	Log *slog.Logger
	// Patience is how long a delivery may take until Health says that it hangs; 10 s if 0.
	Patience time.Duration
	// Grace is how long a delivery is waited for that goes on after ctx is done; 1 s if 0.
	Grace time.Duration
	// Pace bounds how fast a backlog is delivered: the many records that are there at the start, or when delivering works again after it has
	// failed. What is new is delivered ahead of it, out of order, so the sink has to be one that knows what it has by the ids of
	// records: after a death it gets more of them again than a batch. The source has to be Divisible. nil: all is delivered in order, as
	// fast as possible.
	Pace Pace

	// For tests.
	Now    func() time.Time
	After  func(time.Duration) <-chan time.Time
	Random func() float64 // in [0, 1)
}

// Validate says what is wrong.
func (c RunnerConfig) Validate() error {
	switch {
	case c.Log == nil:
		return errors.New("running a sink: no logger is given")
	case c.Patience < 0 || c.Grace < 0:
		return errors.New("running a sink: patience and grace must not be negative")
	}
	return nil
}

// Waits between two attempts at the same batch.
const (
	firstWait = 2 * time.Second // halved by the jitter
	mostWait  = time.Minute
)

// ErrHangs says that a delivery did not end when it should, and was left behind.
var ErrHangs = errors.New("delivering hangs")

// Stats is what a Runner has done.
type Stats struct {
	Delivered uint64    // records
	Errors    uint64    // failed attempts to read, deliver or acknowledge
	Last      time.Time // when a batch was last delivered; zero: never
	Backlog   uint64    // records that are delivered at a pace and are left; 0: there is no backlog
}

// Runner takes records from a source to a sink. Health and Stats may be called by anybody at any time.
type Runner struct {
	source    Source
	divisible Divisible // the same; nil: there is no pace
	sink      Sink
	cfg       RunnerConfig
	log       *slog.Logger

	working   health.Work // a delivery
	failure   atomic.Pointer[failure]
	delivered atomic.Uint64
	errors    atomic.Uint64
	last      atomic.Int64 // ns since 1970
	paced     atomic.Bool

	episode map[string]bool // errors that were logged since it last worked; only Run's
}

type failure struct {
	err   error
	since time.Time
}

// NewRunner returns a runner, which then owns both.
func NewRunner(source Source, sink Sink, cfg RunnerConfig) (*Runner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Patience == 0 {
		cfg.Patience = 10 * time.Second
	}
	if cfg.Grace == 0 {
		cfg.Grace = time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.After == nil {
		cfg.After = time.After
	}
	if cfg.Random == nil {
		cfg.Random = rand.Float64
	}
	r := &Runner{source: source, sink: sink, cfg: cfg, log: cfg.Log.With("sink", source.Name()), episode: map[string]bool{}}
	if cfg.Pace != nil {
		var ok bool
		if r.divisible, ok = source.(Divisible); !ok {
			return nil, fmt.Errorf("running sink %s: it has a pace, for which its records must be readable in two places", source.Name())
		}
	}
	return r, nil
}

// Run delivers until the source is closed and empty, and returns nil then. So a stop closes the outbox to what appends, waits for
// Run as long as it likes to, and then cancels ctx, at which Run returns ctx.Err(), wrapped, within the grace period. A
// *GoneError of the sink ends it, too. It closes the sink.
//
// A delivery that goes on after that, say a write to a pipe that nobody reads, is left behind, and the sink is not closed; the
// error wraps ErrHangs. The process must be about to end.
func (r *Runner) Run(ctx context.Context) error {
	err := r.run(ctx)
	if errors.Is(err, ErrHangs) {
		return err
	}
	if closeErr := r.sink.Close(); closeErr != nil {
		return errors.Join(err, fmt.Errorf("closing sink %s: %w", r.source.Name(), closeErr))
	}
	return err
}

func (r *Runner) run(ctx context.Context) error {
	for {
		if r.split() {
			if err := r.divide(ctx); err != nil {
				return err
			}
		}
		if closed, err := r.inOrder(ctx); closed || err != nil {
			return err
		}
	}
}

// inOrder delivers until the source is closed and empty, or until delivering works again after it has failed.
func (r *Runner) inOrder(ctx context.Context) (closed bool, err error) {
	for {
		var batch []outbox.Record
		err := r.persist(ctx, func() (err error) {
			batch, err = r.source.Read(ctx)
			if closed = errors.Is(err, os.ErrClosed); closed {
				return nil
			}
			return err
		})
		switch {
		case err != nil:
			return false, fmt.Errorf("reading records for sink %s: %w", r.source.Name(), err)
		case closed:
			return true, nil
		}
		if err := r.persist(ctx, func() error { return r.deliver(ctx, batch) }); err != nil {
			return false, fmt.Errorf("sink %s: %w", r.source.Name(), err)
		}
		r.count(batch)
		again := r.works()
		r.ack()
		if again {
			return false, nil
		}
	}
}

// count notes that a batch is delivered.
func (r *Runner) count(batch []outbox.Record) {
	r.delivered.Add(uint64(len(batch)))
	r.last.Store(r.cfg.Now().UnixNano())
}

func (r *Runner) ack() {
	if err := r.source.Ack(); err != nil { // what comes later acknowledges these, too
		r.errors.Add(1)
		r.log.Error("delivered records could not be acknowledged, some may be delivered again after a restart", "error", err)
	}
}

// persist tries something until it works, or fails for good.
func (r *Runner) persist(ctx context.Context, try func() error) error {
	for attempt := 0; ; attempt++ {
		err := try()
		var gone *GoneError
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil || errors.As(err, &gone):
			return ending(ctx, err)
		}
		wait := r.wait(attempt)
		r.fails(err, wait)
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-r.cfg.After(wait):
		}
	}
}

// ending is the error of what ends for good, which wraps that of ctx if it is done.
func ending(ctx context.Context, err error) error {
	if ctx.Err() == nil || errors.Is(err, ctx.Err()) {
		return err
	}
	return errors.Join(ctx.Err(), err)
}

// wait doubles from attempt to attempt, up to mostWait, and is random in its upper half, so that hosts whose server was away don't
// all come back to it at once.
func (r *Runner) wait(attempt int) time.Duration {
	most := min(firstWait<<min(attempt, 10), mostWait)
	return most/2 + time.Duration(r.cfg.Random()*float64(most/2))
}

// deliver returns soon after ctx is done, whatever the sink does: writing to a pipe or a disk can't be interrupted.
func (r *Runner) deliver(ctx context.Context, batch []outbox.Record) error {
	done := make(chan error, 1)
	r.working.Begin()
	go func() {
		err := r.sink.Deliver(ctx, batch)
		r.working.End() // before the next one can begin
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-r.cfg.After(r.cfg.Grace):
		return fmt.Errorf("%w and was left behind: %w", ErrHangs, ctx.Err())
	}
}

// mostLogged bounds the different errors that are logged and remembered until it works again.
const mostLogged = 16

func (r *Runner) fails(err error, wait time.Duration) {
	r.errors.Add(1)
	since := r.cfg.Now()
	if f := r.failure.Load(); f != nil {
		since = f.since
	}
	r.failure.Store(&failure{err, since})
	if text := err.Error(); !r.episode[text] && len(r.episode) < mostLogged {
		r.episode[text] = true
		r.log.Error("delivering records fails, it is tried again", "error", err, "wait", wait.Round(time.Millisecond))
	}
}

// works notes that it does, and returns whether it did not before.
func (r *Runner) works() bool {
	f := r.failure.Swap(nil)
	if f == nil {
		return false
	}
	clear(r.episode)
	r.log.Info("delivers again", "after", r.cfg.Now().Sub(f.since).Round(time.Millisecond))
	return true
}

// Paced reports whether the source is closed and it has nothing to do but to wait until it may deliver more of a backlog.
func (r *Runner) Paced() bool { return r.paced.Load() }

// Health is nil while records are delivered. It waits for nothing.
func (r *Runner) Health() error {
	hangs := r.working.Within(r.cfg.Patience)
	f := r.failure.Load()
	switch {
	case f == nil && hangs == nil:
		return nil
	case f == nil:
		return fmt.Errorf("delivering: %w", hangs)
	case hangs == nil:
		return fmt.Errorf("fails since %s: %w", f.since.UTC().Format(time.RFC3339), f.err)
	}
	return fmt.Errorf("fails since %s: %w; delivering again: %w", f.since.UTC().Format(time.RFC3339), f.err, hangs)
}

// Stats says what has been done so far.
func (r *Runner) Stats() Stats {
	s := Stats{Delivered: r.delivered.Load(), Errors: r.errors.Load()}
	if ns := r.last.Load(); ns != 0 {
		s.Last = time.Unix(0, ns)
	}
	if r.divisible != nil {
		s.Backlog = r.divisible.Backlog()
	}
	return s
}
