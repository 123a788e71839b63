package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"bittern/internal/loader"
)

const unloadLong = `Remove all that agents have left in the kernel: what a killed agent, or one that was
stopped with --keep, is still matching with. Matches that no agent has read by then
are lost. Nothing is there to remove while an agent runs: stop it first.`

func newUnload(a *app) *cobra.Command {
	s := newSettings(a.paths)
	cmd := &cobra.Command{
		Use:   "unload",
		Short: "remove what agents have left in the kernel",
		Long:  unloadLong,
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			if err := s.resolve(a); err != nil {
				return err
			}
			if s.pins == off {
				return nil
			}
			if err := loader.Unload(s.pins); errors.Is(err, loader.ErrRunning) {
				return fmt.Errorf("%w; stop it first", err)
			} else if err != nil {
				return err
			}
			return nil
		},
	}
	s.addTo(cmd, "config", "pins")
	return cmd
}
