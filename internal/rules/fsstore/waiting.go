package fsstore

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"bittern/internal/rules"
)

// refuse says of a set what is wrong with it and, of each of its files, that it waits. What
// was told already is not announced again; it returns what is told now.
func (s *Store) refuse(updates []update, flaws []flaw, told digest) digest {
	updates = slices.DeleteFunc(slices.Clone(updates), func(u update) bool { return u.kind == confirm })
	now := digestOf(updates, flaws)
	files, wrong := "1 file", flaws[0].name+" is wrong"
	if len(updates) > 1 {
		files = fmt.Sprintf("%d files", len(updates))
	}
	if len(flaws) > 1 {
		wrong = fmt.Sprintf("%s and %d more are wrong", flaws[0].name, len(flaws)-1)
	}
	set := rules.Problem{
		Pos: rules.Position{File: s.cfg.Dir}, Message: fmt.Sprintf("a set of %s waits, and nothing of it is live: %s", files, wrong),
		Hint: "it takes effect as a whole once all of it is right; further edits are part of it",
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revise(updates, true, true)
	s.waiting = []rules.SourceProblems{{Source: s.cfg.Dir, Problems: rules.Problems{set}}}
	for _, u := range updates {
		path := filepath.Join(s.cfg.Dir, u.name)
		p := rules.SourceProblems{Source: path, Problems: rules.Problems{{
			Pos: rules.Position{File: path}, Warning: true, Message: fmt.Sprintf("waits, with its set of %s: %s", files, wrong),
		}}}
		if at := slices.IndexFunc(flaws, func(f flaw) bool { return f.name == u.name }); at >= 0 {
			p.Problems = flaws[at].problems
		}
		if src := s.set.sources[u.name]; src != nil {
			p.Stale = src.differing(u)
		}
		s.waiting = append(s.waiting, p)
	}
	if now == told {
		return now
	}
	var changes []rules.Change
	for _, f := range flaws {
		changes = append(changes, f.rejections()...)
	}
	changes = append(changes, rules.Change{Kind: rules.Rejected, Problems: rules.Problems{set}})
	for i := range changes {
		changes[i].Seen = time.Now()
	}
	s.feed.Publish(changes...)
	return now
}

// digestOf tells attempts apart.
func digestOf(updates []update, flaws []flaw) digest {
	sum := sha256.New()
	for _, u := range updates {
		fmt.Fprintln(sum, u.name, u.kind, u.sum)
	}
	for _, f := range flaws {
		fmt.Fprintln(sum, f.problems.Error())
	}
	return digest(sum.Sum(nil))
}

// differing are the rules that are live by the source and will be others after an update.
func (src *source) differing(u update) []string {
	var ids []string
	for id := range src.owned {
		same := false
		if u.file != nil {
			same = slices.ContainsFunc(u.file.Documents, func(d rules.Document) bool {
				return d.RuleID == id && d.Rule != nil && src.claims[id].rule != nil && d.Rule.Hash == src.claims[id].rule.Hash
			})
		}
		if !same {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// hold says that the directory is held; a problem without a message, that it is not.
func (s *Store) hold(problem rules.Problem, announce *rules.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held = nil; problem.Message != "" {
		s.held = rules.Problems{problem}
	}
	if announce != nil {
		s.feed.Publish(*announce)
	}
}

// withWaiting replaces what is said of files by what is said of their newer content, which waits.
func (s *Store) withWaiting(report []rules.SourceProblems) []rules.SourceProblems {
	if len(s.waiting) > 0 {
		report = slices.DeleteFunc(report, func(p rules.SourceProblems) bool {
			return slices.ContainsFunc(s.waiting, func(w rules.SourceProblems) bool { return w.Source == p.Source })
		})
		report = append(report, s.waiting...)
		slices.SortStableFunc(report, func(a, b rules.SourceProblems) int { return strings.Compare(a.Source, b.Source) })
	}
	if len(s.held) > 0 {
		report = slices.Insert(report, 0, rules.SourceProblems{Source: s.held[0].Pos.File, Problems: slices.Clone(s.held)})
	}
	return report
}
