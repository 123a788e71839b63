package fsstore

import (
	"fmt"
	"slices"

	"bittern/internal/rules"
)

// flaw is why a set can't take effect.
type flaw struct {
	name, path string
	problems   rules.Problems
}

// flaws returns what is wrong with the files that updates change, if these are to take effect
// as one. What was wrong before, and stays as it is, is not among it.
func (s *set) flaws(linked linked) []flaw {
	updates := linked.updates
	changed := map[*source]bool{}
	for _, u := range updates {
		if u.kind == judge && !u.again || u.kind == drop {
			changed[s.sources[u.name]] = true
		}
	}
	var flaws []flaw
	defined := map[string]rules.Position{} // by files that are changed
	for _, u := range updates {
		src := s.sources[u.name]
		whole := rules.Position{File: u.path}
		var problems rules.Problems
		switch u.kind {
		case refuse:
			problems = rules.Problems{*u.problem}
		case wait:
			problems = rules.Problems{{Pos: whole, Message: "file is kept open for writing", Hint: "it is read when the writer closes it"}}
		case judge:
			if u.again {
				problems = src.newly(u.file)
				break
			}
			if u.file == nil {
				if src != nil && len(src.owned) > 0 {
					problems = rules.Problems{{Pos: whole, Message: "file is empty", Hint: "give it content, or remove it"}}
				}
				break
			}
			problems = s.wrong(u.name, u.file, linked.lists, defined, changed)
		}
		if len(problems) > 0 {
			flaws = append(flaws, flaw{u.name, u.path, problems})
		}
	}
	return flaws
}

// newly returns the errors of documents that were right before their lists changed.
func (src *source) newly(f *rules.File) rules.Problems {
	var problems rules.Problems
	for _, d := range f.Documents {
		if _, was := src.claims[d.RuleID]; was && d.Problems.Failed() {
			problems = append(problems, d.Problems...)
		}
	}
	return problems
}

// wrong returns the errors of a file, among others that change with it and define rules.
func (s *set) wrong(name string, f *rules.File, lists ownedLists, defined map[string]rules.Position, changed map[*source]bool) rules.Problems {
	var problems rules.Problems
	for _, p := range f.AllProblems() {
		if !p.Warning {
			problems = append(problems, p)
		}
	}
	for _, list := range f.Lists {
		if owned, ok := lists[list.Name]; ok && owned.owner != name {
			problems = append(problems, list.DefinedIn(owned.list.Pos))
		}
	}
	for _, d := range f.Documents {
		if d.RuleID == "" || d.Rule == nil || d.Problems.Failed() {
			continue
		}
		first, twice := defined[d.RuleID]
		if !twice {
			if first, twice = s.elsewhere(d.RuleID, changed); !twice {
				defined[d.RuleID] = d.Pos
				continue
			}
		}
		problems = append(problems, rules.Problem{
			Pos: d.Pos, RuleID: d.RuleID, Message: fmt.Sprintf("rule id %s is already defined in %s", d.RuleID, first),
			Hint: "give one of the two another rule_id, or remove it",
		})
	}
	return problems
}

// elsewhere returns where a rule is defined, or held, by a file that is not changed.
func (s *set) elsewhere(id string, changed map[*source]bool) (rules.Position, bool) {
	if l := s.live[id]; l != nil && !changed[l.owner] {
		return l.rule.Pos, true
	}
	for _, c := range s.claims[id] {
		if !changed[c] {
			return c.claims[id].rule.Pos, true
		}
	}
	return rules.Position{}, false
}

// rejections are what is announced of a file: once for each rule that is wrong.
func (f flaw) rejections() []rules.Change {
	var changes []rules.Change
	for _, p := range f.problems {
		at := slices.IndexFunc(changes, func(c rules.Change) bool { return c.RuleID == p.RuleID })
		if at < 0 {
			at = len(changes)
			changes = append(changes, rules.Change{Kind: rules.Rejected, RuleID: p.RuleID})
		}
		changes[at].Problems = append(changes[at].Problems, p)
	}
	return changes
}
