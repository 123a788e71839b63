package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"bittern/internal/attack"
	"bittern/internal/control"
	"bittern/internal/rules"
)

// difference is a rule of which the files and the kernel have not the same.
type difference struct {
	RuleID      string            `json:"rule_id"`
	Kind        differenceKind    `json:"kind"`
	Condition   control.Condition `json:"condition,omitempty"` // what the agent makes of it
	LiveVersion int               `json:"live_version,omitempty"`
	FileVersion int               `json:"file_version,omitempty"`
	Reason      string            `json:"reason,omitempty"`
	Diff        string            `json:"diff,omitempty"` // of the documents, unified, from what is live to what is in the file
}

type differenceKind string

const (
	differs  differenceKind = "differs"
	onlyFile differenceKind = "only in files"
	onlyLive differenceKind = "only live"
)

func newDiff(a *app) *cobra.Command {
	s := newSettings(a.paths)
	var output string
	cmd := &cobra.Command{
		Use:   "diff",
		Short: "compare rule files with what is live",
		Long: `Compare the rules of the agent's directory, or of the one of --rules, with those by
which the kernel judges: rules of which another version is live, which are not live
at all, or which are live and not in the files; each with the reason, if the agent
knows one. Comments and layout make no difference.

It exits with 1 if there is a difference.`,
		Example: `  bittern rules diff
  bittern rules diff --rules ./rules     what would change if these were installed`,
		Args: noArguments,
		RunE: asking(a, s, func(cmd *cobra.Command, c *control.Client, _ []string) error {
			found, err := compare(cmd.Context(), c, s.rules)
			if err != nil {
				return err
			}
			if output == "json" {
				err = writeJSON(a.out, found)
			} else {
				writeDifferences(a.out, found)
			}
			if err == nil && len(found) > 0 {
				err = errReported
			}
			return err
		}),
	}
	s.addTo(cmd, "rules", "socket", "config")
	addOutput(cmd, &output, "`form`: text or json")
	return cmd
}

// compare finds the differences, by rule. dir is the agent's own if it is "".
func compare(ctx context.Context, c *control.Client, dir string) ([]difference, error) {
	if dir == "" {
		status, err := c.Status(ctx)
		if err != nil {
			return nil, err
		}
		if dir = status.RulesDir; dir == "" {
			return nil, control.ErrStarting
		}
	}
	catalogue, err := attack.Load()
	if err != nil {
		return nil, err
	}
	set := readRules([]string{dir}, catalogue)
	inFiles := make(map[string]*rules.Rule)
	for _, r := range set.rules {
		inFiles[r.ID] = r
	}
	all, err := c.Rules(ctx)
	if err != nil {
		return nil, err
	}
	found := []difference{}
	for _, known := range all {
		file := inFiles[known.ID]
		delete(inFiles, known.ID)
		d, is, err := differenceOf(ctx, c, known, file, set.problems)
		if err != nil {
			return nil, err
		}
		if is {
			found = append(found, d)
		}
	}
	for id, file := range inFiles {
		found = append(found, difference{RuleID: id, Kind: onlyFile, FileVersion: file.Version, Reason: "the agent does not know it"})
	}
	slices.SortFunc(found, func(a, b difference) int { return strings.Compare(a.RuleID, b.RuleID) })
	return found, nil
}

// differenceOf compares what the agent knows of a rule with the file's version, which may be nil.
func differenceOf(ctx context.Context, c *control.Client, known control.Rule, file *rules.Rule, problems rules.Problems) (difference, bool, error) {
	live := known.Condition == control.Live || known.Condition == control.Stale
	d := difference{RuleID: known.ID, Condition: known.Condition, Reason: known.Problem}
	if live {
		d.LiveVersion = known.Version
	}
	if file != nil {
		d.FileVersion = file.Version
	}
	switch {
	case !live:
		d.Kind = onlyFile
		if d.Reason == "" && known.State != nil {
			d.Reason = stateText(*known.State)
		}
	case file == nil:
		d.Kind = onlyLive
		if i := slices.IndexFunc(problems, func(p rules.Problem) bool { return p.RuleID == known.ID && !p.Warning }); i >= 0 {
			d.Reason = problems[i].Error()
		}
		if d.Reason == "" {
			d.Reason = "no file has it"
		}
	case file.Hash.String() == known.Hash:
		return d, false, nil
	default:
		d.Kind = differs
		detail, err := c.Rule(ctx, known.ID)
		if errors.Is(err, control.ErrNoRule) {
			return d, false, nil // deleted meanwhile
		}
		if err != nil {
			return d, false, err
		}
		d.Diff = string(diff.Diff("live/"+known.ID, []byte(detail.Document), "file/"+known.ID, file.Document()))
		_, d.Diff, _ = strings.Cut(d.Diff, "\n") // the first line repeats the names
	}
	return d, true, nil
}

func writeDifferences(out io.Writer, found []difference) {
	if len(found) == 0 {
		fmt.Fprintln(out, "no difference")
	}
	for _, d := range found {
		text := fmt.Sprintf("%s: %s", d.RuleID, d.Kind)
		switch {
		case d.Kind == differs:
			text += fmt.Sprintf(", live is version %d, in the file %d", d.LiveVersion, d.FileVersion)
		case d.Kind == onlyFile && d.Condition != "" && d.Condition != control.Disabled:
			text += ", " + string(d.Condition)
		}
		if d.Reason != "" {
			text += ": " + d.Reason
		}
		fmt.Fprintln(out, printable(text, false))
		if d.Diff != "" {
			fmt.Fprint(out, plainLines(d.Diff))
		}
	}
}
