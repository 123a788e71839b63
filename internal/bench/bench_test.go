package bench

import (
	"slices"
	"testing"
	"time"
)

// percentile of sorted values, p from 0 to 1.
func percentile(sorted []time.Duration, p float64) time.Duration {
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// BenchmarkExec measures fork, exec and wait of the tiny program, in turn with the
// agent on 4,096 rules of which none matches, and without it.
func BenchmarkExec(b *testing.B) {
	s := newSite(b)
	const runs = 400
	var with, without []time.Duration
	var ratios []float64
	measure := func() []time.Duration {
		for range runs / 4 { // to warm up
			s.execute(b, "nothing")
		}
		took := make([]time.Duration, runs)
		for i := range took {
			begin := time.Now()
			s.execute(b, "nothing")
			took[i] = time.Since(begin)
		}
		slices.Sort(took)
		return took
	}
	for b.Loop() {
		off := measure()
		agent := s.startRested(b)
		on := measure()
		stop(b, agent)
		without, with = append(without, percentile(off, 0.5)), append(with, percentile(on, 0.5))
		ratios = append(ratios, float64(percentile(on, 0.5))/float64(percentile(off, 0.5)))
	}
	slices.Sort(with)
	slices.Sort(without)
	slices.Sort(ratios)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(percentile(without, 0.5))/1e3, "us-without")
	b.ReportMetric(float64(percentile(with, 0.5))/1e3, "us-with")
	b.ReportMetric(ratios[len(ratios)/2], "median-ratio")
	b.ReportMetric(float64(with[0])/float64(without[0]), "ratio-of-minima")
}

// BenchmarkStart measures the start of the agent on 4,096 rules, from fork to all of
// them live, and the memory that it has once it is at rest.
func BenchmarkStart(b *testing.B) {
	s := newSite(b)
	var took []time.Duration
	var rss, maps, programs int64
	for b.Loop() {
		agent := s.startRested(b)
		took = append(took, agent.StartUp)
		resident, err := agent.RSS()
		if err != nil {
			b.Fatal(err)
		}
		inMaps, inPrograms, err := agent.KernelMemory()
		if err != nil {
			b.Fatal(err)
		}
		rss, maps, programs = max(rss, resident), max(maps, inMaps), max(programs, inPrograms)
		stop(b, agent)
	}
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(milliseconds(percentile(took, 0.5)), "median-ms")
	b.ReportMetric(milliseconds(took[len(took)-1]), "max-ms")
	b.ReportMetric(float64(rss)/(1<<20), "RSS-MiB")
	b.ReportMetric(float64(maps)/(1<<20), "map-MiB")
	b.ReportMetric(float64(programs)/(1<<20), "program-MiB")
}
