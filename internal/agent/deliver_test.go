package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bittern/internal/outbox"
)

// takesAll is a sink that counts.
type takesAll struct{ records atomic.Int64 }

func (s *takesAll) Deliver(_ context.Context, batch []outbox.Record) error {
	s.records.Add(int64(len(batch)))
	return nil
}

func (s *takesAll) Close() error { return nil }

type onePerSecond struct{}

func (onePerSecond) RowsPerSecond() int { return 1 }

// A stop waits for what can be delivered, and not for a backlog at its pace.
func TestDrainDoesNotWaitForAPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const old = 5000
		box, err := outbox.Open(outbox.Config{
			Log: slog.New(slog.DiscardHandler), Readers: []outbox.ReaderConfig{{Name: "paced", Kinds: outbox.AllKinds}, {Name: "other", Kinds: outbox.AllKinds}},
		})
		if err != nil {
			t.Fatal(err)
		}
		add := func(n int) {
			for i := range n {
				err = errors.Join(err, box.Append(outbox.Record{Kind: outbox.Detection, Tier: outbox.High, ID: outbox.ID{byte(i)}, Time: time.Now(), JSON: []byte("{}")}))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		add(old)
		paced, other := new(takesAll), new(takesAll)
		d, err := deliver(box, []Sink{{"paced", paced, onePerSecond{}}, {"other", other, nil}}, slog.New(slog.DiscardHandler), func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := (queue{box, d}).status().Sinks[0].Backlog; got != old {
			t.Errorf("the status tells of a backlog of %d, want %d", got, old)
		}
		add(3)
		if err := box.Close(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		d.drain(drainWithin)
		if took := time.Since(began); took >= time.Second {
			t.Errorf("it took %v", took)
		}
		if n, m := paced.records.Load(), other.records.Load(); n != 3 || m != old+3 {
			t.Errorf("%d new records were delivered, and %d to the other one, want 3 and %d", n, m, old+3)
		}
		if err := box.Release(); err != nil {
			t.Error(err)
		}
	})
}
