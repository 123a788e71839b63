package loader

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// outcome is what a torture leaves behind.
type outcome struct {
	scenario
	verdicts
	first          []string // descriptions of events that were wrong
	swaps, refused uint64
	executed       uint64 // events that were real executions
	graces         uint64
	took           time.Duration
	latency        []latency // of each swap, if there was one writer
}

// latency is how long a swap took: until all was staged, and from there until it was committed.
type latency struct{ stage, commit time.Duration }

// tortureTable shows the outcomes to people.
func tortureTable(all []outcome) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(cells ...any) {
		for _, c := range cells {
			fmt.Fprintf(w, "%v\t", c)
		}
		fmt.Fprintln(w)
	}
	row("", "swaps", "refused", "events", "executions", "missed", "doubled", "mixed", "backwards", "swaps/s", "grace periods/swap")
	var sum outcome
	for _, o := range all {
		row(o.name, o.swaps, o.refused, o.judged, o.executed, o.missed, o.doubled, o.mixed, o.backwards,
			fmt.Sprintf("%.0f", float64(o.swaps)/o.took.Seconds()), fmt.Sprintf("%.4f", float64(o.graces)/float64(o.swaps)))
		sum.add(o.verdicts)
		sum.swaps += o.swaps
		sum.refused += o.refused
		sum.executed += o.executed
	}
	row("all", sum.swaps, sum.refused, sum.judged, sum.executed, sum.missed, sum.doubled, sum.mixed, sum.backwards, "", "")
	row("", "", "", "", "", "", "", "", "", "", "")
	row("µs: p50, p99, max", "stage", "", "", "commit", "", "", "whole", "", "", "")
	for _, o := range all {
		if len(o.latency) == 0 {
			continue
		}
		cells := []any{o.name}
		for _, part := range []func(latency) time.Duration{
			func(l latency) time.Duration { return l.stage },
			func(l latency) time.Duration { return l.commit },
			func(l latency) time.Duration { return l.stage + l.commit },
		} {
			took := make([]time.Duration, len(o.latency))
			for i, l := range o.latency {
				took[i] = part(l)
			}
			slices.Sort(took)
			for _, at := range []int{len(took) / 2, len(took) * 99 / 100, len(took) - 1} {
				cells = append(cells, fmt.Sprintf("%.1f", float64(took[at].Nanoseconds())/1000))
			}
		}
		row(append(cells, "")...)
	}
	w.Flush()
	return b.String()
}
