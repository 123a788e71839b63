package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"bittern/internal/control"
	"bittern/internal/rules"
	"bittern/internal/rules/statefile"
)

const stateLong = `Say what is to become of a rule without editing it: disabled, or clipped, which limits
the confidence of its detections. The agent that runs is asked to do it, and has done
it when the command ends. If none runs, or a state directory is named with --state, the
file states/states.yaml of that directory is edited, for when the agent starts; it
can be edited by hand as well, while the agent runs or not. See docs/states.md.`

// statesDir returns the directory of the file of states.
func statesDir(s *settings) string { return filepath.Join(s.state, "states") }

func newState(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state",
		Short: "disable rules, limit their confidence, and enable them again",
		Long:  stateLong,
		Args:  group,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStateSet(a), newStateClear(a), newStateList(a))
	return cmd
}

// stateFlags are what a state is made of.
type stateFlags struct {
	state      string
	confidence float64
	lasts      time.Duration
	reason     string
}

func newStateSet(a *app) *cobra.Command {
	s, f := newSettings(a.paths), &stateFlags{}
	cmd := &cobra.Command{
		Use:   "set ID disabled|clipped|enabled",
		Short: "give a rule a state",
		Long: `Give a rule a state, in the place of the one that it has. There need be no rule of
that id: the state counts when there is one.

  disabled  it detects nothing
  clipped   its detections have no more confidence than --confidence-max
  enabled   it does what it says; with a reason, that is kept`,
		Example: `  bittern state set BT0001 disabled --for 1h --reason "backup is running"
  bittern state set BT0001 clipped --confidence-max 0.3`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) < 2:
				return usagef(cmd, "name a rule id, and disabled, clipped or enabled")
			case len(args) > 2:
				return usagef(cmd, "unexpected argument %q", args[2])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			f.state = args[1]
			state, err := f.read(cmd, whoami(a.env), time.Now())
			if err != nil {
				return usagef(cmd, "%w", err)
			}
			set, err := setStates(a, cmd, s, state, args[:1])
			if err == nil {
				is := set[args[0]]
				fmt.Fprintf(a.out, "%s is %s\n", args[0], stateText(control.State{State: is.State, ConfidenceMax: is.ConfidenceMax, ExpiresAt: is.ExpiresAt}))
			}
			return err
		},
	}
	cmd.Flags().DurationVar(&f.lasts, "for", 0, "`time` after which the state is the default again, such as 90m or 24h")
	cmd.Flags().Float64Var(&f.confidence, "confidence-max", 0, "highest `confidence` of a clipped rule, 0 to 1")
	cmd.Flags().StringVar(&f.reason, "reason", "", "`text` that says why, for those who wonder later")
	s.addTo(cmd, "state", "socket", "config")
	return cmd
}

// read makes a state of the flags.
func (f *stateFlags) read(cmd *cobra.Command, by string, now time.Time) (rules.RuleState, error) {
	s := rules.RuleState{ConfidenceMax: f.confidence, Reason: f.reason, SetBy: by, SetAt: now}
	given := cmd.Flags().Changed
	switch f.state {
	case "disabled":
		s.State = rules.Disabled
	case "clipped":
		s.State = rules.Clipped
	case "enabled":
	default:
		return s, fmt.Errorf("unknown state %q: want disabled, clipped or enabled", f.state)
	}
	switch {
	case s.State == rules.Clipped && !given("confidence-max"):
		return s, errors.New("state clipped needs --confidence-max")
	case s.State != rules.Clipped && given("confidence-max"):
		return s, fmt.Errorf("--confidence-max is of state clipped only, not of %s", f.state)
	case given("for") && f.lasts <= 0:
		return s, fmt.Errorf("--for is %s: want a time that is to come", f.lasts)
	case given("for"):
		s.ExpiresAt = now.Add(f.lasts).Round(0)
	}
	if s.State == rules.Enabled && s.Reason == "" && !given("for") {
		return rules.RuleState{}, nil
	}
	return s.Normal(), s.Validate()
}

func newStateClear(a *app) *cobra.Command {
	s := newSettings(a.paths)
	cmd := &cobra.Command{
		Use:     "clear ID...",
		Short:   "have rules do again what they say",
		Example: `  bittern state clear BT0001`,
		Args:    atLeastOne("one rule id"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := setStates(a, cmd, s, rules.RuleState{}, args)
			return err
		},
	}
	s.addTo(cmd, "state", "socket", "config")
	return cmd
}

// setStates gives rules a state, and returns what they have then.
func setStates(a *app, cmd *cobra.Command, s *settings, state rules.RuleState, ids []string) (map[string]control.State, error) {
	for _, id := range ids {
		if err := rules.CheckID(id); err != nil {
			return nil, usagef(cmd, "%w", err)
		}
	}
	if err := s.resolve(a); err != nil {
		return nil, err
	}
	if asksAgent(cmd, s) {
		set, err := askForStates(a, cmd, s, state, ids)
		if !errors.Is(err, control.ErrNotRunning) {
			return set, err
		}
	}
	file := statefile.In(statesDir(s))
	edits, set := make(map[string]rules.RuleState, len(ids)), make(map[string]control.State, len(ids))
	for _, id := range ids {
		edits[id], set[id] = state, control.StateOf(state)
	}
	if content, err := file.Read(); err == nil && !content.Exist && state.IsZero() {
		return set, nil // not to be made for that
	}
	if _, err := file.Set(edits); err != nil {
		return nil, err
	}
	if asksAgent(cmd, s) {
		fmt.Fprintf(a.err, "bittern: no agent answers on %s: written to %s, for when it starts\n", s.socket, file.Path())
	}
	return set, nil
}

// asksAgent reports whether the agent is to be asked, and not only the file of a state directory.
func asksAgent(cmd *cobra.Command, s *settings) bool {
	return s.socket != off && !cmd.Flags().Changed("state")
}

// askForStates has the agent set states.
func askForStates(a *app, cmd *cobra.Command, s *settings, state rules.RuleState, ids []string) (map[string]control.State, error) {
	c := control.NewClient(s.socket, whoami(a.env))
	defer c.Close()
	wanted := control.StateOf(state)
	wanted.SetBy, wanted.SetAt = "", nil // for the agent to say
	set := make(map[string]control.State, len(ids))
	for _, id := range ids {
		var err error
		if state.IsZero() {
			set[id], err = c.ClearState(cmd.Context(), id)
		} else {
			set[id], err = c.SetState(cmd.Context(), id, wanted)
		}
		if err != nil {
			return nil, err
		}
	}
	return set, nil
}

// whoami names the user, also behind sudo.
func whoami(env func(string) (string, bool)) string {
	if name, _ := env("SUDO_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "user " + strconv.Itoa(os.Getuid())
}

func newStateList(a *app) *cobra.Command {
	s := newSettings(a.paths)
	var output string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "show which rules have a state",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.resolve(a); err != nil {
				return err
			}
			states, problems, err := findStates(a, cmd, s)
			if err != nil {
				return err
			}
			if err := listStates(a.out, output, states, time.Now()); err != nil {
				return err
			}
			if err := writeProblems(a.err, "text", problems); err != nil {
				return err
			}
			return failedIf(problems)
		},
	}
	s.addTo(cmd, "state", "socket", "config")
	addOutput(cmd, &output, "`form`: text or json")
	return cmd
}

// findStates returns the states in force or, if no agent runs, those of the file.
func findStates(a *app, cmd *cobra.Command, s *settings) (map[string]control.State, rules.Problems, error) {
	if asksAgent(cmd, s) {
		c := control.NewClient(s.socket, whoami(a.env))
		defer c.Close()
		states, err := c.States(cmd.Context())
		if !errors.Is(err, control.ErrNotRunning) {
			return states, nil, err
		}
	}
	file := statefile.In(statesDir(s))
	content, err := file.Read()
	if err != nil {
		return nil, nil, err
	}
	parsed := rules.ParseStates(file.Path(), content.Data)
	states := make(map[string]control.State, len(parsed.States))
	for id, state := range parsed.States {
		states[id] = control.StateOf(state)
	}
	return states, parsed.Problems, nil
}

// listedState is a state in JSON.
type listedState struct {
	RuleID string `json:"rule_id"`
	control.State
	Expired bool `json:"expired,omitempty"` // it no longer counts
}

func listStates(out io.Writer, form string, states map[string]control.State, now time.Time) error {
	list := []listedState{}
	for _, id := range slices.Sorted(maps.Keys(states)) {
		s := states[id]
		// The fleet's don't expire by the time of day: what the agent tells is in force.
		list = append(list, listedState{id, s, s.Scope == "" && s.ExpiresAt != nil && !now.Before(*s.ExpiresAt)})
	}
	if form == "json" {
		return writeJSON(out, list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(out, "no rule has a state")
		return err
	}
	table := newTable(out)
	for _, l := range list {
		what := l.State.State
		if l.ConfidenceMax != nil {
			what += " to " + strconv.FormatFloat(*l.ConfidenceMax, 'f', -1, 64)
		}
		until := "for good"
		switch {
		case l.Expired:
			until = "expired"
		case l.ExpiresAt != nil:
			until = "until " + when(*l.ExpiresAt)
		}
		row(table, l.RuleID, what, until, "by "+setBy(l.State), l.Reason)
	}
	return table.Flush()
}
