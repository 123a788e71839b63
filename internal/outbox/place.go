package outbox

import "sync/atomic"

// place is where a reader is in a tier.
type place struct {
	segment *segment // nil: to be looked for
	off     int64
	index   atomic.Uint64 // of the next record
	next    head          // the record at off, if known
	known   bool
	window  []byte // what the segment has from base on
	base    int64
	good    int // records seen in the segment, from its first one on; -1: not from there on
}

// restart has it begin at an index.
func (p *place) restart(index uint64) {
	p.segment, p.window, p.known = nil, nil, false
	p.index.Store(index)
}

// earliest returns the tier whose next record comes next; nil if there is none up to a sequence.
func (l *lane) earliest(upTo uint64) *place {
	var first *place
	for tier := range l.at {
		p := &l.at[tier]
		if !p.known && !l.find(p, l.log.shelf.tiers[tier]) {
			continue
		}
		if p.next.Seq <= upTo && (first == nil || p.next.Seq < first.next.Seq) {
			first = p
		}
	}
	return first
}

// find looks for the next record of a tier; false if there is none yet.
func (l *lane) find(p *place, all []*segment) bool {
	at := 0
	if p.segment == nil {
		if len(all) == 0 {
			return false
		}
		for at+1 < len(all) && all[at+1].first <= p.index.Load() {
			at++
		}
		at = l.pastHad(all, at)
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
		if p.seek(limit, l.acked.Load()) {
			return true
		}
		if at+1 == len(all) {
			if s.merged { // its last records may be part of others
				p.index.Store(max(p.index.Load(), s.next))
			}
			return false
		}
		if p.good >= 0 {
			l.log.missing(s, p.good)
		}
		at = l.pastHad(all, at+1)
		p.enter(all[at])
	}
}

// pastHad returns the first segment from one on that may hold what the other lane has not delivered: those before it were read as a whole
// there, and damage in them was counted.
func (l *lane) pastHad(all []*segment, at int) int {
	for at+1 < len(all) && hasAll(l.spans(), all[at].firstSeq, all[at+1].firstSeq) {
		at++
	}
	return at
}

func (p *place) enter(s *segment) {
	p.segment, p.off, p.window, p.good, p.known = s, segmentHead, p.window[:0], 0, false
	if p.index.Load() > s.first {
		p.good = -1
	} else {
		p.index.Store(s.first) // it has gone past all before, also of segments that are not there
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
