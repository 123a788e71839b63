package rules

import (
	"slices"
	"sync"

	"bittern/internal/event"
)

// valueSet is a disjunction of many literals of one field, all of one key of a selection: the
// values of a list. It means what the literals mean; what can be looked up is not tried one by one.
type valueSet struct {
	list     *List
	source   string // as written: "process.executable|endswith: {list: tools}"
	literals disjunction

	field    event.Field
	fold     bool
	numbers  map[uint64]struct{}
	equal    map[string]struct{}
	prefixes textsByLength
	suffixes textsByLength
	rest     []*literal // tried one by one

	covers [2]func() cover // of the set, and of its negation; worked out when first asked for
}

// textsByLength finds the texts that a value starts or ends with.
type textsByLength struct {
	texts   map[string]struct{}
	lengths []int // that occur, in order
}

// prepare fills the set. All literals are of one field, and all fold or none.
func (s *valueSet) prepare(literals []expr) {
	s.literals = literals
	s.numbers, s.equal = map[uint64]struct{}{}, map[string]struct{}{}
	for _, e := range literals {
		l := e.(*literal)
		s.field, s.fold = l.field, l.fold
		switch l.op {
		case opNumber:
			s.numbers[l.number] = struct{}{}
		case opEquals:
			s.equal[l.text] = struct{}{}
		case opStartsWith:
			s.prefixes.add(l.text)
		case opEndsWith:
			s.suffixes.add(l.text)
		default:
			s.rest = append(s.rest, l)
		}
	}
	for i, negated := range []bool{false, true} {
		s.covers[i] = sync.OnceValue(func() cover { return coverOfSet(s, negated) })
	}
}

func (t *textsByLength) add(text string) {
	if t.texts == nil {
		t.texts = map[string]struct{}{}
	}
	t.texts[text] = struct{}{}
	if i, ok := slices.BinarySearch(t.lengths, len(text)); !ok {
		t.lengths = slices.Insert(t.lengths, i, len(text))
	}
}

// has reports whether one of the texts is what cut leaves of a value of size bytes.
func (t *textsByLength) has(size int, cut func(length int) string) bool {
	for _, length := range t.lengths {
		if length > size {
			return false
		}
		if _, ok := t.texts[cut(length)]; ok {
			return true
		}
	}
	return false
}

func (s *valueSet) eval(ev *event.Event) bool {
	if len(s.numbers) > 0 {
		if value, ok := ev.Number(s.field); ok {
			if _, ok := s.numbers[value]; ok {
				return true
			}
		}
	}
	if len(s.equal) > 0 || len(s.prefixes.lengths) > 0 || len(s.suffixes.lengths) > 0 {
		var space [manyValues]string
		for _, value := range ev.Strings(s.field, space[:0]) {
			if s.finds(value) {
				return true
			}
		}
	}
	return slices.ContainsFunc(s.rest, func(l *literal) bool { return l.eval(ev) })
}

// finds looks one value up.
func (s *valueSet) finds(value string) bool {
	if s.fold {
		value = lowerASCII(value)
	}
	if _, ok := s.equal[value]; ok {
		return true
	}
	return s.prefixes.has(len(value), func(n int) string { return value[:n] }) ||
		s.suffixes.has(len(value), func(n int) string { return value[len(value)-n:] })
}

// cover returns the cover of the set, or of its negation. The caller may change it.
func (s *valueSet) cover(negated bool) cover {
	if negated {
		return slices.Clone(s.covers[1]())
	}
	return slices.Clone(s.covers[0]())
}
