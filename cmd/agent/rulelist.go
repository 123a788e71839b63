package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bittern/internal/control"
)

const listLong = `List the rules that the agent knows, with what it makes of each:

  live      the kernel judges by its newest version
  stale     by an older one, since the newest is wrong or refused
  disabled  an operator has disabled it, see bittern state
  refused   the kernel has no room or no hook for it
  rejected  its file is wrong, and there is no good version from before
  waiting   for a hook to be attached

KERNEL says how much of the rule the kernel decides: exact is all of it; what it
only narrows, user space decides. SLOTS and KEYS are what the rule takes of the
kernel's tables, PASSED is how many events the kernel let pass for it, and HITS how
many detections came of them, both since the agent started.`

func newList(a *app) *cobra.Command {
	s := newSettings(a.paths)
	var output string
	var only []string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list rules, and what the agent makes of them",
		Long:  listLong,
		Example: `  bittern rules list
  bittern rules list --only stale,refused,rejected`,
		Args: noArguments,
		RunE: asking(a, s, func(cmd *cobra.Command, c *control.Client, _ []string) error {
			for _, o := range only {
				if !slices.Contains(conditions, o) {
					return usagef(cmd, "unknown condition %q: want %s", o, strings.Join(conditions, ", "))
				}
			}
			all, err := c.Rules(cmd.Context())
			if err != nil {
				return err
			}
			all = slices.DeleteFunc(all, func(r control.Rule) bool {
				return len(only) > 0 && !slices.Contains(only, string(r.Condition))
			})
			if output == "json" {
				return writeJSON(a.out, all)
			}
			return writeList(a.out, all, time.Now())
		}),
	}
	cmd.Flags().StringSliceVar(&only, "only", nil, "only rules in one of these `conditions`, separated by commas")
	_ = cmd.RegisterFlagCompletionFunc("only", cobra.FixedCompletions(conditions, cobra.ShellCompDirectiveNoFileComp))
	s.addTo(cmd, "socket", "config")
	addOutput(cmd, &output, "`form`: text or json")
	return cmd
}

var conditions = []string{
	string(control.Live), string(control.Stale), string(control.Disabled), string(control.Refused), string(control.Rejected), string(control.Waiting),
}

func writeList(out io.Writer, all []control.Rule, now time.Time) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(out, "there are no such rules")
		return err
	}
	table := newTable(out)
	row(table, "RULE", "VERSION", "CONDITION", "SEVERITY", "KERNEL", "SLOTS", "KEYS", "PASSED", "HITS", "LAST HIT", "NAME")
	for _, r := range all {
		version := "-"
		if r.Version > 0 {
			version = decimal(r.Version)
		}
		last := "-"
		if r.LastHit != nil {
			last = ago(*r.LastHit, now) + " ago"
		}
		row(table, r.ID, version, conditionText(r), dash(r.Severity), dash(r.Coverage), decimal(r.Slots), decimal(r.Keys), decimal(r.Passed), decimal(r.Hits), last, r.Name)
	}
	return table.Flush()
}

// conditionText adds what a state does to a rule that is live.
func conditionText(r control.Rule) string {
	text := string(r.Condition)
	if r.State != nil && r.State.ConfidenceMax != nil {
		text += fmt.Sprintf(", clipped to %v", *r.State.ConfidenceMax)
	}
	if r.State != nil && r.State.ExpiresAt != nil {
		text += " until " + r.State.ExpiresAt.Local().Format("15:04:05")
	}
	return text
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func newShow(a *app) *cobra.Command {
	s := newSettings(a.paths)
	var output string
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "show a rule as the agent has it",
		Long: `Show all that the agent knows of a rule: what it makes of it and why, what the kernel
holds for it, and the text that it was read from.`,
		Example: `  bittern rules show BT0001`,
		Args:    exactlyOne("a rule id"),
		RunE: asking(a, s, func(cmd *cobra.Command, c *control.Client, args []string) error {
			r, err := c.Rule(cmd.Context(), args[0])
			if err != nil {
				return aboutRule(args[0], err)
			}
			if output == "json" {
				return writeJSON(a.out, r)
			}
			return writeRule(a.out, r)
		}),
	}
	s.addTo(cmd, "socket", "config")
	addOutput(cmd, &output, "`form`: text or json")
	return cmd
}

// aboutRule says which rule there is not.
func aboutRule(id string, err error) error {
	return fmt.Errorf("rule %s: %w", printable(id, false), err)
}

func writeRule(out io.Writer, r control.RuleDetail) error {
	table := newTable(out)
	row(table, "rule", fmt.Sprintf("%s v%d  %s", r.ID, r.Version, r.Name))
	row(table, "condition", conditionText(r.Rule))
	for _, line := range [][2]string{
		{"problem", r.Problem}, {"description", r.Description}, {"severity", r.Severity}, {"source", r.Source},
		{"hash", r.Hash}, {"classes", strings.Join(r.Classes, ", ")},
	} {
		if line[1] != "" {
			row(table, line[0], line[1])
		}
	}
	if r.NewestHash != r.Hash {
		row(table, "newest", fmt.Sprintf("v%d, hash %s, is not live", r.NewestVersion, r.NewestHash))
	}
	if s := r.State; s != nil {
		row(table, "state", stateText(*s))
	}
	row(table, "kernel", fmt.Sprintf("%s, %d slots, %d keys", dash(r.Coverage), r.Slots, r.Keys))
	hits := fmt.Sprintf("%d, of %d events that the kernel let pass", r.Hits, r.Passed)
	if r.LastHit != nil {
		hits += ", the last at " + when(*r.LastHit)
	}
	if r.Repeats > 0 {
		hits += fmt.Sprintf("; %d were held back by its limit", r.Repeats)
	}
	row(table, "hits", hits)
	if err := table.Flush(); err != nil {
		return err
	}
	for _, text := range []string{r.Plan, r.Document} {
		if text != "" {
			fmt.Fprint(out, "\n"+plainLines(text))
		}
	}
	return nil
}

// plainLines keeps the lines of a text, and nothing else that could move the cursor.
func plainLines(text string) string {
	all := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, line := range all {
		all[i] = printable(line, false)
	}
	return strings.Join(all, "\n") + "\n"
}

// setBy names who has set a state, and for which hosts if it is one of a fleet.
func setBy(s control.State) string {
	if s.Scope != "" {
		return strings.TrimSpace(s.SetBy + " (" + s.Scope + ")")
	}
	return s.SetBy
}

func stateText(s control.State) string {
	text := s.State
	if s.ConfidenceMax != nil {
		text += fmt.Sprintf(" to %v", *s.ConfidenceMax)
	}
	if s.ExpiresAt != nil {
		text += ", until " + when(*s.ExpiresAt)
	}
	if s.SetBy != "" {
		text += ", by " + setBy(s)
	}
	if s.SetAt != nil {
		text += " at " + when(*s.SetAt)
	}
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	return text
}

func newWhy(a *app) *cobra.Command {
	s := newSettings(a.paths)
	var output string
	cmd := &cobra.Command{
		Use:   "why ID",
		Short: "say why a rule is silent",
		Long: `Say what keeps a rule from detecting: whether somebody has disabled it, its file is
wrong, or the kernel has no hook or no room for it; how many events of its classes
there were; whether the kernel let one pass; and for the last of those that the
exact matcher did not match, which comparisons did not hold.`,
		Example: `  bittern rules why BT0001`,
		Args:    exactlyOne("a rule id"),
		RunE: asking(a, s, func(cmd *cobra.Command, c *control.Client, args []string) error {
			w, err := c.Why(cmd.Context(), args[0])
			if err != nil {
				return aboutRule(args[0], err)
			}
			if output == "json" {
				return writeJSON(a.out, w)
			}
			writeWhy(a.out, w)
			return nil
		}),
	}
	s.addTo(cmd, "socket", "config")
	addOutput(cmd, &output, "`form`: text or json")
	return cmd
}

func writeWhy(out io.Writer, w control.Why) {
	fmt.Fprintf(out, "%s v%d is %s\n", w.Rule.ID, w.Rule.Version, w.Rule.Condition)
	for _, f := range w.Findings {
		mark := "-"
		if f.Silencing {
			mark = "!"
		}
		fmt.Fprintf(out, "%s %s\n", mark, printable(f.Text, false))
		for _, d := range f.Details {
			fmt.Fprintln(out, "    "+printable(d, false))
		}
		if f.Hint != "" {
			fmt.Fprintln(out, "    to do: "+printable(f.Hint, false))
		}
	}
}
