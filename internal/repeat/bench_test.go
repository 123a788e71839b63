package repeat

import (
	"runtime"
	"testing"
	"time"

	"bittern/internal/rules"
)

// BenchmarkRepeat is one detection that is held back, in memory, and with a journal.
func BenchmarkRepeat(b *testing.B) {
	r := ruleOf(b, "A", 1, 1, time.Hour)
	for name, dir := range map[string]string{"memory": "", "journal": b.TempDir()} {
		b.Run(name, func(b *testing.B) {
			w := benchmarked(b, dir)
			n := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				n++
				if _, err := w.Judge(r, Source{}, "/bin/x", Moment{Record: Record{Sequence: n}, Uptime: time.Hour}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSources is what 10,000 sources take, in bytes of memory, and one tick over all of them.
func BenchmarkSources(b *testing.B) {
	const sources = 10000
	r := ruleOf(b, "A", 1, 1, time.Hour)
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	w := benchmarked(b, b.TempDir())
	for n := range uint32(sources) {
		for seq := range uint64(2) {
			if _, err := w.Judge(r, Source{Per: rules.PerUser, User: n}, "", Moment{Record: Record{Sequence: seq}, Uptime: time.Hour}); err != nil {
				b.Fatal(err)
			}
		}
	}
	if w.Open() != sources {
		b.Fatalf("%d windows", w.Open())
	}
	bytes := heap() - before
	for b.Loop() {
		if err := w.Tick(time.Hour, time.Hour, live); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(bytes), "bytes")
}

// benchmarked are windows with a journal in a directory; "" is without.
func benchmarked(b *testing.B, dir string) *Windows {
	b.Helper()
	cfg := Config{Boot: "boot", MostOfRule: DefaultMost, Tell: func(Told) error { return nil }, Broken: func(err error) { b.Error(err) }}
	if dir != "" {
		j, _, _, err := OpenJournal(dir, parseRule)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = j.file.Close() })
		cfg.Journal = j
	}
	w, err := New(cfg, nil)
	if err != nil {
		b.Fatal(err)
	}
	return w
}
