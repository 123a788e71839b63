package rules

import (
	"strings"

	"bittern/internal/event"
)

func (c conjunction) eval(ev *event.Event) bool {
	for _, e := range c {
		if !e.eval(ev) {
			return false
		}
	}
	return true
}

func (d disjunction) eval(ev *event.Event) bool {
	for _, e := range d {
		if e.eval(ev) {
			return true
		}
	}
	return false
}

func (n negation) eval(ev *event.Event) bool { return !n.operand.eval(ev) }

// manyValues is how many values of one field fit on the stack; longer argument
// lists are moved to the heap.
const manyValues = 16

// eval reports whether any of the field's values satisfies the literal; a field
// without values satisfies none.
func (l *literal) eval(ev *event.Event) bool {
	if l.op == opNumber {
		value, ok := ev.Number(l.field)
		return ok && value == l.number
	}
	if l.op == opNetwork {
		return ev.Contains(l.field, l.network)
	}
	var space [manyValues]string
	for _, value := range ev.Strings(l.field, space[:0]) {
		if l.holds(value) {
			return true
		}
	}
	return false
}

// holds compares one value byte by byte. Values need not be valid UTF-8; a
// regular expression sees each byte that is not as U+FFFD, so "." matches it.
func (l *literal) holds(value string) bool {
	if l.op == opRegexp {
		return l.re.MatchString(value)
	}
	if l.fold {
		value = lowerASCII(value)
	}
	switch l.op {
	case opEquals:
		return value == l.text
	case opContains:
		return strings.Contains(value, l.text)
	case opStartsWith:
		return strings.HasPrefix(value, l.text)
	case opEndsWith:
		return strings.HasSuffix(value, l.text)
	case opGlob:
		return matchGlob(l.glob, value)
	}
	return false
}

// lowerASCII folds A to Z and nothing else: unlike strings.ToLower it leaves
// other letters and invalid UTF-8 as they are.
func lowerASCII(s string) string {
	first := strings.IndexFunc(s, func(r rune) bool { return 'A' <= r && r <= 'Z' })
	if first < 0 {
		return s
	}
	lower := []byte(s)
	for i := first; i < len(lower); i++ {
		if c := lower[i]; 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return string(lower)
}
