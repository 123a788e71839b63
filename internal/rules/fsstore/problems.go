package fsstore

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"bittern/internal/rules"
)

// rejections returns what is to be announced of a source's problems after an
// update: once for each content.
func (src *source) rejections(s *set, u update) []rules.Change {
	switch u.kind {
	case refuse:
		again := src.bad != nil && src.bad.Message == u.problem.Message
		src.bad = u.problem
		if again {
			return nil
		}
		return []rules.Change{{Kind: rules.Rejected, Problems: rules.Problems{*u.problem}}}
	case judge:
	default:
		return nil
	}
	if src.blank {
		src.rejected = digest{}
		return nil
	}
	told := u.told()
	if src.rejected == told {
		return nil
	}
	var changes []rules.Change
	reject := func(id string, problems rules.Problems) {
		if problems.Failed() {
			changes = append(changes, rules.Change{Kind: rules.Rejected, RuleID: id, Problems: problems})
		}
	}
	reject("", append(slices.Clone(u.file.Problems), src.listProblems(s)...))
	for _, d := range u.file.Documents {
		problems := d.Problems
		if c := src.claims[d.RuleID]; d.Rule != nil && c.rule != d.Rule && !problems.Failed() {
			problems = append(slices.Clone(problems), src.repeated(d.RuleID, d.Pos)...)
		} else if p, ok := src.duplicate(s, d.RuleID); ok {
			problems = append(slices.Clone(problems), p)
		}
		reject(d.RuleID, problems)
	}
	src.rejected = digest{}
	if len(changes) > 0 {
		src.rejected = told
	}
	return changes
}

// told identifies what is announced of a file that is judged: its content and, where its rules
// use lists, what is wrong with them by these.
func (u update) told() digest {
	if file, _ := u.uses(); file == nil {
		return u.sum
	}
	return sha256.Sum256(append(slices.Clone(u.sum[:]), u.file.AllProblems().Error()...))
}

// listProblems returns the problems of lists that another file defines, or that rules refuse.
func (src *source) listProblems(s *set) rules.Problems {
	var found rules.Problems
	for _, list := range src.lists {
		owned, ok := s.lists[list.Name]
		switch {
		case !ok || src.missing:
		case owned.owner != src.name:
			found = append(found, list.DefinedIn(owned.list.Pos))
		case owned.list.Wrong != nil && list.Wrong == nil:
			found = append(found, *owned.list.Wrong)
		}
	}
	return found
}

// repeated returns the problems of the document at a position that another one
// of the same file made void.
func (src *source) repeated(id string, pos rules.Position) rules.Problems {
	var found rules.Problems
	for _, p := range src.problems {
		if p.RuleID == id && p.Pos == pos {
			found = append(found, p)
		}
	}
	return found
}

// duplicate returns the problem of a rule that another file owns.
func (src *source) duplicate(s *set, id string) (rules.Problem, bool) {
	c, claimed := src.claims[id]
	live := s.live[id]
	if !claimed || live == nil || live.owner == src {
		return rules.Problem{}, false
	}
	return rules.Problem{
		Pos: c.rule.Pos, RuleID: id,
		Message: fmt.Sprintf("rule id %s is already defined in %s", id, live.rule.Pos),
		Hint:    "give one of the two another rule_id, or remove it",
	}, true
}

// report returns what is wrong with the sources at present, in their order by
// name.
func (s *set) report() []rules.SourceProblems {
	var report []rules.SourceProblems
	for _, src := range s.sources {
		if p := src.report(s); len(p.Problems) > 0 || len(p.Stale) > 0 {
			report = append(report, p)
		}
	}
	slices.SortFunc(report, func(a, b rules.SourceProblems) int { return strings.Compare(a.Source, b.Source) })
	return report
}

func (src *source) report(s *set) rules.SourceProblems {
	r := rules.SourceProblems{Source: src.path, Problems: slices.Clone(src.problems)}
	r.Problems = append(r.Problems, src.listProblems(s)...)
	for _, id := range src.order {
		if src.missing {
			break // it will be gone with its claims, or be back
		}
		if p, ok := src.duplicate(s, id); ok {
			r.Problems = append(r.Problems, p)
		}
	}
	for id := range src.owned {
		if _, ok := src.claims[id]; !ok {
			r.Stale = append(r.Stale, id)
		}
	}
	slices.Sort(r.Stale)
	whole := rules.Position{File: src.path}
	if src.bad != nil {
		r.Problems = append(r.Problems, *src.bad)
	}
	if src.blank && len(r.Stale) > 0 {
		r.Problems = append(r.Problems, rules.Problem{Pos: whole, Message: "file is empty",
			Hint: "its rules stay live until it has content or is removed"})
	}
	if src.waiting {
		r.Problems = append(r.Problems, rules.Problem{Pos: whole, Warning: true,
			Message: "file is kept open for writing", Hint: "it is read when the writer closes it"})
	}
	return r
}
