package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"bittern/internal/control"
)

// errAgentGone ends a command that follows the agent.
var errAgentGone = errors.New("the agent has stopped")

// eventFlags say which detections are wanted.
type eventFlags struct {
	rules, classes, attack []string
	severity               string
	stream                 streamFlags
}

// streamFlags are common to what follows the agent.
type streamFlags struct {
	follow bool
	recent int
	output string
}

func (f *streamFlags) addTo(cmd *cobra.Command, what string) {
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on with those that come, until interrupted")
	cmd.Flags().Var(newWhole(&f.recent, 10, 0, 256), "recent", "how `many` of the last "+what+" to begin with; the agent keeps 256")
}

// query is what the agent is asked for.
func (f *streamFlags) query() url.Values {
	return url.Values{"recent": {strconv.Itoa(f.recent)}, "follow": {strconv.FormatBool(f.follow)}}
}

func newEvents(a *app) *cobra.Command {
	s, f := newSettings(a.paths), &eventFlags{}
	cmd := &cobra.Command{
		Use:   "events",
		Short: "show what the agent detects",
		Long: `Show the last detections of the agent that runs, and with -f those that come. Where
records of events were lost, a gap record says so; it is shown whatever the filters.
Of each filter, one of its values has to fit.`,
		Example: `  bittern events -f
  bittern events -f --severity high --attack T1059
  bittern events --recent 100 --rule BT0001 --output json`,
		Args: noArguments,
		RunE: asking(a, s, func(cmd *cobra.Command, c *control.Client, _ []string) error { return events(cmd, a, c, f) }),
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.rules, "rule", nil, "only of these rules, by `id`")
	flags.StringSliceVar(&f.classes, "class", nil, "only of these event `classes`")
	flags.StringSliceVar(&f.attack, "attack", nil, "only with these ATT&CK `ids`: tactics, techniques with their sub-techniques, or sub-techniques")
	flags.StringVar(&f.severity, "severity", "", "only of this `severity` or a higher one: "+strings.Join(control.Severities, ", "))
	_ = cmd.RegisterFlagCompletionFunc("severity", cobra.FixedCompletions(control.Severities, cobra.ShellCompDirectiveNoFileComp))
	f.stream.addTo(cmd, "detections")
	form := newChoice(&f.stream.output, "auto", "auto", "text", "json")
	flags.Var(form, "output", "`form`: text, json, or auto: text on a terminal, else json")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(form.allowed, cobra.ShellCompDirectiveNoFileComp))
	s.addTo(cmd, "socket", "config")
	return cmd
}

func events(cmd *cobra.Command, a *app, c *control.Client, f *eventFlags) error {
	if f.severity != "" && !slices.Contains(control.Severities, f.severity) {
		return usagef(cmd, "unknown severity %q: want %s", f.severity, strings.Join(control.Severities, ", "))
	}
	query := f.stream.query()
	query["rule"], query["class"], query["attack"] = f.rules, f.classes, f.attack
	query.Set("severity", f.severity)
	if f.stream.output == "text" || f.stream.output == "auto" && isTerminal(a.out) {
		query.Set("form", "text")
		query.Set("colour", strconv.FormatBool(isTerminal(a.out) && wantsColour(a.env)))
	}
	return follow(cmd, a, f.stream, func(ctx context.Context, show func(control.Sent) error) error {
		return c.Events(ctx, query, nil, show)
	}, func(data []byte) (string, error) { return string(data), nil })
}

// follow shows what a stream brings, a line each.
func follow(cmd *cobra.Command, a *app, f streamFlags, stream func(context.Context, func(control.Sent) error) error, line func([]byte) (string, error)) error {
	ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	err := stream(ctx, func(sent control.Sent) error {
		if sent.Name == "lost" {
			fmt.Fprintln(a.err, "bittern: some were left out here, since they were not read fast enough: "+string(sent.Data))
			return nil
		}
		text, err := line(sent.Data)
		if err == nil {
			_, err = fmt.Fprintln(a.out, text)
		}
		return err
	})
	switch {
	case ctx.Err() != nil, errors.Is(err, syscall.EPIPE):
		return nil // interrupted, or nobody reads any more
	case err == nil && f.follow:
		return errAgentGone
	}
	return err
}

func newChanges(a *app) *cobra.Command {
	s, f := newSettings(a.paths), &streamFlags{}
	var topics []string
	cmd := &cobra.Command{
		Use:   "changes",
		Short: "show what becomes of changes of rules and states",
		Long: `Show what became of the last changes of rules and their states, and with -f of those
that come: which version of a rule is live from which epoch on, or why it is not; who
has set a state, and that it has expired.

The topic of a change is rule.reloaded.ID or rule.state.ID. One that ends in a dot
stands for all that begin so.`,
		Example: `  bittern changes -f
  bittern changes -f --topic rule.state.`,
		Args: noArguments,
		RunE: asking(a, s, func(cmd *cobra.Command, c *control.Client, _ []string) error {
			query := f.query()
			query["topic"] = topics
			line := changeText
			if f.output == "json" {
				line = func(data []byte) (string, error) { return string(data), nil }
			}
			return follow(cmd, a, *f, func(ctx context.Context, show func(control.Sent) error) error {
				return c.ChangesOf(ctx, query, nil, show)
			}, line)
		}),
	}
	f.addTo(cmd, "changes")
	cmd.Flags().StringSliceVar(&topics, "topic", nil, "only of these `topics`")
	addOutput(cmd, &f.output, "`form`: text or json, a document a line")
	s.addTo(cmd, "socket", "config")
	return cmd
}

// changeText is a change for people.
func changeText(data []byte) (string, error) {
	var c control.Change
	if err := json.Unmarshal(data, &c); err != nil {
		return "", fmt.Errorf("reading the agent's answer: %w", err)
	}
	text := c.Time.Local().Format(stampForm) + " " + c.Topic + " " + string(c.Result)
	if c.Version > 0 {
		text += fmt.Sprintf(" version %d", c.Version)
	}
	if c.Epoch > 0 {
		text += fmt.Sprintf(" epoch %d", c.Epoch)
	}
	if c.State != nil {
		state := *c.State
		state.SetBy, state.SetAt, state.Scope = c.By, nil, "" // By says the scope of who has set it
		text += ": " + stateText(state)
	}
	if c.Error != "" {
		text += ": " + c.Error
	}
	return printable(text, false), nil
}
