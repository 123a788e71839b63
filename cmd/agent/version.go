package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"bittern/internal/agent"
	"bittern/internal/attack"
	"bittern/internal/loader"
)

func newVersion(a *app) *cobra.Command {
	var licence bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "print the version, and what it needs",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			if licence {
				text, err := attack.Licence()
				if err != nil {
					return err
				}
				fmt.Fprint(a.out, text)
				return nil
			}
			catalogue, err := attack.Load()
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "bittern    %s\ncommit     %s\ngo         %s %s/%s\nkernel     needs %s\nATT&CK     %s, %s\n",
				agent.Version(), commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH, loader.Needs,
				catalogue.Version(), attack.Notice)
			return nil
		},
	}
	cmd.Flags().BoolVar(&licence, "attack-licence", false, "print the terms of the ATT&CK data in this program, and nothing else")
	return cmd
}

// commit names the commit that the program was built from.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, note := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			note = " with changes"
		}
	}
	return revision + note
}
