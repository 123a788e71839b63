package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bittern/internal/outbox"
)

func newOutbox(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "outbox",
		Short: "look at what is kept for sinks: how much, since when, what was lost",
		Long: `Look into the outbox, the queue on the disk in which detections, gaps and reports wait
until each sink has them. The commands read its files, whether an agent runs or not,
and change nothing. What an agent has in memory only, since its disk fails, they do not
see; the agent's health says that there is such. See docs/outbox.md.

Only root and the user that the agent runs as may read the files.`,
		Args: group,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newOutboxStatus(a), newOutboxVerify(a), newOutboxDump(a), newOutboxExport(a))
	return cmd
}

// readingOutbox makes a command that reads the outbox.
func readingOutbox(a *app, s *settings, f func(cmd *cobra.Command, dir string, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := s.resolve(a); err != nil {
			return err
		}
		return outboxError(f(cmd, outboxDir(s), args))
	}
}

// outboxError says what to do about an error.
func outboxError(err error) error {
	switch {
	case errors.Is(err, outbox.ErrNone):
		return fmt.Errorf("%w (an agent makes one when it starts; --state names its state directory)", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w (only root and the user that the agent runs as may)", err)
	}
	return err
}

func newOutboxStatus(a *app) *cobra.Command {
	s := newSettings(a.paths)
	var output string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "say how much is in the outbox, who lacks it, and what was lost",
		Long: `Say how many records are in the outbox, how old they are and how many bytes they
take; of each sink, how many it has still to get; and what was ever lost, by cause,
sink and rule.

COUNT is how many records there were before repeats of the same were put together.`,
		Example: `  bittern outbox status
  bittern outbox status --state /var/lib/bittern --output json`,
		Args: noArguments,
		RunE: readingOutbox(a, s, func(_ *cobra.Command, dir string, _ []string) error {
			c, err := outbox.Inspect(dir)
			if err != nil {
				return err
			}
			if output == "json" {
				return writePrintableJSON(a.out, struct {
					*outbox.Contents
					Quota int64 `json:"quota"`
				}{c, int64(s.outboxBytes)})
			}
			return writeOutbox(a.out, c, int64(s.outboxBytes), time.Now())
		}),
	}
	s.addTo(cmd, "state", "config")
	addOutput(cmd, &output, "`form`: text or json")
	return cmd
}

func writeOutbox(out io.Writer, c *outbox.Contents, quota int64, now time.Time) error {
	table := newTable(out)
	row(table, "outbox", c.Dir)
	row(table, "records", recordsText(c.Records, c.Count)+", up to sequence "+decimal(c.LastSeq))
	if c.Oldest != nil {
		row(table, "oldest", fmt.Sprintf("%s (%s)", when(*c.Oldest), ago(*c.Oldest, now)))
		row(table, "newest", fmt.Sprintf("%s (%s)", when(*c.Newest), ago(*c.Newest, now)))
	}
	row(table, "disk", fmt.Sprintf("%s of %s", byteSize(uint64(c.Bytes)), byteSize(uint64(quota))))
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	row(table, "TIER", "SEGMENTS", "RECORDS", "COUNT", "BYTES", "OLDEST", "NEWEST")
	for _, t := range c.Tiers {
		row(table, t.Tier, decimal(t.Segments), decimal(t.Records), decimal(t.Count), byteSize(uint64(t.Bytes)), age(t.Oldest, now), age(t.Newest, now))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := writeBacklogs(out, c.Readers, now); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if err := writeLosses(out, c.Losses); err != nil {
		return err
	}
	if n := damages(c.Problems); n > 0 {
		fmt.Fprintf(out, "\n%s damaged, see: bittern outbox verify\n", plural(n, "place"))
	}
	return nil
}

// writeBacklogs says what sinks have still to get.
func writeBacklogs(out io.Writer, sinks []outbox.ReaderContents, now time.Time) error {
	if len(sinks) == 0 {
		_, err := fmt.Fprintln(out, "no sink is known")
		return err
	}
	table := newTable(out)
	row(table, "SINK", "HAS UP TO", "LACKS", "COUNT", "BYTES", "OLDEST", "KINDS")
	for _, r := range sinks {
		kinds := "all"
		if len(r.Kinds) > 0 {
			kinds = strings.Join(r.Kinds, ", ")
		}
		row(table, r.Name, decimal(r.Acked), decimal(r.Records), decimal(r.Count), byteSize(uint64(r.Bytes)), age(r.Oldest, now), kinds)
	}
	return table.Flush()
}

// writeLosses says what was lost.
func writeLosses(out io.Writer, losses []outbox.Loss) error {
	if len(losses) == 0 {
		_, err := fmt.Fprintln(out, "nothing was ever lost")
		return err
	}
	table := newTable(out)
	row(table, "LOST", "CAUSE", "SINK", "RULE", "CLASS", "FIRST", "LAST")
	for _, l := range losses {
		row(table, decimal(l.Count), string(l.Cause), orElse(l.Sink, "all"), dash(l.Rule), dash(l.Class), stamp(l.First), stamp(l.Last))
	}
	return table.Flush()
}

// recordsText leaves the count out where it says nothing.
func recordsText(records, count uint64) string {
	text := plural(int(records), "record")
	if count != records {
		text += fmt.Sprintf(", put together from %d", count)
	}
	return text
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// age is how long ago something was, - if it never was.
func age(at *time.Time, now time.Time) string {
	if at == nil {
		return "-"
	}
	return ago(*at, now)
}

// stamp is a time, - if it is not known.
func stamp(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return when(at)
}

func damages(all []outbox.Problem) (n int) {
	for _, p := range all {
		if p.Damage {
			n++
		}
	}
	return n
}

// writePrintableJSON is writeJSON for what comes out of files that may be damaged.
func writePrintableJSON(out io.Writer, v any) error {
	var text bytes.Buffer
	if err := writeJSON(&text, v); err != nil {
		return err
	}
	_, err := out.Write(printableJSON(text.Bytes()))
	return err
}
