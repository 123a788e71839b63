package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"bittern/internal/agent"
	"bittern/internal/attack"
	"bittern/internal/rules"
)

const pathsWhat = "one rule file, or a directory of them"

func newCheck(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "check PATH...",
		Short: "validate and compile rules, without a kernel",
		Long: `Read rule files, and the rule files in directories, as the agent would, and report
all that is wrong with them at once: file, line, column, what, and what to write
instead. The exit code is 1 if there are errors; warnings alone leave it at 0.

With --output json the problems are one array of objects with file, line, column,
rule_id, severity ("error" or "warning"), message and hint.`,
		Example: `  bittern rules check /etc/bittern/rules
  bittern rules check --output json new.yml`,
		Args: atLeastOne(pathsWhat),
		RunE: func(_ *cobra.Command, args []string) error {
			catalogue, err := attack.Load()
			if err != nil {
				return err
			}
			set := readRules(args, catalogue)
			if err := writeProblems(a.out, output, set.problems); err != nil {
				return err
			}
			if output == "text" {
				fmt.Fprintln(a.out, checkSummary(set))
			}
			return failedIf(set.problems)
		},
	}
	addOutput(cmd, &output, "`form` of the problems: text or json")
	return cmd
}

// addOutput gives a command its --output.
func addOutput(cmd *cobra.Command, output *string, usage string) {
	addForms(cmd, output, usage, "text", "json")
}

// addForms is addOutput with other forms; the first is the default.
func addForms(cmd *cobra.Command, output *string, usage string, forms ...string) {
	form := newChoice(output, forms[0], forms...)
	cmd.Flags().Var(form, "output", usage)
	// It fails only for flags that are not there.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(form.allowed, cobra.ShellCompDirectiveNoFileComp))
}

func failedIf(problems rules.Problems) error {
	if problems.Failed() {
		return errReported
	}
	return nil
}

func checkSummary(s *ruleset) string {
	errs, warnings := 0, 0
	for _, p := range s.problems {
		if p.Warning {
			warnings++
		} else {
			errs++
		}
	}
	if errs > 0 {
		return fmt.Sprintf("%s and %s in %s", plural(errs, "error"), plural(warnings, "warning"), plural(s.files, "file"))
	}
	count, limited := make(map[agent.Coverage]int), 0
	for _, r := range s.rules {
		count[agent.CoverageOf(r)]++
		if r.Limit != nil {
			limited++
		}
	}
	text := fmt.Sprintf("%s in %s: %d decided in the kernel, %d narrowed in the kernel, %d not narrowed",
		plural(len(s.rules), "rule"), plural(s.files, "file"), count[agent.Exact], count[agent.Narrowed], count[agent.NotNarrowed])
	if limited > 0 {
		text += fmt.Sprintf(", %d with a limit", limited)
	}
	return text + "; " + plural(warnings, "warning")
}

// problemJSON is a problem for editors and CI.
type problemJSON struct {
	File     string `json:"file"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
	RuleID   string `json:"rule_id,omitempty"`
	Severity string `json:"severity"`
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty"`
}

func writeProblems(out io.Writer, format string, problems rules.Problems) error {
	if format == "json" {
		all := make([]problemJSON, 0, len(problems))
		for _, p := range problems {
			severity := "error"
			if p.Warning {
				severity = "warning"
			}
			all = append(all, problemJSON{p.Pos.File, p.Pos.Line, p.Pos.Column, p.RuleID, severity, p.Message, p.Hint})
		}
		return writeJSON(out, all)
	}
	for _, p := range problems {
		if _, err := fmt.Fprintln(out, p.Error()); err != nil {
			return fmt.Errorf("writing problems: %w", err)
		}
	}
	return nil
}

func writeJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	return nil
}
