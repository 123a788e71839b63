package rules

import (
	"cmp"
	"slices"
	"strings"
)

// Limits of what is computed from a regular expression. Beyond them less is
// demanded, never more.
const (
	maxPieces     = 512     // in one set
	maxProduct    = 64      // in a set put together from two sets of several
	maxPieceBytes = 8 << 10 // of one set's texts together
	maxClassRunes = 4       // of a character class that is spelt out
	maxNeeds      = 32      // sets of one expression
)

// pieces is a set of which a value has at least one: sorted, without repeats.
// The empty set can't be met.
type pieces []piece

func newPieces(list ...piece) pieces {
	slices.SortFunc(list, func(a, b piece) int {
		return cmp.Or(strings.Compare(a.text, b.text), compareBool(a.start, b.start), compareBool(a.end, b.end))
	})
	return slices.Compact(list)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// anything is met by every value.
func anything() pieces { return pieces{{}} }

// demands reports whether some value does not meet the set.
func (ps pieces) demands() bool { return !slices.Contains(ps, piece{}) }

func (ps pieces) bytes() int {
	n := 0
	for _, p := range ps {
		n += len(p.text)
	}
	return n
}

// union returns the set that is met if either is; ok is false if it is too big.
func (ps pieces) union(other pieces) (pieces, bool) {
	both := newPieces(slices.Concat(ps, other)...)
	return both, len(both) <= maxPieces && both.bytes() <= maxPieceBytes
}

// followedBy returns the pieces of text that are one of ps and one of next
// beside each other; ok is false if there are too many. Pieces that no value can
// have, such as text before its start, are left out.
func (ps pieces) followedBy(next pieces) (joined pieces, ok bool) {
	n := len(ps) * len(next)
	if n > max(maxProduct, len(ps), len(next)) || ps.bytes()*len(next)+next.bytes()*len(ps) > maxPieceBytes {
		return nil, false
	}
	list := make([]piece, 0, n)
	for _, a := range ps {
		for _, b := range next {
			if (b.start && a.text != "") || (a.end && b.text != "") {
				continue
			}
			list = append(list, piece{text: a.text + b.text, start: a.start || b.start, end: a.end || b.end})
		}
	}
	return newPieces(list...), true
}

// sketch is what is known of the strings that a part of a regular expression
// matches.
type sketch struct {
	// whole: the strings are those of head, and tail is the same set. Otherwise
	// they start with one of head and end with one of tail.
	whole      bool
	loose      bool // whole: head may hold strings that are no match
	head, tail pieces
	// needs are further sets; each string has one of each, inside it.
	needs []pieces
}

func wholeSketch(set pieces, loose bool) sketch {
	return sketch{whole: true, loose: loose, head: set, tail: set}
}

// unknownSketch says nothing.
func unknownSketch() sketch { return sketch{head: anything(), tail: anything()} }

// impossible reports whether there is no match at all.
func (s sketch) impossible() bool { return len(s.head) == 0 || len(s.tail) == 0 }

// then returns the sketch of s followed by next.
func (s sketch) then(next sketch) sketch {
	out := sketch{
		whole: s.whole && next.whole,
		loose: s.loose || next.loose,
		head:  s.head,
		tail:  next.tail,
	}
	out.needs = slices.Concat(s.needs, next.needs)
	joined, ok := s.tail.followedBy(next.head)
	if ok && len(joined) == 0 {
		return wholeSketch(nil, false)
	}
	switch {
	case out.whole && ok:
		return wholeSketch(joined, out.loose)
	case out.whole:
		out.whole = false // both sets stay, at the two ends
	case ok && s.whole:
		out.head = joined
	case ok && next.whole:
		out.tail = joined
	case ok:
		out.need(joined)
	case s.whole:
		out.need(next.head)
	case next.whole:
		out.need(s.tail)
	default:
		out.need(s.tail)
		out.need(next.head)
	}
	return out
}

// or returns the sketch of an alternation.
func (s sketch) or(other sketch) sketch {
	if s.impossible() {
		return other
	}
	if other.impossible() {
		return s
	}
	if s.whole && other.whole {
		if both, ok := s.head.union(other.head); ok {
			return wholeSketch(both, s.loose || other.loose)
		}
	}
	out := unknownSketch()
	if head, ok := s.head.union(other.head); ok {
		out.head = head
	}
	if tail, ok := s.tail.union(other.tail); ok {
		out.tail = tail
	}
	// What either needs is a disjunction of conjunctions; pairing the rarest with
	// the rarest keeps it a conjunction of disjunctions that says nearly as much.
	mine, theirs := s.allNeeds(), other.allNeeds()
	for i := range min(len(mine), len(theirs)) {
		if both, ok := mine[i].union(theirs[i]); ok {
			out.need(both)
		}
	}
	return out
}

// repeated returns the sketch of s one or more times.
func (s sketch) repeated() sketch {
	s.whole = false
	return s
}

func (s *sketch) need(set pieces) {
	if set.demands() && len(s.needs) < maxNeeds {
		s.needs = append(slices.Clip(s.needs), set)
	}
}

// allNeeds returns needs with head and tail among them, the rarest first.
func (s sketch) allNeeds() []pieces {
	all := slices.Clone(s.needs)
	if s.head.demands() {
		all = append(all, s.head)
	}
	if !s.whole && s.tail.demands() {
		all = append(all, s.tail)
	}
	slices.SortStableFunc(all, func(a, b pieces) int { return cmp.Compare(a.cost(), b.cost()) })
	return all
}

// cost estimates how many of a million events meet the set.
func (ps pieces) cost() int {
	total := 0
	for _, p := range ps {
		switch {
		case len(p.text) < minGram && !p.start && !p.end:
			return costLimit
		case p.start || p.end:
			total += edgeCost(Key{Kind: Suffix, Text: p.text})
		case len(p.text) > maxGram:
			total += gramCost(rarestGram(p.text))
		default:
			total += gramCost(lowerASCII(p.text))
		}
	}
	return min(total, costLimit)
}
