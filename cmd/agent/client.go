package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"bittern/internal/control"
)

// asking makes a command that asks the agent. The client is closed when f returns.
func asking(a *app, s *settings, f func(cmd *cobra.Command, c *control.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := s.resolve(a); err != nil {
			return err
		}
		if s.socket == off {
			return errors.New("asking the agent: the socket is off (name the agent's with --socket)")
		}
		c := control.NewClient(s.socket, whoami(a.env))
		defer c.Close()
		err := f(cmd, c, args)
		if errors.Is(err, control.ErrNotRunning) {
			err = fmt.Errorf("%w (start one with: bittern run)", err)
		}
		return err
	}
}

// newTable makes a table whose columns are as wide as they need to be. Cells are separated by tabs.
func newTable(out io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(out, 0, 0, 2, ' ', 0) }

// row writes a line of a table. What a cell holds can't break it.
func row(table io.Writer, cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c, false)
	}
	fmt.Fprintln(table, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
}

func decimal[T int | uint64](n T) string { return strconv.FormatUint(uint64(n), 10) }

// when is a time for people, to the second.
func when(at time.Time) string { return at.Local().Format(time.RFC3339) }

// ago says how long ago something was, in one or two units.
func ago(at, now time.Time) string {
	d := now.Sub(at)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// byteSize is a size for people.
func byteSize(n uint64) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}
