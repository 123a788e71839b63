package sink

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"bittern/internal/outbox"
)

// Divisible is a Source that can be read in two places: its backlog, and ahead of it. An outbox.Reader is one.
type Divisible interface {
	Source
	// Split has all records that are there be the backlog, if more than some would be that are in none yet. It returns whether it did.
	Split(least uint64) bool
	// Backlog is how many records of it are left. Anybody may ask at any time.
	Backlog() uint64
	// ReadBacklog returns the next records of the backlog, at most so many, to be acknowledged by Ack. It does not wait: if there are none,
	// and all that was returned is acknowledged, there is no backlog any more.
	ReadBacklog(most int) []outbox.Record
	// ReadAhead is Read for what comes after the backlog, to be acknowledged by AckAhead. It returns none once until has a value.
	ReadAhead(ctx context.Context, until <-chan time.Time) ([]outbox.Record, error)
	AckAhead()
}

// leastBacklog is how many records may wait that are just delivered in order, since they are few batches.
const leastBacklog = 1000

// mostDelay is how long a backlog waits at most before it is delivered, so that hosts whose server was away don't all come with theirs at
// once.
const mostDelay = 30 * time.Second

// divided delivers a backlog, and ahead of it what comes. Only Run's goroutine uses it.
type divided struct {
	*Runner
	fresh, old part
	rows       bucket
	closed     bool // nothing comes any more
}

// part is one of the two.
type part struct {
	batch   []outbox.Record  // that could not be delivered yet; nil: none
	attempt int              // so many in a row have failed
	again   <-chan time.Time // when it is its turn
}

// itsTurn is for a part that need not wait.
var itsTurn = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

// split makes a backlog of what waits, if that is much. It returns whether there is a backlog.
func (r *Runner) split() bool {
	if r.divisible == nil {
		return false
	}
	if r.divisible.Split(leastBacklog) {
		r.log.Info("many records wait, new ones are delivered ahead of them", "records", r.divisible.Backlog())
		return true
	}
	return r.divisible.Backlog() > 0
}

// delay is how long a backlog waits before it is delivered.
func (r *Runner) delay() <-chan time.Time {
	return r.cfg.After(time.Duration(r.cfg.Random() * float64(mostDelay)))
}

// divide delivers the backlog and what comes ahead of it in turns, so that what is new waits for one batch at most, until there is no
// backlog any more.
func (r *Runner) divide(ctx context.Context) error {
	d := divided{Runner: r, old: part{again: r.delay()}, rows: bucket{at: r.cfg.Now()}}
	for {
		batch, err := d.next(ctx)
		if err != nil {
			if f := r.failure.Load(); f != nil {
				err = errors.Join(err, f.err)
			}
			return fmt.Errorf("sink %s: %w", r.source.Name(), err)
		}
		if len(batch) > 0 {
			if err := d.try(ctx, &d.fresh, batch); err != nil {
				return err
			}
			select { // also if more new ones come without end
			case <-d.old.again:
			default:
				continue
			}
		}
		if ended, err := d.deliverOld(ctx); ended || err != nil {
			return err
		}
	}
}

// next waits for new records; there are none when it is the backlog's turn.
func (d *divided) next(ctx context.Context) ([]outbox.Record, error) {
	for {
		if d.fresh.again != nil {
			select {
			case <-d.fresh.again:
				d.fresh.again = nil
			case <-d.old.again:
				return nil, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if d.fresh.batch != nil {
				return d.fresh.batch, nil
			}
		}
		if d.closed {
			return nil, d.rest(ctx)
		}
		batch, err := d.divisible.ReadAhead(ctx, d.old.again)
		switch {
		case err == nil:
			return batch, nil
		case errors.Is(err, os.ErrClosed):
			d.closed = true
		case ctx.Err() != nil:
			return nil, err
		default:
			d.retry(&d.fresh, err)
		}
	}
}

// rest waits for the backlog's turn when there will be nothing else.
func (d *divided) rest(ctx context.Context) error {
	d.paced.Store(d.old.batch == nil)
	defer d.paced.Store(false)
	select {
	case <-d.old.again:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deliverOld delivers a batch of the backlog, if the pace allows it. It returns whether there is no backlog any more.
func (d *divided) deliverOld(ctx context.Context) (ended bool, err error) {
	batch := d.old.batch
	if batch == nil {
		most, wait := d.rows.most(d.cfg.Now(), d.cfg.Pace.RowsPerSecond())
		if most == 0 {
			d.old.again = d.cfg.After(wait)
			return false, nil
		}
		if batch = d.divisible.ReadBacklog(most); len(batch) == 0 {
			d.old.again = nil // until what is in hand is delivered
			return d.fresh.batch == nil, nil
		}
		d.rows.take(len(batch))
	}
	d.old.again = itsTurn
	return false, d.try(ctx, &d.old, batch)
}

// try delivers a batch of a part. If that fails it will be its turn again, and the other part goes on.
func (d *divided) try(ctx context.Context, p *part, batch []outbox.Record) error {
	err := d.deliver(ctx, batch)
	var gone *GoneError
	switch {
	case err == nil:
	case ctx.Err() != nil || errors.As(err, &gone):
		return fmt.Errorf("sink %s: %w", d.source.Name(), ending(ctx, err))
	default:
		p.batch = batch
		d.retry(p, err)
		return nil
	}
	p.batch, p.attempt = nil, 0
	d.count(batch)
	again := d.fresh.batch == nil && d.old.batch == nil && d.works()
	if p == &d.old {
		d.ack()
	} else if d.divisible.AckAhead(); d.old.again == nil {
		d.old.again = itsTurn
	}
	if again && d.split() {
		d.old.again = d.delay()
	}
	return nil
}

// retry has it be the turn of a part after a while.
func (d *divided) retry(p *part, err error) {
	wait := d.wait(p.attempt)
	p.attempt++
	p.again = d.cfg.After(wait)
	d.fails(err, wait)
}
