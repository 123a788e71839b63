package outbox

import (
	"context"
	"errors"
	"sync/atomic"
)

// batchBytes is how much a batch holds at most, unless one record is larger.
const batchBytes = 256 << 10

// windowBytes is how much of a segment is read at once.
const windowBytes = 64 << 10

// Reader hands out the records of all tiers in the order in which they were appended. One goroutine may use it, but for
// Lag.
type Reader struct {
	log   *Log
	name  string
	kinds Kinds
	wake  chan struct{}

	oldest      atomic.Int64  // time of the first record that is not acknowledged; ns since 1970, 0: none
	acked, read atomic.Uint64 // sequences: acknowledged, and handed out
	saved       uint64        // the acknowledged one that is on the disk
	at          [tiers]place
	batch       []Record
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

// mostRecords is how many a segment can hold.
const mostRecords = mostSegment / recordHead

// Lag is how many records it has not gone past; those that it has been given and not acknowledged are not among them. Anybody may ask.
func (r *Reader) Lag() (n uint64) {
	h := r.log.shelf
	h.mu.RLock()
	defer h.mu.RUnlock()
	for tier, all := range h.tiers {
		at := r.at[tier].index.Load()
		for i, s := range all {
			end := r.log.nextIndex[tier].Load()
			if i+1 < len(all) {
				end = all[i+1].first
			}
			if from := max(at, s.first); from < end && end-from <= mostRecords { // else numbers jumped, see Log.jump
				n += end - from
			}
		}
	}
	return n
}

// fill collects a batch.
func (r *Reader) fill() []Record {
	upTo := r.log.written.Load() // first: records up to it are there in all tiers
	h := r.log.shelf
	h.mu.RLock()
	defer h.mu.RUnlock()
	for tier := range r.at {
		p := &r.at[tier]
		p.known, p.window = false, p.window[:0]
		if s := p.segment; s != nil && s.gone.Load() {
			if p.good >= 0 && s.lastSeq <= r.acked.Load() { // it is past it, and did not look further yet
				r.log.missing(s, p.good)
			}
			p.segment = nil
		}
	}
	r.batch = r.batch[:0]
	inHand := r.acked.Load() < r.read.Load()
	for bytes := 0; bytes < batchBytes; {
		p := r.earliest(upTo)
		if p == nil {
			break
		}
		record, ok := p.take()
		if !ok {
			continue // it is damaged, which is counted at the end of the segment
		}
		r.read.Store(record.Seq)
		if !r.kinds.Has(record.Kind) {
			continue
		}
		bytes += record.size()
		r.batch = append(r.batch, record)
	}
	if len(r.batch) == 0 && !inHand && r.read.Load() > r.acked.Load() { // it wants none of these
		r.acked.Store(r.read.Load())
	}
	if len(r.batch) > 0 && !inHand {
		r.oldest.Store(r.batch[0].Time.UnixNano())
	}
	return r.batch
}
