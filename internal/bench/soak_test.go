package bench

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"bittern/internal/bench/subject"
	"bittern/internal/control"
	"bittern/internal/rules/rulestest"
)

var soakTime = flag.Duration("soak.time", 10*time.Second, "for how long BenchmarkSoak keeps the agent busy")

// BenchmarkSoak keeps an agent on 4,096 rules busy with all that it does: files that are opened and no rule looks at, for a
// fifth of the time as many as one program can; 20 executions a second of which each is a detection; two edits of rules and one state
// a second; a scrape of the metrics each second, and somebody who follows the events. It prints the agent's resident memory as
// time goes by: what grows without an end shows.
func BenchmarkSoak(b *testing.B) {
	s := newSite(b)
	w := s.workload(b)
	w.Batch, w.Batches = 200*time.Millisecond, 1
	open := subject.Kind{Name: "open", Argument: filepath.Join(b.TempDir(), "quarterly-report-number-0042.txt")}
	writeFile(b, open.Argument, "42\n")
	writeFile(b, filepath.Join(s.rules, "probe.yml"), probe(1))
	for range b.N {
		address, socket := freeAddress(b), filepath.Join(b.TempDir(), "agent.sock")
		agent := s.startWith(b, subject.Config{Metrics: address, Socket: socket})
		if err := agent.Settle(); err != nil {
			b.Fatal(err)
		}
		client := control.NewClient(socket, "soak")
		ctx, cancel := context.WithTimeout(b.Context(), *soakTime)
		var load, readers sync.WaitGroup
		every := func(pause time.Duration, f func(n int)) {
			load.Go(func() {
				ticker := time.NewTicker(pause)
				defer ticker.Stop()
				for n := 0; ; n++ {
					select {
					case <-ctx.Done():
						return
					case <-ticker.C:
						f(n)
					}
				}
			})
		}
		failed := make(chan error, 1)
		fail := func(err error) {
			if err != nil && ctx.Err() == nil {
				select {
				case failed <- err:
				default:
				}
			}
		}
		executed, detected := 0, 0
		every(50*time.Millisecond, func(int) { s.execute(b, "probe"); executed++ })
		every(time.Second, func(int) { _, err := w.Cost(open); fail(err) })
		every(500*time.Millisecond, func(n int) {
			i := n % 1024 // of those that are about executions
			fail(os.WriteFile(filepath.Join(s.rules, fmt.Sprintf("c%04d.yml", 16*(i/8)+i%8)), []byte(rulestest.CorpusRule(i, 2+n)), 0o644))
		})
		every(time.Second, func(n int) {
			_, err := client.SetState(ctx, fmt.Sprint("C", n%1024), control.State{State: []string{"disabled", "enabled"}[n/1024%2]})
			fail(err)
		})
		every(time.Second, func(int) { scrape(b, address) })
		readers.Go(func() {
			fail(client.Events(ctx, nil, nil, func(control.Sent) error { return nil }))
		})
		readers.Go(func() {
			for range agent.Detections {
				detected++
			}
		})
		begin := time.Now()
		var first, last, most int64
		for ctx.Err() == nil {
			select {
			case err := <-failed:
				b.Fatal(err)
			case <-time.After(*soakTime / 12):
			case <-ctx.Done():
			}
			rss, err := agent.RSS()
			if err != nil {
				b.Fatal(err)
			}
			if last = rss; first == 0 {
				first = rss
			}
			most = max(most, rss)
			b.Logf("after %v: RSS %.1f MiB", time.Since(begin).Round(time.Second), float64(rss)/(1<<20))
		}
		cancel()
		load.Wait()
		client.Close()
		if err := agent.Stop(); err != nil {
			b.Fatal(err)
		}
		readers.Wait()
		if detected != executed {
			b.Errorf("%d detections of %d executions", detected, executed)
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(first)/(1<<20), "first-RSS-MiB")
		b.ReportMetric(float64(last)/(1<<20), "last-RSS-MiB")
		b.ReportMetric(float64(most)/(1<<20), "most-RSS-MiB")
		b.ReportMetric(float64(executed), "detections")
	}
}
