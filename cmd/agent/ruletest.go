package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"bittern/internal/attack"
)

func newTest(a *app) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "test PATH...",
		Short: "run the tests that rules carry",
		Long: `Run the tests in rule files: each gives an event, and says whether the rule must
match it. The exit code is 1 if a test fails or a file is wrong. With --output json
what fails is one array, as that of bittern rules check.`,
		Example: `  bittern rules test /etc/bittern/rules`,
		Args:    atLeastOne(pathsWhat),
		RunE: func(_ *cobra.Command, args []string) error {
			catalogue, err := attack.Load()
			if err != nil {
				return err
			}
			set := readRules(args, catalogue)
			problems := set.problems
			tests, untested := 0, 0
			failed := 0
			for _, r := range set.rules {
				failures := r.RunTests()
				failed += len(failures)
				problems = append(problems, failures...)
				tests += len(r.Tests)
				if len(r.Tests) == 0 {
					untested++
				}
			}
			if err := writeProblems(a.out, output, problems); err != nil {
				return err
			}
			if output == "text" {
				fmt.Fprintf(a.out, "%d of %s passed, of %s in %s; %d without tests\n",
					tests-failed, plural(tests, "test"), plural(len(set.rules), "rule"), plural(set.files, "file"), untested)
			}
			return failedIf(problems)
		},
	}
	addOutput(cmd, &output, "`form` of what fails: text or json")
	return cmd
}
