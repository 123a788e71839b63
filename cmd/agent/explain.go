package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"bittern/internal/attack"
	"bittern/internal/rules"
	"bittern/internal/rules/mirror"
	shipped "bittern/rules"
)

func newExplain(a *app) *cobra.Command {
	s := newSettings(a.paths)
	var output string
	cmd := &cobra.Command{
		Use:   "explain FILE|ID",
		Short: "show what the kernel does for a rule, and what is left to user space",
		Long: `Show how the rules of a file, or the rule of an id, are compiled: the clauses that
the kernel holds, the keys it looks up for each, what it decides exactly, what it
leaves to user space and why, and the slots it takes.

An event passes a clause if it hits at least one key of each line, and none of a
line that begins with "not". It is judged by user space if it passes any clause.

An id is looked for in the directory that bittern run would use; if there is none,
among the shipped rules.`,
		Example: `  bittern rules explain BT0001
  bittern rules explain --output json new.yml`,
		Args: exactlyOne("a rule file or a rule id"),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := s.resolve(a); err != nil {
				return err
			}
			catalogue, err := attack.Load()
			if err != nil {
				return err
			}
			found, problems, err := findRules(args[0], s, a.paths, catalogue)
			if err != nil {
				return err
			}
			if err := writeProblems(a.err, "text", problems); err != nil {
				return err
			}
			if err := explain(a.out, output, found, catalogue); err != nil {
				return err
			}
			return failedIf(problems)
		},
	}
	s.addTo(cmd, "rules", "state", "config")
	addOutput(cmd, &output, "`form`: text or json")
	return cmd
}

// findRules returns the rules of a file, or the rule of an id, and what is wrong
// with the file.
func findRules(name string, s *settings, p paths, catalogue *attack.Catalogue) ([]*rules.Rule, rules.Problems, error) {
	if _, err := os.Stat(name); err == nil {
		set := readRules([]string{name}, catalogue)
		return set.rules, set.problems, nil
	} else if !errors.Is(err, fs.ErrNotExist) || strings.ContainsAny(name, "./") {
		return nil, nil, fmt.Errorf("reading rules: %w", err)
	}
	set, place, err := defaultRules(s, p, catalogue)
	if err != nil {
		return nil, nil, err
	}
	for _, r := range set.rules {
		if r.ID == name {
			return []*rules.Rule{r}, nil, nil
		}
	}
	var own rules.Problems
	for _, problem := range set.problems {
		if problem.RuleID == name {
			own = append(own, problem)
		}
	}
	if len(own) > 0 {
		return nil, own, nil
	}
	return nil, nil, fmt.Errorf("explaining rule %s: no file of this name, and no such rule in %s (look elsewhere with --rules)", name, place)
}

// defaultRules reads the rules that bittern run would use, without making any.
func defaultRules(s *settings, p paths, catalogue *attack.Catalogue) (set *ruleset, place string, err error) {
	if s.rules == fromPostgres {
		place := mirror.RulesIn(s.fleetDir())
		return readRules([]string{place}, catalogue), place, nil
	}
	if s.rules != "" {
		return readRules([]string{s.rules}, catalogue), s.rules, nil
	}
	for _, dir := range []string{p.rules, filepath.Join(s.state, "rules")} {
		if isDir(dir) {
			return readRules([]string{dir}, catalogue), dir, nil
		}
	}
	names, err := shippedNames()
	if err != nil {
		return nil, "", err
	}
	set, err = readShipped(catalogue, shipped.FS, names)
	return set, "the shipped rules", err
}

func explain(out io.Writer, format string, found []*rules.Rule, catalogue *attack.Catalogue) error {
	if format == "json" {
		all := make([]ruleJSON, 0, len(found))
		for _, r := range found {
			all = append(all, newRuleJSON(r, catalogue))
		}
		return writeJSON(out, all)
	}
	for i, r := range found {
		text := explainText(r, catalogue)
		if i > 0 {
			text = "\n" + text
		}
		if _, err := io.WriteString(out, text); err != nil {
			return fmt.Errorf("writing the explanation: %w", err)
		}
	}
	return nil
}

func explainText(r *rules.Rule, catalogue *attack.Catalogue) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s v%d  %s\n", r.ID, r.Version, r.Name)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %-9s %s\n", name, value)
		}
	}
	row("file", r.Pos.String())
	row("severity", string(r.Metadata.Severity))
	for _, e := range r.Emits {
		tag := named(e.Tactic, tacticName(catalogue, e.Tactic)) + ", " + named(e.Technique, techniqueName(catalogue, e.Technique))
		if e.SubTechnique != "" {
			tag += ", " + named(e.SubTechnique, techniqueName(catalogue, e.SubTechnique))
		}
		row("ATT&CK", tag+", confidence "+strconv.FormatFloat(e.Confidence, 'f', -1, 64))
	}
	var evidence []string
	for _, f := range r.EvidenceFields {
		evidence = append(evidence, f.String())
	}
	if r.Limit != nil {
		row("limit", r.Limit.String()+", the rest is counted")
	}
	row("evidence", strings.Join(evidence, ", "))
	for _, name := range slices.Sorted(maps.Keys(r.Uses())) {
		list := r.Uses()[name]
		row("list", fmt.Sprintf("%s, %s, %s", name, plural(list.Len(), "value"), list.Pos))
	}
	for _, x := range r.Exceptions {
		text := x.Name
		if x.Reason != "" {
			text += ": " + x.Reason
		}
		row("but not", text)
	}
	row("slots", strconv.Itoa(slots(r)))
	row("hash", r.Hash.String())
	for _, p := range r.Plans() {
		b.WriteString("\n" + p.String())
	}
	return b.String()
}

// slots is how many slots of the kernel's tables a rule takes: one a clause.
func slots(r *rules.Rule) int {
	n := 0
	for _, p := range r.Plans() {
		n += len(p.Clauses)
	}
	return n
}

func named(id, name string) string {
	if name == "" {
		return id
	}
	return id + " " + name
}

func tacticName(c *attack.Catalogue, id string) string {
	t, _ := c.Tactic(id)
	return t.Name
}

func techniqueName(c *attack.Catalogue, id string) string {
	t, _ := c.Technique(id)
	return t.Name
}
