package db_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"bittern/internal/db"
	"bittern/internal/outbox"
	"bittern/internal/sink"
)

// perSecond is a pace that stays.
type perSecond int

func (p perSecond) RowsPerSecond() int { return int(p) }

// BenchmarkDrain has 100,000 records that have gathered in an outbox delivered over TLS, and 20 more each second beside them.
//
//	drain-s          until the last of the 100,000 is in the database; the random delay before is left out
//	bytes/record     that the database takes, with indexes
//	new-p50-ms, -p99 from when a new record is kept until the database has it, looked at each 10 ms
func BenchmarkDrain(b *testing.B) {
	for _, pace := range []int{0, 10_000, 2000} {
		name := fmt.Sprintf("pace=%d", pace)
		if pace == 0 {
			name = "unbounded"
		}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				drain(b, perSecond(pace))
			}
		})
	}
}

func drain(b *testing.B, pace sink.Pace) {
	const old, newOnes, every = 100_000, 100, 50 * time.Millisecond
	f := newFleet(b)
	exec(b, f.super, "UPDATE fleet.settings SET rows_per_day = 1e12, bytes_per_day = 1e15")
	h := f.host("a")
	box, err := outbox.Open(outbox.Config{Dir: b.TempDir(), Quota: 1 << 30, Readers: []outbox.ReaderConfig{{Name: "postgres", Kinds: outbox.AllKinds}}, Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	keep := func() {
		n++
		r := kept(n, benchBody)
		if err := box.Append(r); err != nil {
			b.Fatal(err)
		}
	}
	for range old {
		keep()
	}
	to, err := db.NewSink(db.SinkConfig{DSN: h.dsn, Outbox: box.ID(), Log: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	runner, err := sink.NewRunner(box.Reader("postgres"), to, sink.RunnerConfig{Log: quiet(), Pace: pace, Random: func() float64 { return 0 }})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- runner.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		<-done
		if err := box.Close(); err != nil {
			b.Error(err)
		}
		if err := box.Release(); err != nil {
			b.Error(err)
		}
	})
	has := func(id outbox.ID) bool {
		return one[bool](b, f.super, "SELECT EXISTS (SELECT FROM fleet.detections WHERE host_id = $1 AND detection_id = $2)", h.HostID, id.String())
	}
	for end := time.Now().Add(time.Minute); runner.Stats().Delivered == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			b.Fatal(runner.Health())
		}
	}
	var late []time.Duration
	for range newOnes {
		keep()
		at, id := time.Now(), kept(n, "").ID
		for !has(id) {
			time.Sleep(10 * time.Millisecond)
		}
		late = append(late, time.Since(at))
		time.Sleep(every)
	}
	for one[int](b, f.super, "SELECT count(*)::int FROM fleet.detections WHERE host_id = $1", h.HostID) < old+newOnes {
		time.Sleep(20 * time.Millisecond)
	}
	took := time.Since(began)
	size := one[int64](b, f.super, `SELECT sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits WHERE inhparent = 'fleet.detections'::regclass`)
	b.ReportMetric(float64(size)/(old+newOnes), "bytes/record")
	slices.Sort(late)
	b.ReportMetric(took.Seconds(), "drain-s")
	b.ReportMetric(float64(late[len(late)/2].Microseconds())/1000, "new-p50-ms")
	b.ReportMetric(float64(late[len(late)*99/100].Microseconds())/1000, "new-p99-ms")
}
