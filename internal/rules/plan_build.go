package rules

import (
	"cmp"
	"slices"
	"strings"

	"bittern/internal/event"
)

// buildPlan works out what the kernel is to hold for a condition.
//
// The condition is taken apart from the top: negations move down to the
// literals, each literal becomes groups of keys (demandOf), conjunctions multiply
// and disjunctions add clauses. Whatever can't be expressed is left out in the
// direction that lets more events pass, with a note.
func buildPlan(class event.Class, match expr) *Plan {
	c := coverOf(match, false)
	for i, d := range c {
		c[i] = d.limitGroups(MaxGroups)
	}
	c = c.simplify()
	slices.SortStableFunc(c, compareDrafts)

	p := &Plan{Class: class, Clauses: make([]Clause, 0, len(c))}
	var notes []draftNote
	for _, d := range c {
		p.Clauses = append(p.Clauses, d.clause(class))
		notes = append(notes, d.notes...)
	}
	p.Exact = len(notes) == 0
	p.Notes = publicNotes(notes)
	return p
}

func (d draft) clause(class event.Class) Clause {
	c := Clause{Not: d.not.keys}
	for _, g := range d.groups {
		c.Groups = append(c.Groups, g.keys)
	}
	slices.SortStableFunc(c.Groups, func(a, b Group) int { return cmp.Compare(a.leadCost(class), b.leadCost(class)) })
	return c
}

// coverOf returns the cover of an expression, or of its negation.
func coverOf(e expr, negated bool) cover {
	switch e := e.(type) {
	case negation:
		return coverOf(e.operand, !negated)
	case conjunction:
		return coverOfList(e, negated, negated)
	case disjunction:
		return coverOfList(e, negated, !negated)
	case *valueSet:
		return e.cover(negated)
	case *literal:
		if negated {
			return coverOfNot(e)
		}
		return coverOfLiteral(e)
	}
	panic("rules: planning an expression of unknown type")
}

func coverOfList(operands []expr, negated, either bool) cover {
	covers := make([]cover, len(operands))
	for i, operand := range operands {
		covers[i] = coverOf(operand, negated)
	}
	if either {
		return union(covers)
	}
	return intersection(covers)
}

func coverOfLiteral(l *literal) cover {
	want := demandOf(l)
	if want.never {
		return nil
	}
	var d draft
	for _, keys := range want.groups {
		if len(keys) > maxGroupKeys {
			want.weak = true // too many to hold
			continue
		}
		d.groups = append(d.groups, newGroup(keys, l))
	}
	d, _ = d.normalise() // without Not there is no contradiction
	if want.weak {
		d.groups = thin(d.groups)
		d.notes = append(d.notes, draftNote{l, weakReason(l, d.groups)})
	}
	return cover{d}
}

// coverOfNot returns the cover of a negated literal. Only keys that decide the
// literal exactly may exclude events.
func coverOfNot(l *literal) cover {
	want := demandOf(l)
	switch {
	case want.never:
		return cover{{}}
	case want.weak:
		return cover{{notes: []draftNote{{l, notReason(l)}}}}
	}
	covers := make([]cover, 0, len(want.groups))
	for _, keys := range want.groups {
		covers = append(covers, cover{{not: newGroup(keys, l)}})
	}
	return union(covers)
}

func compareDrafts(a, b draft) int {
	return cmp.Or(
		slices.CompareFunc(a.groups, b.groups, compareGroups),
		slices.CompareFunc(a.not.keys, b.not.keys, compareKeys),
	)
}

// maxListReason is how many bytes it takes to say why values of a list were weakened, about: they
// are mostly weakened for one reason that names each.
const maxListReason = 200

// publicNotes makes one note for each literal, and one for all values of a list, in the order of
// the rule file.
func publicNotes(notes []draftNote) []Note {
	if len(notes) == 0 {
		return nil
	}
	at := make(map[any]int, len(notes))
	var out []Note
	for _, n := range notes {
		of, note := any(n.literal), Note{Pos: n.literal.pos, Literal: n.literal.source, Reason: n.reason}
		if set := n.literal.set; set != nil {
			of, note.Pos, note.Literal = set, set.list.Pos, set.source
		}
		i, ok := at[of]
		if !ok {
			at[of] = len(out)
			out = append(out, note)
			continue
		}
		if n.literal.set != nil && len(out[i].Reason) > maxListReason {
			continue // the rest is of the same kind
		}
		if !strings.Contains(out[i].Reason, n.reason) {
			out[i].Reason += "; " + n.reason
		}
	}
	slices.SortStableFunc(out, func(a, b Note) int {
		return cmp.Or(
			strings.Compare(a.Pos.File, b.Pos.File),
			cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(a.Pos.Column, b.Pos.Column),
			strings.Compare(a.Literal, b.Literal),
		)
	})
	return out
}
