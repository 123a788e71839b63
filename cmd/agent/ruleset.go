package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

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

	parse   func(path string, data []byte, lists rules.Lists) *rules.File
	sources []*ruleSource
	seen    map[string]*ruleSource    // by absolute path
	ids     map[string]rules.Position // of the first rule of each id
}

// ruleSource is a file that was read.
type ruleSource struct {
	path string
	data []byte
	dir  string // the rules directory that it is of
	list string // the list that it is; "" for a rule file
	// beside: it is there for the lists that it has, and is not itself asked about.
	beside bool
}

func newRuleset(catalogue *attack.Catalogue) *ruleset {
	return &ruleset{parse: agent.Parser(catalogue), seen: make(map[string]*ruleSource), ids: make(map[string]rules.Position)}
}

// readRules reads files, and the rule files and lists in directories. A rule file alone has the
// lists of its directory. Whatever is wrong is among the problems.
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
			s.file(path, false)
			if !isList(path) {
				s.lists(filepath.Dir(path), true)
			}
		}
	}
	s.compile()
	return s
}

// isList reports whether a file is one of the directory of lists.
func isList(path string) bool {
	absolute, err := filepath.Abs(path)
	return err == nil && filepath.Base(filepath.Dir(absolute)) == fsstore.ListsName
}

// readShipped reads the rules in the binary.
func readShipped(catalogue *attack.Catalogue, from fs.FS, names []string) (*ruleset, error) {
	s := newRuleset(catalogue)
	for _, name := range names {
		data, err := fs.ReadFile(from, name)
		if err != nil {
			return nil, fmt.Errorf("reading a shipped rule: %w", err)
		}
		s.sources = append(s.sources, &ruleSource{path: "shipped/" + name, data: data})
	}
	s.compile()
	return s, nil
}

// directory reads what the agent would read of a directory.
func (s *ruleset) directory(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.fail(dir, err)
		return
	}
	s.lists(dir, false)
	found := false
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if fsstore.Accepts(e.Name()) && !isDir(path) {
			found = true
			s.file(path, false)
		}
	}
	if !found {
		s.problem(dir, true, "directory has no rule files", "they are called *.yml or *.yaml, and are not in directories below")
	}
}

// lists reads the lists of a rules directory, if it has any.
func (s *ruleset) lists(dir string, beside bool) {
	dir = filepath.Join(dir, fsstore.ListsName)
	entries, err := os.ReadDir(dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			s.fail(dir, err)
		}
		return
	}
	for _, e := range entries {
		if path := filepath.Join(dir, e.Name()); fsstore.Accepts(e.Name()) && !isDir(path) {
			s.file(path, beside)
		}
	}
}

func (s *ruleset) file(path string, beside bool) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		s.fail(path, err)
		return
	}
	if known := s.seen[absolute]; known != nil {
		known.beside = known.beside && beside
		return
	}
	from := &ruleSource{path: path, dir: filepath.Dir(absolute), beside: beside}
	if name, ok := fsstore.ListOf(filepath.Join(filepath.Base(from.dir), filepath.Base(path))); ok {
		from.dir, from.list = filepath.Dir(from.dir), name
	}
	s.seen[absolute] = from
	f, err := os.Open(path)
	if err != nil {
		s.fail(path, err)
		return
	}
	defer f.Close()
	// One byte too many is enough for the parser to refuse it.
	if from.data, err = io.ReadAll(io.LimitReader(f, rules.DefaultMaxBytes+1)); err != nil {
		s.fail(path, err)
		return
	}
	s.sources = append(s.sources, from)
}

// compile compiles all rules, each with the lists of its directory.
func (s *ruleset) compile() {
	files := make([]*rules.File, len(s.sources))
	lists := make(map[string]rules.Lists) // by directory
	for i, from := range s.sources {
		if from.list != "" {
			files[i] = rules.ParseList(from.list, from.path, from.data, rules.Options{})
		} else {
			files[i] = s.parse(from.path, from.data, nil)
		}
		for _, list := range files[i].Lists {
			if lists[from.dir] == nil {
				lists[from.dir] = make(rules.Lists)
			}
			if first := lists[from.dir][list.Name]; first != nil {
				s.problems = append(s.problems, list.DefinedIn(first.Pos))
				continue
			}
			lists[from.dir][list.Name] = list
		}
	}
	for i, from := range s.sources {
		if from.list == "" && files[i].Outdated(lists[from.dir]) {
			files[i] = s.parse(from.path, from.data, lists[from.dir])
		}
		if !from.beside {
			s.add(from.path, files[i])
		}
	}
}

func (s *ruleset) add(path string, f *rules.File) {
	s.files++
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
