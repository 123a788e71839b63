package rules

// coverOfSet returns the cover of a set of values, or of its negation. It is that of all its
// literals together. Those that one group of keys decides, which are mostly all of them, are one
// group at once: to merge thousands of drafts takes long.
func coverOfSet(s *valueSet, negated bool) cover {
	var keys []Key
	var from []*literal
	var covers []cover
	for _, e := range s.literals {
		l := e.(*literal)
		want := demandOf(l)
		if want.weak || want.never || len(want.groups) != 1 || len(keys)+len(want.groups[0]) > maxGroupKeys {
			covers = append(covers, coverOf(l, negated))
			continue
		}
		keys = append(keys, want.groups[0]...)
		from = append(from, l)
	}
	if len(keys) > 0 {
		g := newGroup(normalGroup(keys), from...)
		if negated {
			covers = append(covers, cover{{not: g}})
		} else {
			covers = append(covers, cover{{groups: []draftGroup{g}}})
		}
	}
	if negated {
		return intersection(covers)
	}
	return union(covers)
}
