package rules

import (
	"cmp"
	"slices"
)

const (
	// maxClauses bounds the slots that one rule takes in one class.
	maxClauses = 64
	// maxGroupKeys bounds one group.
	maxGroupKeys = maxListValues
	// maxFactors bounds how many disjunctions of one conjunction are multiplied out.
	maxFactors = 32
	// maxPairs bounds how many clauses are compared with each other.
	maxPairs = 256
)

// cover is a disjunction of drafts: every event that satisfies the expression
// passes one of them. An event that passes a draft without notes satisfies it.
type cover []draft

// union returns the disjunction of covers.
func union(covers []cover) cover {
	all := slices.Concat(covers...).simplify()
	if len(all) > maxClauses {
		// Those with the fewest groups stay apart: a collapsed draft has no more
		// groups than any of its parts.
		slices.SortStableFunc(all, func(a, b draft) int { return cmp.Compare(len(a.groups), len(b.groups)) })
		rest := all[maxClauses-1:]
		all = append(all[:maxClauses-1:maxClauses-1], collapse(rest, reasonAlternatives)).simplify()
	}
	return all
}

// intersection returns the conjunction of covers.
func intersection(covers []cover) cover {
	// The single drafts at once: a long list of negations is many of them.
	var single cover
	var several []cover
	for _, c := range covers {
		switch len(c) {
		case 0:
			return nil
		case 1:
			single = append(single, c[0])
		default:
			several = append(several, c)
		}
	}
	one, ok := conjoin(single...)
	if !ok {
		return nil
	}
	all := cover{one}
	slices.SortStableFunc(several, func(a, b cover) int { return cmp.Compare(len(a), len(b)) })
	for i, next := range several {
		joined, ok := all.times(next)
		if !ok || i == maxFactors {
			// What is left has as many drafts each, or more.
			return all.timesCollapsed(several[i:])
		}
		all = joined
	}
	return all
}

// timesCollapsed returns the conjunction with covers each made a single draft.
func (c cover) timesCollapsed(covers []cover) cover {
	drafts := make([]draft, len(covers))
	for i, other := range covers {
		drafts[i] = collapse(other, reasonCombinations)
	}
	one, ok := conjoin(drafts...)
	if !ok {
		return nil
	}
	all, _ := c.times(cover{one}) // no more drafts than before
	return all
}

// times returns the conjunction of two covers; ok is false if it has too many
// clauses.
func (c cover) times(other cover) (all cover, ok bool) {
	if len(c)*len(other) > maxPairs {
		return nil, false
	}
	for _, a := range c {
		for _, b := range other {
			if d, ok := conjoin(a, b); ok {
				all = append(all, d)
			}
		}
	}
	all = all.simplify()
	return all, len(all) <= maxClauses
}

// simplify merges drafts that differ in one group, as long as any do, and leaves
// out those that another covers. It means the same as before.
func (c cover) simplify() cover {
	for {
		before := len(c)
		c = c.merge().dropCovered()
		if len(c) == before {
			return c
		}
	}
}

// merge puts drafts that are equal but for one group together: (a and x) or
// (b and x) is (a or b) and x. Drafts of a single group are the common case.
func (c cover) merge() cover {
	var order []string
	alike := map[string][][2]int{} // signature: which draft, which group of it
	for i, d := range c {
		for g := range d.groups {
			sig := d.signature(g)
			if len(alike[sig]) == 0 {
				order = append(order, sig)
			}
			alike[sig] = append(alike[sig], [2]int{i, g})
		}
	}
	merged := make([]bool, len(c))
	out := c[:0:0]
	for _, sig := range order {
		var batch [][2]int
		size := 0
		flush := func() {
			if len(batch) > 1 {
				out = append(out, c.mergeBatch(batch))
				for _, at := range batch {
					merged[at[0]] = true
				}
			}
			batch, size = nil, 0
		}
		for _, at := range alike[sig] {
			if n := len(c[at[0]].groups[at[1]].keys); !merged[at[0]] {
				if size+n > maxGroupKeys {
					flush()
				}
				batch, size = append(batch, at), size+n
			}
		}
		flush()
	}
	for i, d := range c {
		if !merged[i] {
			out = append(out, d)
		}
	}
	return out
}

// mergeBatch merges drafts that differ only in the group named with each.
func (c cover) mergeBatch(batch [][2]int) draft {
	first := c[batch[0][0]]
	d := draft{groups: slices.Clone(first.groups), not: first.not}
	var groups []draftGroup
	var exact []Key
	for _, at := range batch {
		g := c[at[0]].groups[at[1]]
		groups = append(groups, g)
		if len(c[at[0]].notes) == 0 {
			exact = append(exact, g.keys...)
		}
	}
	decided := newKeySet(exact)
	for i, at := range batch {
		// Where an exact draft passes the same events, it does not matter that
		// this one is weak.
		if !decided.coversAll(groups[i].keys) {
			d.notes = append(d.notes, c[at[0]].notes...)
		}
	}
	d.groups[batch[0][1]] = mergeGroups(groups)
	d, _ = d.normalise() // never empty: the parts were not
	return d
}

// dropCovered leaves out drafts that another covers: of two that cover each
// other, the one with notes, or else the later.
func (c cover) dropCovered() cover {
	if i := slices.IndexFunc(c, func(d draft) bool { return d.everything() && len(d.notes) == 0 }); i >= 0 {
		return cover{c[i]}
	}
	if i := slices.IndexFunc(c, draft.everything); i >= 0 {
		return cover{c[i].withNotesOf(c)}
	}
	if len(c) > maxPairs {
		return c
	}
	dropped := make([]bool, len(c))
	for i := range c {
		for j := range c {
			if i == j || dropped[i] || dropped[j] || !c[i].covers(c[j]) {
				continue
			}
			if c[j].covers(c[i]) && len(c[j].notes) == 0 && len(c[i].notes) > 0 {
				continue // the other way round, in its turn
			}
			dropped[j] = true
		}
	}
	out := c[:0:0]
	for i, d := range c {
		if !dropped[i] {
			out = append(out, d)
		}
	}
	return out
}

// withNotesOf keeps the notes of drafts that are about to be left out in favour
// of one that every event passes: they explain it.
func (d draft) withNotesOf(c cover) draft {
	d.notes = nil
	for _, other := range c {
		d.notes = append(d.notes, other.notes...)
	}
	return d
}
