package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"bittern/internal/agent"
	"bittern/internal/attack"
	"bittern/internal/rules"
	"bittern/internal/rules/fsstore"
)

// ruleset is what some rule files hold.
type ruleset struct {
	files    int
	rules    []*rules.Rule
	problems rules.Problems

	parse func(path string, data []byte) *rules.File
	seen  map[string]bool           // absolute paths
	ids   map[string]rules.Position // of the first rule of each id
}

func newRuleset(catalogue *attack.Catalogue) *ruleset {
	return &ruleset{parse: agent.Parser(catalogue), seen: make(map[string]bool), ids: make(map[string]rules.Position)}
}

// readRules reads files, and the rule files in directories. Whatever is wrong is
// among the problems.
func readRules(paths []string, catalogue *attack.Catalogue) *ruleset {
	s := newRuleset(catalogue)
	for _, path := range paths {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			s.fail(path, err)
		case info.IsDir():
			s.directory(path)
		default:
			if !fsstore.Accepts(filepath.Base(path)) {
				s.problem(path, true, "the agent does not read files of this name", "name it like letters-digits_1.yml")
			}
			s.file(path)
		}
	}
	return s
}

// readShipped reads the rules in the binary.
func readShipped(catalogue *attack.Catalogue, from fs.FS, names []string) (*ruleset, error) {
	s := newRuleset(catalogue)
	for _, name := range names {
		data, err := fs.ReadFile(from, name)
		if err != nil {
			return nil, fmt.Errorf("reading a shipped rule: %w", err)
		}
		s.add("shipped/"+name, data)
	}
	return s, nil
}

// directory reads what the agent would read of a directory.
func (s *ruleset) directory(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.fail(dir, err)
		return
	}
	found := false
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if fsstore.Accepts(e.Name()) && !isDir(path) {
			found = true
			s.file(path)
		}
	}
	if !found {
		s.problem(dir, true, "directory has no rule files", "they are called *.yml or *.yaml, and are not in directories below")
	}
}

func (s *ruleset) file(path string) {
	if absolute, err := filepath.Abs(path); err == nil {
		if s.seen[absolute] {
			return
		}
		s.seen[absolute] = true
	}
	f, err := os.Open(path)
	if err != nil {
		s.fail(path, err)
		return
	}
	defer f.Close()
	// One byte too many is enough for the parser to refuse it.
	data, err := io.ReadAll(io.LimitReader(f, rules.DefaultMaxBytes+1))
	if err != nil {
		s.fail(path, err)
		return
	}
	s.add(path, data)
}

func (s *ruleset) add(path string, data []byte) {
	s.files++
	f := s.parse(path, data)
	s.problems = append(s.problems, f.AllProblems()...)
	for _, d := range f.Documents {
		if first, ok := s.ids[d.RuleID]; ok && d.RuleID != "" && first.File != path {
			s.problems = append(s.problems, rules.Problem{
				Pos: d.Pos, RuleID: d.RuleID,
				Message: fmt.Sprintf("rule id %s is already defined in %s", d.RuleID, first),
				Hint:    "give one of the two another rule_id, or remove it",
			})
			continue
		}
		if _, ok := s.ids[d.RuleID]; !ok {
			s.ids[d.RuleID] = d.Pos
		}
		if d.Rule != nil {
			s.rules = append(s.rules, d.Rule)
		}
	}
}

func (s *ruleset) fail(path string, err error) {
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err // the path is in the position
	}
	s.problem(path, false, "can't be read: "+err.Error(), "")
}

func (s *ruleset) problem(path string, warning bool, message, hint string) {
	s.problems = append(s.problems, rules.Problem{Pos: rules.Position{File: path}, Warning: warning, Message: message, Hint: hint})
}

// plural returns "1 rule" or "2 rules".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
