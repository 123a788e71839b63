package rules

import "bittern/internal/event"

// Reason is a comparison that keeps an event from being matched.
type Reason struct {
	Pos     Position
	Literal string // as written, for example "process.executable|endswith: /curl"
	Holds   bool   // the event satisfies it, and should not
}

// maxReasons keeps a long list of values from becoming a long list of reasons.
const maxReasons = 16

// WhyNot returns comparisons that stand between an event and the rule, in the order in which they are
// written, at most 16. A match needs all those of a conjunction, and one of those of a disjunction, to be
// otherwise. It returns nil if the rule matches, or does not apply to events of the class.
func (r *Rule) WhyNot(ev *event.Event) []Reason {
	for _, p := range r.plans {
		if p.Class == ev.Class && !r.match.eval(ev) {
			return obstacles(nil, r.match, ev, true)
		}
	}
	return nil
}

// obstacles adds what has to change for e to become what is wanted, which it is not.
func obstacles(to []Reason, e expr, ev *event.Event, wanted bool) []Reason {
	if len(to) == maxReasons {
		return to
	}
	var operands []expr
	switch e := e.(type) {
	case *literal:
		return append(to, Reason{Pos: e.pos, Literal: e.source, Holds: !wanted})
	case *valueSet:
		return append(to, Reason{Pos: e.list.Pos, Literal: e.source, Holds: !wanted})
	case negation:
		return obstacles(to, e.operand, ev, !wanted)
	case conjunction:
		operands = e
	case disjunction:
		operands = e
	}
	for _, o := range operands {
		if o.eval(ev) != wanted {
			to = obstacles(to, o, ev, wanted)
		}
	}
	return to
}
