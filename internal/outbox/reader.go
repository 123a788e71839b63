package outbox

import (
	"context"
	"errors"
	"sync/atomic"
)

// Reader hands out the records of all tiers in the order in which they were appended; see Split for when it does not. One goroutine
// may use it, but for Lag and Backlog.
type Reader struct {
	lane
	name  string
	wake  chan struct{}
	saved uint64 // the acknowledged one that is on the disk

	split atomic.Uint64 // the last sequence of the backlog; 0: there is none
	ahead lane          // reads what comes after it
}

// Name is what the reader was configured as.
func (r *Reader) Name() string { return r.name }

// notify has Read look again.
func (r *Reader) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Read waits for records and returns the next ones: at most 256 KiB, or one that is larger. They are valid until the next call.
// When the outbox is closed it returns what is left, and then ErrClosed.
func (r *Reader) Read(ctx context.Context) ([]Record, error) {
	for {
		closed := r.log.isClosed()
		if batch := r.fill(); len(batch) > 0 {
			return batch, nil
		}
		if closed {
			return nil, ErrClosed
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Ack says that all that was returned by Read has been delivered. It is not returned again, unless the error says that
// this could not be kept.
func (r *Reader) Ack() error {
	r.acked.Store(r.read.Load())
	r.oldest.Store(0)
	return r.save()
}

func (r *Reader) save() error {
	acked := r.acked.Load()
	if acked == r.saved {
		return nil
	}
	err := r.log.cursors.set(r.name, r.kinds, acked)
	if errors.Is(err, errNoCursors) {
		err = r.log.cursors.renew()
	}
	if err != nil {
		return err
	}
	r.saved = acked
	return nil
}

// fill is what Read returns if it need not wait.
func (r *Reader) fill() []Record {
	if r.split.Load() != 0 {
		if batch := r.ReadBacklog(mostRecords); len(batch) > 0 || r.split.Load() != 0 {
			return batch
		}
	}
	return r.collect(r.log.written.Load(), mostRecords)
}
