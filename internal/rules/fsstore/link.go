package fsstore

import (
	"maps"
	"slices"

	"bittern/internal/rules"
)

// linked are updates together with what follows from them by way of lists: all rules that use a
// list change together with it, or none of them does.
type linked struct {
	updates []update
	lists   ownedLists // after them
	// live are rules that stay live since their file is wrong or away, as they are with the
	// lists of now, by id.
	live map[string]*rules.Rule
}

// apply takes updates in, with what follows from them. If a list changes, they are a set.
func (l *loop) apply(updates []update, set rules.ChangeSet) {
	linked := l.link(updates)
	if linked.lists.differ(l.store.set.lists) {
		set = l.set(true, true)
	}
	l.store.apply(linked, set, false)
}

// link finds out which lists there are after updates, and reads anew what uses them. At any time
// all rules that are live with a list have the same values of it. So a list that doesn't fit one of
// the rules that had it is refused: all of them keep the values that they have.
func (l *loop) link(updates []update) linked {
	s := l.store.set
	if !s.concernsLists(updates) {
		return linked{updates: updates, lists: s.lists}
	}
	result := linked{lists: s.listsAfter(updates)}
	for {
		lists := result.lists.now()
		result.updates = l.readAgain(updates, lists)
		misfits := s.misfits(result.updates)
		result.live = l.relinkLive(result.updates, lists, misfits)
		if len(misfits) == 0 {
			return result
		}
		for name, why := range misfits {
			was := result.lists[name]
			result.lists[name] = ownedList{was.list.Refused(why), was.owner}
		}
	}
}

// concernsLists reports whether updates have to do with lists.
func (s *set) concernsLists(updates []update) bool {
	return slices.ContainsFunc(updates, func(u update) bool {
		if u.file != nil {
			if file, _ := u.uses(); file != nil || len(u.file.Lists) > 0 {
				return true
			}
		}
		src := s.sources[u.name]
		if src == nil {
			return false
		}
		owns := false
		for _, list := range s.lists {
			owns = owns || list.owner == u.name
		}
		return owns || src.linked != nil || len(src.lists) > 0
	})
}

// readAgain reads the files anew whose rules use lists that are now other ones, and returns the
// updates with theirs.
func (l *loop) readAgain(updates []update, lists rules.Lists) []update {
	all := slices.Clone(updates)
	named := make(map[string]bool, len(updates))
	var todo []int // indices of all
	for i, u := range updates {
		named[u.name] = true
		if u.from != "" {
			named[u.from] = true // its rules go to the other name
		}
		src := l.store.set.sources[u.name]
		switch {
		case u.kind == judge && u.file != nil && u.file.Outdated(lists):
			todo = append(todo, i)
		case u.kind == confirm && src != nil && src.outdated(lists):
			all[i] = src.again(u)
			todo = append(todo, i)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.store.set.sources)) {
		if src := l.store.set.sources[name]; !named[name] && !src.missing && src.outdated(lists) {
			todo = append(todo, len(all))
			all = append(all, src.again(update{name: name, seen: updates[0].seen}))
		}
	}
	share(len(todo), func(i int) {
		u := &all[todo[i]]
		u.file = l.cfg.Parse(u.path, u.data, lists)
	})
	return all
}

// outdated reports whether the source uses lists that are now other ones.
func (src *source) outdated(lists rules.Lists) bool {
	return src.linked != nil && src.linked.Outdated(lists)
}

// again is the update by which the source is judged with other lists.
func (src *source) again(u update) update {
	return update{kind: judge, again: true, name: u.name, seen: u.seen, path: src.path, sum: src.sum, file: src.linked, data: src.data}
}

// misfits are the lists with values that a rule can't have which is live with other values of
// them, each with the reason.
func (s *set) misfits(updates []update) map[string]rules.Problem {
	found := make(map[string]rules.Problem)
	for _, u := range updates {
		if u.kind != judge || u.file == nil {
			continue
		}
		for _, d := range u.file.Documents {
			if live := s.live[d.RuleID]; live != nil {
				addMisfits(found, live.rule, d)
			}
		}
	}
	return found
}

// addMisfits adds the lists that don't fit a document, and that the live version of its rule has
// with other values.
func addMisfits(to map[string]rules.Problem, live *rules.Rule, d rules.Document) {
	for name, why := range d.Misfits {
		has := live.Uses()[name]
		if _, ok := to[name]; !ok && has != nil && !has.Same(d.Uses[name]) {
			to[name] = why
		}
	}
}

// relinkLive compiles the rules anew that use lists which are now other ones, and that stay live by
// what they were: their files are wrong, or away. Lists that don't fit are added to misfits.
func (l *loop) relinkLive(updates []update, lists rules.Lists, misfits map[string]rules.Problem) map[string]*rules.Rule {
	s := l.store.set
	of := make(map[string]update, len(updates)) // by what was the file's name
	for _, u := range updates {
		if of[u.name] = u; u.from != "" {
			of[u.from] = u
		}
	}
	var relinked map[string]*rules.Rule
	for id, live := range s.live {
		uses, changed := usable(live.rule, lists)
		if u, ok := of[live.owner.name]; !changed || ok && !u.keeps(id) {
			continue
		}
		for _, d := range l.cfg.Parse(live.rule.Pos.File, live.rule.Source(), uses).Documents {
			addMisfits(misfits, live.rule, d)
			if d.RuleID == id && d.Rule != nil {
				if relinked == nil {
					relinked = make(map[string]*rules.Rule)
				}
				relinked[id] = d.Rule
			}
		}
	}
	return relinked
}

// keeps reports whether a rule that is live by a file stays live as it is when the file is
// updated: it is neither defined anew nor gone.
func (u update) keeps(id string) bool {
	switch {
	case u.kind == drop:
		return false
	case u.kind != judge || u.file == nil:
		return true
	}
	keeps := !u.file.Complete
	for _, d := range u.file.Documents {
		if d.RuleID == id {
			return d.Rule == nil
		}
		keeps = keeps || d.RuleID == ""
	}
	return keeps
}

// usable returns the lists that a live rule is to have: those of now, and what it has where there
// is none now, or a wrong one. changed reports whether it has others.
func usable(rule *rules.Rule, lists rules.Lists) (uses rules.Lists, changed bool) {
	if len(rule.Uses()) == 0 {
		return nil, false
	}
	uses = make(rules.Lists, len(rule.Uses()))
	for name, has := range rule.Uses() {
		uses[name] = has
		if now := lists[name]; now != nil && now.Wrong == nil && !now.Same(has) {
			uses[name], changed = now, true
		}
	}
	return uses, changed
}

// relink has a rule stay live with other lists, if it is among those.
func (s *set) relink(id string, relinked map[string]*rules.Rule) (rules.Change, bool) {
	live, rule := s.live[id], relinked[id]
	if live == nil || rule == nil {
		return rules.Change{}, false
	}
	live.rule = rule
	return rules.Change{Kind: rules.Definition, RuleID: id, Rule: rule}, true
}
