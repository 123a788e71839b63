package outbox

import (
	"slices"
	"sync"
)

// shelf has the segments, by tier and in order. Readers hold mu for reading while they look at them, and whoever changes which ones
// there are holds it for writing. Only who holds the log's mu does that, and needs no lock to look.
type shelf struct {
	mu    sync.RWMutex
	tiers [tiers][]*segment
	// away is the sequence of the first record that is in no segment, between cut and add; 0: there is none. Readers must not go
	// past it, or they would never see it.
	away uint64
}

// bound is how far readers may go, up to a sequence. It is for whoever holds mu.
func (h *shelf) bound(upTo uint64) uint64 {
	if h.away != 0 {
		return min(upTo, h.away-1)
	}
	return upTo
}

// add adds a segment, in its place.
func (h *shelf) add(s *segment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	in := &h.tiers[s.tier]
	at := len(*in)
	for at > 0 && (*in)[at-1].first > s.first {
		at--
	}
	*in = slices.Insert(*in, at, s)
	h.away = 0
}

// cut ends a segment before a record: another one, which is to be added, has it.
func (h *shelf) cut(s *segment, next, nextSeq uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.sealed, s.abandoned = true, true
	s.end.Add(-int64(len(s.unsynced)))
	s.next, s.lastSeq, s.unsynced = next, nextSeq-1, nil
	h.away = nextSeq
}

// take takes a segment away, if f agrees while no reader looks at it. It does not close it.
func (h *shelf) take(s *segment, f func() bool) bool {
	done, _ := h.replace([]*segment{s}, nil, func() (bool, error) { return f(), nil })
	return done
}

// replace takes segments of a tier away, and puts one in their place, unless that is nil. It does so if f agrees, while no reader
// looks at them. It does not close them.
func (h *shelf) replace(some []*segment, instead *segment, f func() (bool, error)) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if done, err := f(); !done || err != nil {
		return false, err
	}
	in := &h.tiers[some[0].tier]
	at := slices.Index(*in, some[0])
	*in = slices.DeleteFunc(*in, func(s *segment) bool { return slices.Contains(some, s) })
	if instead != nil {
		*in = slices.Insert(*in, at, instead)
	}
	for _, s := range some {
		s.gone.Store(true)
	}
	return true, nil
}

// all returns the segments of a tier, to change them one by one. It is for whoever holds the log's mu.
func (h *shelf) all(tier Tier) []*segment { return slices.Clone(h.tiers[tier]) }

// count counts the records by tier from an index on, before another one, that are in none of some spans. It is for whoever holds one of
// the locks.
func (h *shelf) count(l *Log, except []span, from, before [tiers]uint64) (n uint64) {
	for tier, all := range h.tiers {
		for i, s := range all {
			end := l.nextIndex[tier].Load()
			if i+1 < len(all) {
				end = all[i+1].first
			}
			if first := max(from[tier], s.first); first < end && end-first <= mostRecords { // else numbers jumped, see Log.jump
				n += countBetween(except, Tier(tier), first, min(end, before[tier]))
			}
		}
	}
	return n
}

// bytes is what they take on the disk, and in memory. It is for whoever holds the log's mu.
func (h *shelf) bytes() (disk, memory int64) {
	for _, tier := range h.tiers {
		for _, s := range tier {
			if s.file != nil {
				disk += s.size
			} else {
				memory += s.size
			}
		}
	}
	return disk, memory
}
