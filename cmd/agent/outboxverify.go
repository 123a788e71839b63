package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"bittern/internal/outbox"
)

// verified is what was found out about an outbox, in JSON.
type verified struct {
	Dir      string                 `json:"directory"`
	Damaged  bool                   `json:"damaged"` // something is, or was lost to damage at some time
	Records  uint64                 `json:"records"`
	Segments []outbox.SegmentReport `json:"segments"`
	Problems []outbox.Problem       `json:"problems"` // of all files
	Losses   []outbox.Loss          `json:"losses"`   // to damage
}

func newOutboxVerify(a *app) *cobra.Command {
	s := newSettings(a.paths)
	var output string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "check whether the disk has kept what was written to the outbox",
		Long: `Read all of the outbox, and check the checksums and the order of all records, and those
of its other files: which records are damaged, and how many are missing. Nothing is
mended; an agent goes on beside damage, and counts it.

It exits with 1 if something is damaged, or if records were lost to damage at some time.
An incomplete record at the end of a segment is none: that is what an agent leaves that
was killed while it wrote.`,
		Example: `  bittern outbox verify
  bittern outbox verify --state /mnt/disk/var/lib/bittern --output json`,
		Args: noArguments,
		RunE: readingOutbox(a, s, func(_ *cobra.Command, dir string, _ []string) error {
			c, err := outbox.Inspect(dir)
			if err != nil {
				return err
			}
			v := verified{Dir: c.Dir, Damaged: c.Damaged(), Records: c.Records, Segments: c.Files, Problems: c.Problems, Losses: []outbox.Loss{}}
			for _, l := range c.Losses {
				if l.Cause == outbox.Damaged {
					v.Losses = append(v.Losses, l)
				}
			}
			if output == "json" {
				err = writePrintableJSON(a.out, v)
			} else {
				err = writeVerified(a.out, v)
			}
			if err == nil && v.Damaged {
				err = errReported
			}
			return err
		}),
	}
	s.addTo(cmd, "state", "config")
	addOutput(cmd, &output, "`form`: text or json")
	return cmd
}

func writeVerified(out io.Writer, v verified) error {
	table := newTable(out)
	if len(v.Segments) > 0 {
		row(table, "SEGMENT", "RECORDS", "BYTES", "SEQUENCES", "")
	}
	for _, s := range v.Segments {
		row(table, s.File, decimal(s.Records), byteSize(uint64(s.Bytes)), span64(s.FirstSeq, s.LastSeq), segmentText(s))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, p := range v.Problems {
		fmt.Fprintln(out, printable(problemText(p), false))
	}
	for _, l := range v.Losses {
		fmt.Fprintf(out, "lost to damage: %s, of %s, from %s to %s\n", plural(int(l.Count), "record"),
			printable(orElse(l.Rule, "rules that are not known"), false), stamp(l.First), stamp(l.Last))
	}
	where := fmt.Sprintf("%s in %s", plural(int(v.Records), "record"), plural(len(v.Segments), "segment"))
	if n := damages(v.Problems); n > 0 {
		_, err := fmt.Fprintf(out, "%s damaged; %s can be read\n", plural(n, "place"), where)
		return err
	}
	now := ""
	if len(v.Losses) > 0 {
		now = " now"
	}
	_, err := fmt.Fprintf(out, "nothing is damaged%s: %s\n", now, where)
	return err
}

func span64(first, last uint64) string {
	if first == 0 {
		return "-"
	}
	return fmt.Sprintf("%d to %d", first, last)
}

// segmentText is the state of a segment.
func segmentText(s outbox.SegmentReport) string {
	var parts []string
	if n := damages(s.Problems); n > 0 {
		parts = append(parts, plural(n, "place")+" damaged")
	} else {
		parts = append(parts, "ok")
	}
	if s.Merged {
		parts = append(parts, "repeats put together")
	}
	if s.Obsolete {
		parts = append(parts, "about to be removed")
	}
	return strings.Join(parts, ", ")
}

func problemText(p outbox.Problem) string {
	text := "note: "
	if p.Damage {
		text = "damaged: "
	}
	text += p.File
	if p.Bytes > 0 {
		text += fmt.Sprintf(", byte %d to %d", p.Offset, p.Offset+p.Bytes)
	} else if p.Offset > 0 {
		text += fmt.Sprintf(", byte %d", p.Offset)
	}
	if p.Seq > 0 {
		text += fmt.Sprintf(", sequence %d", p.Seq)
	}
	return text + ": " + p.Message
}
