package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"bittern/internal/bench/subject"
)

// probes is how many rules change together.
const probes = 50

// BenchmarkSetToLive edits fifty rules among 4,096, by renaming over, while a tiny program is
// executed that all of them match: under a hold, and each by itself. It measures to the first
// execution judged by the new version of all fifty: from the removal of the hold, and from
// the last of the single edits. Mixed are executions that some rules judged by the old
// version, and others by the new one.
func BenchmarkSetToLive(b *testing.B) {
	for _, held := range []bool{true, false} {
		name := map[bool]string{true: "set", false: "singles"}[held]
		b.Run(name, func(b *testing.B) {
			s := newSite(b)
			edit := func(version int) time.Time {
				hold := filepath.Join(s.rules, ".hold")
				if held {
					writeFile(b, hold, "")
				}
				for i := range probes {
					text := strings.Replace(probe(version), "PROBE", fmt.Sprintf("PROBE%02d", i), 1)
					edit(b, filepath.Join(s.rules, fmt.Sprintf("probe%02d.yml", i)), text, false)
				}
				if held {
					if err := os.Remove(hold); err != nil {
						b.Fatal(err)
					}
				}
				return time.Now()
			}
			edit(1)
			agent := s.start(b)
			var took, whole []time.Duration
			mixed, version := 0, 1
			for b.Loop() {
				version++
				begun := time.Now()
				edited := make(chan time.Time, 1)
				go func(version int) { edited <- edit(version) }(version)
				first, halves := s.firstByAll(b, agent, version)
				took = append(took, first.Sub(<-edited))
				whole = append(whole, first.Sub(begun))
				mixed += halves
			}
			stop(b, agent)
			slices.Sort(took)
			b.ReportMetric(0, "ns/op") // says nothing: it is mostly the reading of detections
			b.ReportMetric(milliseconds(percentile(took, 0.5)), "p50-ms")
			b.ReportMetric(milliseconds(percentile(took, 0.99)), "p99-ms")
			slices.Sort(whole)
			b.ReportMetric(milliseconds(percentile(whole, 0.5)), "whole-p50-ms")
			b.ReportMetric(milliseconds(percentile(whole, 0.99)), "whole-p99-ms")
			b.ReportMetric(float64(mixed)/float64(len(took)), "mixed/op")
			if held && mixed > 0 {
				b.Errorf("%d executions were judged by half of a set", mixed)
			}
		})
	}
}

// firstByAll executes the tiny program until all probes have judged an execution by a version,
// and returns the time of the first one, and how many before it were judged by several.
func (s *site) firstByAll(b *testing.B, agent *subject.Agent, version int) (first time.Time, mixed int) {
	b.Helper()
	for {
		s.execute(b, "probe")
		by := make(map[int]int)
		var at time.Time
		for range probes {
			d, ok := next(b, agent, true)
			v, err := strconv.Atoi(d.Rule.Version)
			if !ok || err != nil {
				b.Fatalf("an execution without its detections: %v, %v", ok, err)
			}
			by[v]++
			at = d.Time
		}
		if by[version] == probes {
			return at, mixed
		}
		if len(by) > 1 {
			mixed++
		}
	}
}
