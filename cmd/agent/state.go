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
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bittern/internal/rules"
	"bittern/internal/rules/statefile"
)

const stateLong = `Say what is to become of a rule without editing it: disabled, or clipped, which limits
the confidence of its detections. The commands edit the file states/states.yaml of
the state directory, which can be edited by hand as well; an agent that runs takes
each edit in at once, others when they start. See docs/states.md.`

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
			if err := editState(a, cmd, s, state, args[:1]); err != nil {
				return err
			}
			until := ""
			if !state.ExpiresAt.IsZero() {
				until = " until " + state.ExpiresAt.Local().Format(time.RFC3339)
			}
			fmt.Fprintf(a.out, "%s is %s%s\n", args[0], f.state, until)
			return nil
		},
	}
	cmd.Flags().DurationVar(&f.lasts, "for", 0, "`time` after which the state is the default again, such as 90m or 24h")
	cmd.Flags().Float64Var(&f.confidence, "confidence-max", 0, "highest `confidence` of a clipped rule, 0 to 1")
	cmd.Flags().StringVar(&f.reason, "reason", "", "`text` that says why, for those who wonder later")
	s.addTo(cmd, "state", "config")
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
		RunE:    func(cmd *cobra.Command, args []string) error { return editState(a, cmd, s, rules.RuleState{}, args) },
	}
	s.addTo(cmd, "state", "config")
	return cmd
}

// editState gives rules a state.
func editState(a *app, cmd *cobra.Command, s *settings, state rules.RuleState, ids []string) error {
	edits := make(map[string]rules.RuleState, len(ids))
	for _, id := range ids {
		if err := rules.CheckID(id); err != nil {
			return usagef(cmd, "%w", err)
		}
		edits[id] = state
	}
	if err := s.resolve(a); err != nil {
		return err
	}
	file := statefile.In(statesDir(s))
	if content, err := file.Read(); err == nil && !content.Exist && state.IsZero() {
		return nil // not to be made for that
	}
	_, err := file.Set(edits)
	return err
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
		RunE: func(*cobra.Command, []string) error {
			if err := s.resolve(a); err != nil {
				return err
			}
			file := statefile.In(statesDir(s))
			content, err := file.Read()
			if err != nil {
				return err
			}
			parsed := rules.ParseStates(file.Path(), content.Data)
			if err := listStates(a.out, output, parsed.States, time.Now()); err != nil {
				return err
			}
			if err := writeProblems(a.err, "text", parsed.Problems); err != nil {
				return err
			}
			return failedIf(parsed.Problems)
		},
	}
	s.addTo(cmd, "state", "config")
	addOutput(cmd, &output, "`form`: text or json")
	return cmd
}

// listedState is a state in JSON.
type listedState struct {
	RuleID        string     `json:"rule_id"`
	State         string     `json:"state"`
	ConfidenceMax *float64   `json:"confidence_max,omitempty"`
	ExpiresAt     *time.Time `json:"expires_at,omitempty"`
	Expired       bool       `json:"expired,omitempty"` // it no longer counts
	Reason        string     `json:"reason,omitempty"`
	SetBy         string     `json:"set_by"`
	SetAt         *time.Time `json:"set_at,omitempty"`
}

func listStates(out io.Writer, form string, states map[string]rules.RuleState, now time.Time) error {
	list := []listedState{}
	for _, id := range slices.Sorted(maps.Keys(states)) {
		s := states[id]
		l := listedState{RuleID: id, State: s.State.String(), Expired: s.ExpiredAt(now), Reason: s.Reason, SetBy: s.SetBy}
		if s.State == rules.Clipped {
			l.ConfidenceMax = &s.ConfidenceMax
		}
		if !s.ExpiresAt.IsZero() {
			l.ExpiresAt = &s.ExpiresAt
		}
		if !s.SetAt.IsZero() {
			l.SetAt = &s.SetAt
		}
		list = append(list, l)
	}
	if form == "json" {
		return writeJSON(out, list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(out, "no rule has a state")
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, l := range list {
		what := l.State
		if l.ConfidenceMax != nil {
			what += " to " + strconv.FormatFloat(*l.ConfidenceMax, 'f', -1, 64)
		}
		until := "for good"
		switch {
		case l.Expired:
			until = "expired"
		case l.ExpiresAt != nil:
			until = "until " + l.ExpiresAt.Local().Format(time.RFC3339)
		}
		line := strings.Join([]string{l.RuleID, what, until, "by " + l.SetBy, l.Reason}, "\t")
		fmt.Fprintln(table, strings.TrimRight(line, "\t"))
	}
	return table.Flush()
}
