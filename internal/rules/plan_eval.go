package rules

import (
	"slices"
	"strings"

	"bittern/internal/event"
)

// Passes reports whether the kernel lets the event pass for this plan. It is the
// reference for what bpf/match.h does, written to be read and not to be fast.
func (p *Plan) Passes(ev *event.Event) bool {
	return ev.Class == p.Class && slices.ContainsFunc(p.Clauses, func(c Clause) bool { return c.passes(ev) })
}

func (c Clause) passes(ev *event.Event) bool {
	for _, g := range c.Groups {
		if !slices.ContainsFunc(g, func(k Key) bool { return k.Hits(ev) }) {
			return false
		}
	}
	return !slices.ContainsFunc(c.Not, func(k Key) bool { return k.Hits(ev) })
}

// Hits reports whether a value of the key's field satisfies the key.
func (k Key) Hits(ev *event.Event) bool {
	if k.Kind == NumberEquals && k.Field.Info().Values != nil {
		return slices.Contains(ev.Codes(k.Field, nil), k.Number)
	}
	if k.Kind == InNetwork {
		return ev.Contains(k.Field, k.Network)
	}
	if k.Kind == NumberEquals {
		n, ok := ev.Number(k.Field)
		return ok && n == k.Number
	}
	return slices.ContainsFunc(ev.Strings(k.Field, nil), k.hits)
}

func (k Key) hits(value string) bool {
	if k.Fold || k.Kind == Gram {
		value = lowerASCII(value)
	}
	switch k.Kind {
	case Equals:
		return value == k.Text
	case Prefix:
		return strings.HasPrefix(value, k.Text)
	case Suffix:
		return strings.HasSuffix(value, k.Text)
	case Gram:
		return strings.Contains(value, k.Text)
	}
	return false
}
