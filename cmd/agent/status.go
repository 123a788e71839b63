package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bittern/internal/control"
)

func newStatus(a *app) *cobra.Command {
	s := newSettings(a.paths)
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "say how the agent is",
		Long: `Ask the agent that runs on this host how it is: whether all its parts do their work,
how many rules are in which condition, what is wrong with rule files, and for each
class of events where they come from, how many were judged and how many were lost.

It exits with 1 if no agent runs, or if it is not ready.`,
		Args: noArguments,
		RunE: asking(a, s, func(cmd *cobra.Command, c *control.Client, _ []string) error {
			status, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				err = writeJSON(a.out, status)
			} else {
				err = writeStatus(a.out, status, time.Now())
			}
			if err == nil && !status.Ready {
				err = errReported
			}
			return err
		}),
	}
	s.addTo(cmd, "socket", "config")
	addOutput(cmd, &output, "`form`: text or json")
	return cmd
}

func writeStatus(out io.Writer, s control.Status, now time.Time) error {
	table := newTable(out)
	row(table, "bittern", fmt.Sprintf("%s, pid %d, since %s (%s)", s.Version, s.PID, when(s.Started), ago(s.Started, now)))
	row(table, "health", healthText(s))
	if s.RulesDir != "" {
		row(table, "rules", countsText(s.Rules)+", in "+s.RulesDir)
		row(table, "hash", s.RulesHash+", epoch "+decimal(s.Epoch))
		row(table, "detections", fmt.Sprintf("%d, %d that limits held back, and %d that only the kernel's prefilter let pass", s.Detections, s.Repeats, s.Prefiltered))
		row(table, "ring", fmt.Sprintf("%s of %s", byteSize(s.RingUsed), byteSize(s.RingSize)))
	}
	if s.Outbox != nil {
		row(table, "outbox", outboxText(s.Outbox))
		for _, sink := range s.Outbox.Sinks {
			row(table, "sink", sinkText(sink, now))
		}
	}
	if s.Fleet != nil {
		row(table, "fleet", fleetText(s.Fleet, now))
		for _, stale := range s.Fleet.Stale {
			row(table, "stale", printable(stale, false))
		}
	}
	if s.Cgroup != "" {
		row(table, "watching", "processes of cgroup "+s.Cgroup)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(s.Classes) > 0 {
		fmt.Fprintln(out)
		row(table, "CLASS", "HOOK", "EVENTS", "PASSED", "LOST", "SLOTS")
		for _, name := range slices.Sorted(maps.Keys(s.Classes)) {
			c := s.Classes[name]
			hook := c.Hook
			if hook == "" {
				hook = "-"
			}
			row(table, name, hook, decimal(c.Events), decimal(c.Matches), lostText(c.Lost), fmt.Sprintf("%d of %d", c.SlotsUsed, c.SlotsUsed+c.SlotsFree))
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	for _, source := range s.Problems {
		fmt.Fprintln(out)
		for _, p := range source.Problems {
			fmt.Fprintln(out, printable(p, false))
		}
		if len(source.Stale) > 0 {
			fmt.Fprintln(out, "  live in an older version: "+strings.Join(source.Stale, ", "))
		}
	}
	return nil
}

func healthText(s control.Status) string {
	if len(s.Health) == 0 {
		return "starting"
	}
	parts := make([]string, len(s.Health))
	for i, p := range s.Health {
		parts[i] = p.Name + " ok"
		if p.Error != "" {
			parts[i] = p.Name + ": " + p.Error
		}
	}
	return strings.Join(parts, ", ")
}

func outboxText(o *control.Outbox) string {
	text := fmt.Sprintf("%d records, %s of %s", o.Records, byteSize(uint64(o.Bytes)), byteSize(uint64(o.Quota)))
	if o.Memory > 0 {
		text += fmt.Sprintf(", %s in memory only", byteSize(uint64(o.Memory)))
	}
	if o.Lost > 0 {
		text += fmt.Sprintf(", %d lost ever: see bittern outbox status", o.Lost)
	}
	return text
}

func sinkText(s control.Sink, now time.Time) string {
	text := fmt.Sprintf("%s: %d delivered, %d to deliver", s.Name, s.Delivered, s.Pending)
	if s.Oldest != nil {
		text += ", the oldest of " + ago(*s.Oldest, now) + " ago"
	}
	if s.Errors > 0 {
		text += fmt.Sprintf(", %d errors", s.Errors)
	}
	return text
}

// fleetText says how the link to the fleet's store is.
func fleetText(f *control.Fleet, now time.Time) string {
	text := "connected for " + ago(f.Since, now)
	if !f.Connected {
		text = "NOT connected for " + ago(f.Since, now)
	}
	if f.Synced != nil {
		text += fmt.Sprintf(", synced %s ago in %.0f ms, generation %d, %d states", ago(*f.Synced, now), 1000*f.RoundTripSeconds, f.Generation, f.States)
	}
	if len(f.Held) > 0 {
		text += fmt.Sprintf(", %d of them without effect here", len(f.Held))
	}
	switch {
	case f.Publication != "":
		text += ", rules of publication " + short(f.Publication)
	case f.Wanted != "":
		text += ", rules of this host, not those of publication " + short(f.Wanted)
	}
	if f.Clone {
		text += ", SEVERAL MACHINES say that they are this host"
	}
	if f.Errors > 0 {
		text += fmt.Sprintf(", %d errors", f.Errors)
	}
	if f.Error != "" {
		text += ": " + printable(f.Error, false)
	}
	return text
}

// short is enough of a hash to tell it apart.
func short(hash string) string { return hash[:min(12, len(hash))] }

// countsText leaves out what there is none of.
func countsText(n control.Counts) string {
	text := fmt.Sprintf("%d live", n.Live)
	for _, c := range []struct {
		n    int
		what string
	}{
		{n.Stale, "stale"}, {n.Clipped, "clipped"}, {n.Disabled, "disabled"}, {n.Refused, "refused"},
		{n.Rejected, "rejected"}, {n.Waiting, "waiting"},
	} {
		if c.n > 0 {
			text += fmt.Sprintf(", %d %s", c.n, c.what)
		}
	}
	return text
}

func lostText(lost map[string]uint64) string {
	if len(lost) == 0 {
		return "0"
	}
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(lost)) {
		parts = append(parts, fmt.Sprintf("%d %s", lost[reason], reason))
	}
	return strings.Join(parts, ", ")
}
