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

// place is where a reader is in a tier.
type place struct {
	segment *segment // nil: to be looked for
	off     int64
	index   atomic.Uint64 // of the next record
	next    head          // the record at off, if known
	known   bool
	window  []byte // what the segment has from windowOff on
	base    int64
	good    int // records seen in the segment, from its first one on; -1: not from there on
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

// earliest returns the tier whose next record comes next; nil if there is none up to a sequence.
func (r *Reader) earliest(upTo uint64) *place {
	var first *place
	for tier := range r.at {
		p := &r.at[tier]
		if !p.known && !r.find(p, r.log.shelf.tiers[tier]) {
			continue
		}
		if p.next.Seq <= upTo && (first == nil || p.next.Seq < first.next.Seq) {
			first = p
		}
	}
	return first
}

// find looks for the next record of a tier; false if there is none yet.
func (r *Reader) find(p *place, all []*segment) bool {
	at := 0
	if p.segment == nil {
		if len(all) == 0 {
			return false
		}
		for at+1 < len(all) && all[at+1].first <= p.index.Load() {
			at++
		}
		p.enter(all[at])
	} else {
		for at < len(all) && all[at] != p.segment {
			at++
		}
	}
	for {
		s := p.segment
		limit := ^uint64(0)
		if at+1 < len(all) {
			limit = min(all[at+1].first, s.next) // an agent that died may have gone on with it elsewhere
		}
		if p.seek(limit, r.acked.Load()) {
			return true
		}
		if at+1 == len(all) {
			return false
		}
		if p.good >= 0 {
			r.log.missing(s, p.good)
		}
		at++
		p.enter(all[at])
	}
}

func (p *place) enter(s *segment) {
	p.segment, p.off, p.window, p.good, p.known = s, segmentHead, p.window[:0], 0, false
	if p.index.Load() > s.first {
		p.good = -1
	}
}

// seek finds the next good header at or behind off, of a record before limit that is not acknowledged.
func (p *place) seek(limit, acked uint64) bool {
	end := p.segment.end.Load()
	for p.off+recordHead <= end {
		h, ok := parseHead(p.look(recordHead, end), p.segment.tier)
		switch {
		case !ok || p.off+int64(h.size()) > end:
			p.off += recordAlign
		case h.index >= limit:
			return false
		case h.index < p.index.Load() || h.Seq <= acked:
			p.off += int64(h.size())
			p.index.Store(max(p.index.Load(), h.index+1))
			if p.good >= 0 {
				p.good++ // its body was looked at before
			}
		default:
			p.next, p.known = h, true
			return true
		}
	}
	return false
}

// take returns the record that was found; false if it is damaged.
func (p *place) take() (Record, bool) {
	h := p.next
	p.known = false
	data := p.look(h.size(), p.segment.end.Load())
	p.off += int64(h.size())
	p.index.Store(h.index + 1)
	if len(data) < recordHead { // somebody has cut the file
		return Record{}, false
	}
	record, ok := h.record(append([]byte(nil), data[recordHead:]...)) // the window is used again
	if ok && p.good >= 0 {
		p.good++
	}
	return record, ok
}

// look returns n bytes at off, or fewer if there are fewer.
func (p *place) look(n int, end int64) []byte {
	if at := p.off - p.base; at >= 0 && at+int64(n) <= int64(len(p.window)) {
		return p.window[at : at+int64(n)]
	}
	want := int(min(int64(max(n, windowBytes)), end-p.off))
	if cap(p.window) < want {
		p.window = make([]byte, want)
	}
	p.window = p.window[:want]
	p.base = p.off
	got, _ := p.segment.read(p.window, p.off)
	p.window = p.window[:got]
	return p.window[:min(n, len(p.window))]
}
