package fleet

import (
	"testing"
	"time"

	"bittern/internal/db"
)

// BenchmarkSync is one host that asks for what is new as fast as it can.
func BenchmarkSync(b *testing.B) {
	s := newStore(b)
	_, dsn := s.enroll(b, "a")
	session, err := db.OpenSession(b.Context(), dsn, 10*time.Second)
	if err != nil {
		b.Fatal(err)
	}
	defer session.Close()
	inventory := newHost("a").inventory
	inventory.Instance = newInstance()
	if _, err := session.Hello(b.Context(), inventory); err != nil {
		b.Fatal(err)
	}
	for range 100 {
		s.set(b, "fleet", nil, "R"+newInstance()[:8], "disabled", "1 hour")
	}
	news, err := session.Sync(b.Context(), db.Known{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	behind := news.Known
	behind.Generation--
	for _, c := range []struct {
		name  string
		known db.Known
		beat  *db.Heartbeat
	}{
		{"nothing", news.Known, nil},
		{"heartbeat", news.Known, &db.Heartbeat{BootID: inventory.BootID, Instance: inventory.Instance}},
		{"change", behind, nil},
		{"all", db.Known{}, nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			before := processorTime(b, shared.Cluster().PID())
			for b.Loop() {
				if _, err := session.Sync(b.Context(), c.known, c.beat); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((processorTime(b, shared.Cluster().PID())-before).Microseconds())/float64(b.N), "db-µs/op")
		})
	}
}
