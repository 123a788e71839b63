package outbox

import "sync/atomic"

// batchBytes is how much a batch holds at most, unless one record is larger.
const batchBytes = 256 << 10

// windowBytes is how much of a segment is read at once.
const windowBytes = 64 << 10

// mostRecords is how many a segment can hold.
const mostRecords = mostSegment / recordHead

// lane reads the records of all tiers in order, from a place on.
type lane struct {
	log   *Log
	kinds Kinds

	oldest      atomic.Int64           // time of the first record that is not acknowledged; ns since 1970, 0: none
	acked, read atomic.Uint64          // sequences: acknowledged, and handed out
	had         atomic.Pointer[[]span] // what another lane has delivered, and this one leaves out; in order, and never changed
	at          [tiers]place
	batch       []Record
}

// inHand reports whether it has handed out records that were not acknowledged.
func (l *lane) inHand() bool { return l.acked.Load() < l.read.Load() }

// collect returns the next records up to a sequence: at most so many, and 256 KiB, or one that is larger.
func (l *lane) collect(upTo uint64, most int) []Record {
	h := l.log.shelf
	h.mu.RLock()
	defer h.mu.RUnlock()
	upTo = h.bound(upTo)
	for tier := range l.at {
		p := &l.at[tier]
		p.known, p.window = false, p.window[:0]
		if s := p.segment; s != nil && s.gone.Load() {
			if p.good >= 0 && s.lastSeq <= l.acked.Load() { // it is past it, and did not look further yet
				l.log.missing(s, p.good)
			}
			p.segment = nil
		}
	}
	l.batch = l.batch[:0]
	inHand := l.inHand()
	for bytes := 0; bytes < batchBytes && len(l.batch) < most; {
		p := l.earliest(upTo)
		l.pass(p, upTo)
		if p == nil {
			break
		}
		record, ok := p.take()
		if !ok {
			continue // it is damaged, which is counted at the end of the segment
		}
		l.read.Store(record.Seq)
		if !l.kinds.Has(record.Kind) || hasSeq(l.spans(), record.Seq) {
			continue
		}
		bytes += record.size()
		l.batch = append(l.batch, record)
	}
	if len(l.batch) == 0 && !inHand && l.inHand() { // it wants none of these
		l.acked.Store(l.read.Load())
	}
	if len(l.batch) > 0 && !inHand {
		l.oldest.Store(l.batch[0].Time.UnixNano())
	}
	return l.batch
}

// pass goes past what the other lane has delivered, given the place that comes next; nil: there is none up to a sequence.
func (l *lane) pass(next *place, upTo uint64) {
	before := upTo + 1
	if next != nil {
		before = next.next.Seq
	}
	for _, s := range l.spans() {
		if s.to < before && s.to > l.read.Load() {
			l.read.Store(s.to)
		}
	}
}

func (l *lane) spans() []span {
	if all := l.had.Load(); all != nil {
		return *all
	}
	return nil
}

// indexes are those of the next record of each tier.
func (l *lane) indexes() (all [tiers]uint64) {
	for tier := range l.at {
		all[tier] = l.at[tier].index.Load()
	}
	return all
}

// leave counts the damage in what it has gone past, as it would if it went on.
func (l *lane) leave() { l.collect(0, 1) }
