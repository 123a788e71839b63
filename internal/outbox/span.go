package outbox

import "math"

// span is what a reader has delivered ahead of its backlog: the sequences behind from, up to to. Records have indexes in it, by tier,
// from first on, before next.
type span struct {
	from, to    uint64
	first, next [tiers]uint64
}

// hasSeq reports whether a sequence is in one of some spans.
func hasSeq(all []span, seq uint64) bool {
	for _, s := range all {
		if s.from < seq && seq <= s.to {
			return true
		}
	}
	return false
}

// hasAll reports whether all sequences from one on, before another one, are in one of some spans.
func hasAll(all []span, from, before uint64) bool {
	for _, s := range all {
		if s.from < from && before-1 <= s.to {
			return true
		}
	}
	return false
}

// countBetween counts the indexes of a tier from one on, before another one, that are in none of some spans.
func countBetween(all []span, tier Tier, from, before uint64) (n uint64) {
	if from < before {
		n = before - from
	}
	for _, s := range all {
		if low, high := max(s.first[tier], from), min(s.next[tier], before); low < high {
			n -= high - low
		}
	}
	return n
}

// endless is before no index.
var endless = func() (all [tiers]uint64) {
	for tier := range all {
		all[tier] = math.MaxUint64
	}
	return all
}()

// progress is what a reader has: all up to a sequence, and what it has delivered ahead.
type progress struct {
	acked uint64
	ahead []span
}

func (p progress) has(seq uint64) bool { return seq <= p.acked || hasSeq(p.ahead, seq) }
