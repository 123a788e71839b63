package bench

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bittern/internal/bench/subject"
)

// freeAddress is one at which nobody listens.
func freeAddress(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// scrape reads the metrics, and returns the number of series and of bytes.
func scrape(b *testing.B, address string) (series, size int) {
	b.Helper()
	got, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil || got.StatusCode != http.StatusOK {
		b.Fatalf("reading the metrics: %s, %v", got.Status, err)
	}
	for line := range bytes.Lines(text) {
		if line[0] != '#' {
			series++
		}
	}
	return series, len(text)
}

// BenchmarkScrape reads the metrics of an agent on 4,096 rules: when none of them has detected anything, and
// when each has, which is the most series that there can be.
func BenchmarkScrape(b *testing.B) {
	b.Run("no hits", func(b *testing.B) { benchmarkScrape(b, newSite(b), 0) })
	b.Run("hits of all", func(b *testing.B) {
		s := newSite(b)
		files, err := filepath.Glob(filepath.Join(s.rules, "*.yml"))
		if err != nil {
			b.Fatal(err)
		}
		for i, file := range files {
			if err := os.Remove(file); err != nil {
				b.Fatal(err)
			}
			writeFile(b, filepath.Join(s.rules, fmt.Sprintf("hit%04d.yml", i)), fmt.Sprintf(`rule_id: H%04d
rule_version: 1
name: hit
applies_to: [process_exec]
match: {image: {process.name: tiny}}
emits: [{tactic: TA0002, technique_id: T1059, confidence: 1}]
`, i))
		}
		benchmarkScrape(b, s, len(files))
	})
}

func benchmarkScrape(b *testing.B, s *site, hits int) {
	address := freeAddress(b)
	agent := s.startWith(b, subject.Config{Metrics: address})
	if hits > 0 {
		s.execute(b)
		for range hits {
			next(b, agent, true)
		}
	}
	var took []time.Duration
	var series, size int
	for b.Loop() {
		begin := time.Now()
		series, size = scrape(b, address)
		took = append(took, time.Since(begin))
	}
	stop(b, agent)
	b.ReportMetric(0, "ns/op")
	report(b, "", took)
	b.ReportMetric(float64(series), "series")
	b.ReportMetric(float64(size)/1024, "KiB")
}
