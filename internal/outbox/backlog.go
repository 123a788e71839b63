package outbox

import (
	"context"
	"time"
)

// Split has what was appended until now be the backlog, so that what comes from now on can be read ahead of it, if more than some records
// would be: those that it has not gone past, or, if there is a backlog already, that it has not gone past ahead of it. It returns
// whether it did; not while what ReadAhead returned is not acknowledged.
//
// From then on Read and ReadBacklog return the backlog, and ReadAhead what comes after it, each in order. Once all of the backlog
// is acknowledged, Read goes on behind what was acknowledged by AckAhead.
//
// Where the backlog is acknowledged up to is all that is kept on the disk: what was delivered ahead of it is delivered again after the
// death of the process, as records are that were delivered and not acknowledged. Whoever takes them must know them by their
// ids, as the database does.
//
// It waits for a record that is being appended.
func (r *Reader) Split(least uint64) bool {
	l := r.log
	l.mu.Lock() // nothing is appended, given up or put together meanwhile
	defer l.mu.Unlock()
	before, lane := r.spans(), &r.lane
	if r.split.Load() != 0 {
		lane = &r.ahead
	}
	if r.ahead.inHand() || l.shelf.count(l, before, lane.indexes(), endless) <= least {
		return false
	}
	r.ahead.leave()
	at := l.written.Load()
	split := span{from: at, to: at}
	for tier := range split.first {
		split.first[tier] = l.nextIndex[tier].Load()
		r.ahead.at[tier].restart(split.first[tier])
	}
	split.next = split.first
	r.ahead.acked.Store(at)
	r.ahead.read.Store(at)
	var all []span
	for _, s := range before {
		if s.from < s.to && s.to > r.acked.Load() {
			all = append(all, s)
		}
	}
	all = append(all, split)
	r.had.Store(&all)
	r.split.Store(at)
	return true
}

// ReadBacklog returns the next records of the backlog, at most so many. It does not wait: if there are none, and all that ReadBacklog and ReadAhead
// have returned is acknowledged, there is no backlog any more. They are valid until the next call, and to be acknowledged by Ack.
func (r *Reader) ReadBacklog(most int) []Record {
	split := r.split.Load()
	if split == 0 {
		return nil
	}
	if batch := r.collect(split, max(most, 1)); len(batch) > 0 || r.inHand() || r.ahead.inHand() {
		return batch
	}
	return r.join()
}

// join ends the backlog: nothing of it is left.
func (r *Reader) join() []Record {
	r.ahead.leave()
	all := r.spans()
	r.split.Store(0)
	for tier := range r.ahead.at {
		r.ahead.at[tier].restart(0)
	}
	// Goes past what was delivered ahead. Records whose disk failed meanwhile may turn up.
	batch := r.collect(all[len(all)-1].to, mostRecords)
	r.trim()
	if err := r.save(); err != nil {
		r.log.log.Error("what was delivered ahead of a backlog could not be acknowledged, it may be delivered again after a restart", "sink", r.name, "error", err)
	}
	return batch
}

// trim forgets what was delivered ahead, once all before it is acknowledged, too.
func (r *Reader) trim() {
	if all := r.spans(); all != nil && r.split.Load() == 0 && all[len(all)-1].to <= r.acked.Load() {
		r.had.Store(nil)
	}
}

// ReadAhead waits for records that come after the backlog, as Read does. It returns none once until has a value.
func (r *Reader) ReadAhead(ctx context.Context, until <-chan time.Time) ([]Record, error) {
	for {
		closed := r.log.isClosed()
		if batch := r.fillAhead(); len(batch) > 0 {
			return batch, nil
		}
		if closed {
			return nil, ErrClosed
		}
		select {
		case <-r.wake:
		case <-until:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (r *Reader) fillAhead() []Record {
	if r.split.Load() == 0 {
		return nil
	}
	batch := r.ahead.collect(r.log.written.Load(), mostRecords)
	if !r.ahead.inHand() { // it wants none of those that it has gone past
		r.extend()
	}
	return batch
}

// AckAhead says that all that was returned by ReadAhead has been delivered. It is not returned again by this process.
func (r *Reader) AckAhead() {
	if r.split.Load() == 0 {
		return
	}
	r.extend()
	r.ahead.acked.Store(r.ahead.read.Load()) // last: until then it stays where it is
	r.ahead.oldest.Store(0)
}

// extend notes how far it has delivered ahead.
func (r *Reader) extend() {
	before := r.spans()
	last := before[len(before)-1]
	if last.to = r.ahead.read.Load(); last.to == before[len(before)-1].to {
		return
	}
	last.next = r.ahead.indexes()
	all := append(append([]span(nil), before[:len(before)-1]...), last)
	r.had.Store(&all)
}

// Lag is how many records it has not gone past; those that it has been given and not acknowledged are not among them. Anybody may ask.
func (r *Reader) Lag() uint64 {
	h := r.log.shelf
	h.mu.RLock()
	defer h.mu.RUnlock()
	spans := r.spans()
	if r.split.Load() != 0 && spans != nil {
		now := append([]span(nil), spans...)
		now[len(now)-1].next = r.ahead.indexes()
		spans = now
	}
	return h.count(r.log, spans, r.indexes(), endless)
}

// Backlog is how many records of the backlog it has not gone past. Anybody may ask.
func (r *Reader) Backlog() uint64 {
	h := r.log.shelf
	h.mu.RLock()
	defer h.mu.RUnlock()
	spans := r.spans()
	if r.split.Load() == 0 || spans == nil {
		return 0
	}
	return h.count(r.log, spans, r.indexes(), spans[len(spans)-1].first)
}

// oldestInHand is when the oldest record happened that it has been given and not acknowledged; ns since 1970, 0: there is none.
func (r *Reader) oldestInHand() int64 {
	a, b := r.oldest.Load(), r.ahead.oldest.Load()
	if a == 0 || b == 0 {
		return a + b
	}
	return min(a, b)
}

// progress is what it has. A record that it has is never missing from it, whatever it does meanwhile.
func (r *Reader) progress() progress {
	ahead := r.spans() // first: they are forgotten once all of them is acknowledged
	return progress{acked: r.acked.Load(), ahead: ahead}
}
