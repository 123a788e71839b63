package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// errReported ends a command that has said already what is wrong.
var errReported = errors.New("reported")

// usageError is a mistake in the command line.
type usageError struct {
	command string // the command whose help says more
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{cmd.CommandPath(), fmt.Errorf(format, args...)}
}

const rootLong = `Bittern watches which programs run on this host and which files they open, judges
each such event in the kernel by the rules of a directory, and prints what they
detect, tagged with MITRE ATT&CK. Rules can be edited while it runs: a change of
one rule is live within milliseconds, and each event is judged by exactly the old
or exactly the new version.`

const rootExample = `  bittern run                          watch this host
  bittern status                       how the agent is
  bittern events -f                    what it detects
  bittern rules check /etc/bittern/rules
  bittern rules explain BT0001         what the kernel does for a rule`

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:               "bittern",
		Short:             "detect what rules describe, as it happens",
		Long:              rootLong,
		Example:           rootExample,
		Args:              group,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
	}
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usagef(cmd, "%w", err) })
	root.AddCommand(newRun(a), newStatus(a), newRules(a), newState(a), newEvents(a), newChanges(a), newOutbox(a), newConfig(a), newDB(a), newDoctor(a), newUnload(a), newVersion(a))
	return root
}

func newRules(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "list, check, explain, test and edit rules",
		Long: `Work with rules. The commands list, show, diff and why ask the agent that runs. The
others work with files, and need no privileges, nor a kernel that can run Bittern.`,
		Args: group,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newList(a), newShow(a), newDiff(a), newWhy(a), newCheck(a), newExplain(a), newTest(a), newTransaction(a), newSchema(a))
	return cmd
}

// group is for commands that only hold others: any argument is a name unknown.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := ""
	cmd.SuggestionsMinimumDistance = 2 // letters that may differ
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 {
		hint = fmt.Sprintf("; did you mean %s?", strings.Join(similar, " or "))
	}
	return usagef(cmd, "unknown command %q%s", args[0], hint)
}

// atLeastOne wants arguments; what says of what kind.
func atLeastOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef(cmd, "name at least %s", what)
		}
		return nil
	}
}

// exactlyOne wants one argument; what says of what kind.
func exactlyOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return usagef(cmd, "name %s", what)
		case 1:
			return nil
		}
		return usagef(cmd, "unexpected argument %q", args[1])
	}
}

// noArguments wants none.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef(cmd, "unexpected argument %q", args[0])
	}
	return nil
}
