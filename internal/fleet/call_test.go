package fleet

import (
	"testing"
	"time"

	"bittern/internal/db"
)

// BenchmarkSync is one host that asks for what is new as fast as it can, when there is nothing.
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
	news, err := session.Sync(b.Context(), db.Known{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	before, began := processorTime(b, shared.Cluster().PID()), time.Now()
	for b.Loop() {
		if _, err := session.Sync(b.Context(), news.Known, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(processorTime(b, shared.Cluster().PID())-before)/float64(time.Since(began)), "db-cores")
	b.ReportMetric(float64((processorTime(b, shared.Cluster().PID())-before).Microseconds())/float64(b.N), "db-µs/op")
}
