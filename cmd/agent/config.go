package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"

	"github.com/spf13/cobra"

	"bittern/internal/rules"
)

func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "check the configuration, show it, and help editors with it",
		Long: `Work with the configuration file. None of these commands needs privileges, or an
agent that runs. See docs/configuration.md for what can be set.`,
		Args: group,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigCheck(a), newConfigShow(a), newConfigSchema(a))
	return cmd
}

const configCheckLong = `Read a configuration file as "bittern run" would, and report all that is wrong with it at
once: file, line, column, what, and what to write instead. Beside the file by itself
this is about the environment, and whether the values can work on this host: whether
directories are there that must be. Without FILE it is the file that "bittern run" would
read; that there is none is right then.

The exit code is 1 if there are errors; warnings alone leave it at 0. With --output json
the problems are one array of objects, as those of "bittern rules check".`

func newConfigCheck(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "check [FILE]",
		Short:   "say what is wrong with a configuration file",
		Long:    configCheckLong,
		Example: "  bittern config check\n  bittern config check --output json new.yaml",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef(cmd, "unexpected argument %q", args[1])
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			path, problems := checkConfig(a, args)
			if err := writeProblems(a.out, output, problems); err != nil {
				return err
			}
			if output == "text" && len(problems) == 0 {
				fmt.Fprintln(a.out, path)
			}
			return failedIf(problems)
		},
	}
	addOutput(cmd, &output, "`form` of the problems: text or json")
	return cmd
}

// checkConfig checks a file, with the environment and without: it must be right also when that changes. It
// returns what can be said if nothing is wrong.
func checkConfig(a *app, args []string) (right string, problems rules.Problems) {
	s := newSettings(a.paths)
	problems = s.resolveEnv(a.env)
	path, must := s.configPath(a.paths)
	if len(args) > 0 {
		path, must = args[0], true
	}
	now := readFile(path, must)
	alone := newSettings(a.paths)
	for _, of := range []*settings{alone, s} {
		problems = append(problems, of.resolveFile(now)...)
		problems = append(problems, of.hostProblems(func(flag string) bool { return of.source(flag).Kind != fromDefault })...)
		c := kernelConfig(of, slog.New(slog.DiscardHandler))
		if err := c.Validate(); err != nil {
			problems = append(problems, rules.Problem{Pos: rules.Position{File: path}, Message: err.Error()})
		}
	}
	slices.SortFunc(problems, func(a, b rules.Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column), cmp.Compare(a.Message, b.Message))
	})
	problems = slices.Compact(problems)
	if now.absent() {
		return fmt.Sprintf("there is no %s: all settings have their defaults, or come from the environment", path), problems
	}
	entries, _ := now.entries(s.keys())
	return fmt.Sprintf("%s is right: %s", path, plural(len(entries), "setting")), problems
}
