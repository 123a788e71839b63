package loader

import (
	"slices"
	"testing"
	"time"

	"bittern/internal/event"
	"bittern/internal/rules/rulestest"
)

// BenchmarkNoMatch measures the kernel's cost of judging an ordinary execution that
// nothing matches, with 16, 256 and 4,096 rules loaded. The three take turns, so
// that they share the machine's moods. The reading of the event is not in it.
func BenchmarkNoMatch(b *testing.B) {
	ev := curl()
	ev.Parent.Executable, ev.Parent.Invoked = "/usr/bin/bash", "/bin/bash"
	benchmarkNoMatch(b, ev, rulestest.CorpusRule)
}

// BenchmarkNoMatchFileOpen measures the same for the opening of a file with a path of
// 60 bytes.
func BenchmarkNoMatchFileOpen(b *testing.B) {
	ev := &event.Event{Class: event.FileOpen, File: event.File{
		Path: "/usr/share/locale/en_GB/LC_MESSAGES/some-package-of-60-bytes", Read: true,
	}}
	benchmarkNoMatch(b, ev, rulestest.FileCorpusRule)
}

func benchmarkNoMatch(b *testing.B, ev *event.Event, rule func(i, version int) string) {
	sizes := []int{16, 256, 4096}
	courts := make([]*court, len(sizes))
	for i, n := range sizes {
		k := loadForTest(b, Config{})
		courts[i] = newCourt(b, k)
		commitCorpus(b, k, n, rule)
	}
	defer pin(b, 0)()
	took := make([][]time.Duration, len(sizes))
	var packet [64]byte
	for b.Loop() {
		for i, c := range courts {
			c.file(0, ev)
			_, t, err := c.objects.Judge.Benchmark(packet[:], 20_000, nil)
			if err != nil {
				b.Fatal(err)
			}
			if n := c.trial(0).Survivors; n != 0 {
				b.Fatalf("%d clauses survived an event that should match nothing", n)
			}
			took[i] = append(took[i], t)
		}
	}
	for i := range took {
		slices.Sort(took[i])
	}
	median := func(i int) float64 { return float64(took[i][len(took[i])/2]) }
	b.ReportMetric(0, "ns/op") // of no use: it is the time of 60,000 events
	b.ReportMetric(median(0), "ns/event-16-rules")
	b.ReportMetric(median(1), "ns/event-256-rules")
	b.ReportMetric(median(2), "ns/event-4096-rules")
	b.ReportMetric(float64(took[0][0]), "min-ns/event-16-rules")
	b.ReportMetric(float64(took[2][0]), "min-ns/event-4096-rules")
	b.ReportMetric(median(2)/median(0), "median-4096/16")
}

// BenchmarkCommit measures one swap of one rule among 4,096, from a compiled rule to
// the epoch that makes it live.
func BenchmarkCommit(b *testing.B) {
	k := loadForTest(b, Config{})
	commitCorpus(b, k, 4096, rulestest.CorpusRule)
	rule := parseRule(b, rulestest.CorpusRule(3, 2))
	for b.Loop() {
		if _, err := k.Commit(Swap{rule.ID, rule}); err != nil {
			b.Fatal(err)
		}
	}
}

func commitCorpus(tb testing.TB, k *Kernel, n int, rule func(i, version int) string) {
	tb.Helper()
	var swaps []Swap
	for i := range n {
		r := parseRule(tb, rule(i, 1))
		swaps = append(swaps, Swap{r.ID, r})
	}
	if _, err := k.Commit(swaps...); err != nil {
		tb.Fatal(err)
	}
}
