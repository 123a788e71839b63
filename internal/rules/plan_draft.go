package rules

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// maxDraftGroups bounds the groups of a draft, of which MaxGroups stay in the end.
const maxDraftGroups = 64

// draft is a clause under construction. It is immutable: drafts share parts.
type draft struct {
	groups []draftGroup // any number; sorted by normalise
	not    draftGroup
	notes  []draftNote // why it is weaker than what it stands for; empty: it is not
}

// draftGroup is a group in normal form, may be empty, or the keys of a Not.
type draftGroup struct {
	keys Group
	set  keySet
	from []*literal // what the keys stand for
}

type draftNote struct {
	literal *literal
	reason  string
}

func newGroup(keys Group, from ...*literal) draftGroup {
	return draftGroup{keys: keys, set: newKeySet(keys), from: from}
}

// mergeGroups returns the disjunction of groups.
func mergeGroups(groups []draftGroup) draftGroup {
	if len(groups) == 1 {
		return groups[0]
	}
	var keys []Key
	var from []*literal
	for _, g := range groups {
		keys = append(keys, g.keys...)
		from = append(from, g.from...)
	}
	return newGroup(normalGroup(keys), from...)
}

// impliedBy reports whether hitting other means hitting g.
func (g draftGroup) impliedBy(other draftGroup) bool { return g.set.coversAll(other.keys) }

// conjoin returns the conjunction of drafts; ok is false if no event passes it.
func conjoin(drafts ...draft) (joined draft, ok bool) {
	var nots []draftGroup
	for _, d := range drafts {
		joined.groups = append(joined.groups, d.groups...)
		joined.notes = append(joined.notes, d.notes...)
		if len(d.not.keys) > 0 {
			nots = append(nots, d.not)
		}
	}
	joined.not = mergeGroups(nots)
	return joined.normalise()
}

// normalise leaves out what has no effect and sorts the rest; ok is false if no
// event passes the draft.
func (d draft) normalise() (draft, bool) {
	groups := make([]draftGroup, 0, len(d.groups))
	for _, g := range d.groups {
		// A key that means hitting a key of Not can't help the group.
		if slices.ContainsFunc(g.keys, d.not.set.covers) {
			g = newGroup(slices.DeleteFunc(slices.Clone(g.keys), d.not.set.covers), g.from...)
		}
		if len(g.keys) == 0 {
			return draft{}, false
		}
		groups = append(groups, g)
	}
	slices.SortStableFunc(groups, compareGroups)
	d.groups = groups
	d = d.limitGroups(maxDraftGroups)

	groups = d.groups
	d.groups = nil
	for i, g := range groups {
		implied := slices.ContainsFunc(d.groups, g.impliedBy) ||
			slices.ContainsFunc(groups[i+1:], func(later draftGroup) bool { return g.impliedBy(later) && !later.impliedBy(g) })
		if !implied {
			d.groups = append(d.groups, g)
		}
	}
	return d, true
}

// limitGroups keeps the rarest groups, at most limit.
func (d draft) limitGroups(limit int) draft {
	if len(d.groups) <= limit {
		return d
	}
	notes := slices.Clone(d.notes)
	for _, g := range d.groups[limit:] {
		notes = append(notes, g.note(reasonTooMuch)...)
	}
	return draft{groups: d.groups[:limit:limit], not: d.not, notes: notes}
}

// note gives the literals of the group a note.
func (g draftGroup) note(reason string) []draftNote {
	notes := make([]draftNote, len(g.from))
	for i, l := range g.from {
		notes[i] = draftNote{l, reason}
	}
	return notes
}

func compareGroups(a, b draftGroup) int {
	return cmp.Or(
		cmp.Compare(a.keys.cost(), b.keys.cost()),
		slices.CompareFunc(a.keys, b.keys, compareKeys),
	)
}

// everything reports whether every event passes the draft.
func (d draft) everything() bool { return len(d.groups) == 0 && len(d.not.keys) == 0 }

// covers reports whether every event that passes other passes d.
func (d draft) covers(other draft) bool {
	if !other.not.set.coversAll(d.not.keys) {
		return false
	}
	for _, g := range d.groups {
		if !slices.ContainsFunc(other.groups, g.impliedBy) {
			return false
		}
	}
	return true
}

// signature identifies the draft apart from its group number skip and its notes.
func (d draft) signature(skip int) string {
	var b strings.Builder
	for i, g := range d.groups {
		if i != skip {
			b.WriteByte('&')
			writeKeys(&b, g.keys)
		}
	}
	b.WriteByte('!')
	writeKeys(&b, d.not.keys)
	return b.String()
}

func writeKeys(b *strings.Builder, keys []Key) {
	for _, k := range keys {
		for _, n := range []uint64{uint64(k.Field), uint64(k.Kind), k.Number, uint64(len(k.Text))} {
			b.WriteString(strconv.FormatUint(n, 10))
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatBool(k.Fold))
		b.WriteString(k.Text)
		b.WriteString(k.Network.String())
	}
}

// collapse returns one draft that passes whatever passes any of the drafts, one
// or more: the rarest groups of each together, the next rarest, and so on. It is
// weak, with the reason as its note.
func collapse(drafts []draft, reason string) draft {
	var out draft
	depth := len(drafts[0].groups)
	for _, d := range drafts {
		depth = min(depth, len(d.groups))
		out.notes = append(append(out.notes, d.notes...), d.not.note(reason)...)
		for _, g := range d.groups {
			out.notes = append(out.notes, g.note(reason)...)
		}
	}
	for i := range depth {
		rank := make([]draftGroup, 0, len(drafts))
		size := 0
		for _, d := range drafts {
			rank = append(rank, d.groups[i])
			size += len(d.groups[i].keys)
		}
		if size <= maxGroupKeys {
			out.groups = append(out.groups, mergeGroups(rank))
		}
	}
	// A key can stay excluded if every draft excludes it.
	first := drafts[0].not
	keys := slices.DeleteFunc(slices.Clone(first.keys), func(k Key) bool {
		return slices.ContainsFunc(drafts, func(d draft) bool { return !d.not.set.covers(k) })
	})
	out.not = newGroup(keys, first.from...)
	out, _ = out.normalise() // no group of it is empty: none of the parts' was
	return out
}
