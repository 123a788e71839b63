package fsstore

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"bittern/internal/rules"
	"bittern/internal/rules/statefile"
	"bittern/internal/rules/storetest"
)

// benchFiles is the size of a large rule set.
const benchFiles = 4096

func benchDir(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	for i := range benchFiles {
		fill(b, dir, map[string]string{fmt.Sprintf("r%d.yml", i): storetest.Text(fmt.Sprintf("R%d", i), 1)})
	}
	return dir
}

// BenchmarkEdit is the time from the rename of one file to its change being
// received, parsing included.
func BenchmarkEdit(b *testing.B) {
	f := openStore(b, config(benchDir(b), brief))
	sub := f.Changes()
	temp := filepath.Join(f.stage, "next")
	var took []time.Duration
	version := 1
	for b.Loop() {
		version++
		b.StopTimer()
		must(b, os.WriteFile(temp, []byte(storetest.Text("R7", version)), 0o600))
		b.StartTimer()
		must(b, os.Rename(temp, f.file("r7.yml")))
		renamed := time.Now()
		storetest.Next(b, sub)
		took = append(took, time.Since(renamed))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
}

// BenchmarkOpen is the time until all rules of a large set are live.
func BenchmarkOpen(b *testing.B) {
	dir := benchDir(b)
	for b.Loop() {
		s, err := Open(config(dir, brief))
		must(b, err)
		if got := len(s.Load()); got != benchFiles {
			b.Fatalf("%d rules", got)
		}
		s.Stop()
	}
}

// BenchmarkSetState is the time from the call until the change is received, where other rules
// have states as well.
func BenchmarkSetState(b *testing.B) {
	for _, others := range []int{9, benchFiles - 1} {
		b.Run(fmt.Sprint(others, " others"), func(b *testing.B) {
			cfg := statedConfig(b, storetest.NewClock())
			edits := map[string]rules.RuleState{}
			for i := range others {
				edits[fmt.Sprintf("R%04d", i)] = rules.RuleState{State: rules.Disabled, Reason: "a reason of usual length", SetBy: "somebody", SetAt: cfg.Clock.Now()}
			}
			_, err := statefile.In(cfg.States).Set(edits)
			must(b, err)
			f := openStore(b, cfg)
			sub := f.Changes()
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				must(b, f.SetState("ONE", rules.RuleState{State: rules.Disabled, Reason: fmt.Sprint(len(took))}, "somebody"))
				storetest.Next(b, sub)
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
		})
	}
}
