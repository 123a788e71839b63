package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// numbered returns a record that says its number.
func numbered(n int, tier Tier) Record {
	return Record{
		Kind: Detection, Tier: tier, ID: ID{6: byte(n >> 24), 7: byte(n >> 16), 8: byte(n >> 8), 9: byte(n)}, Rule: fmt.Sprintf("R%d", n%7),
		Time: time.Unix(int64(n), 0).UTC(), JSON: fmt.Appendf(nil, `{"n":%d}`, n), Text: fmt.Appendf(nil, "number %d", n),
	}
}

var discard = slog.New(slog.DiscardHandler)

func open(t testing.TB, cfg Config) *Log {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = discard
	}
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := errors.Join(l.Close(), l.Release()); err != nil {
		t.Fatal(err)
	}
}

// drain reads what is there without waiting, and acknowledges it.
func drain(t testing.TB, r *Reader) (all []Record) {
	t.Helper()
	for {
		batch := r.fill()
		if len(batch) == 0 {
			return all
		}
		all = append(all, batch...)
		if err := r.Ack(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRecordsComeInOrder(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Readers: []ReaderConfig{{"a", AllKinds}, {"b", KindsOf(Gap)}}}
	l := open(t, cfg)
	const records = 10_000
	for n := range records {
		if err := l.Append(numbered(n, Tier(n)%tiers)); err != nil {
			t.Fatal(err)
		}
		if n == records/2 {
			closeLog(t, l)
			l = open(t, cfg)
		}
	}
	all := drain(t, l.Reader("a"))
	if len(all) != records {
		t.Errorf("%d records, want %d", len(all), records)
	}
	for n, r := range all {
		if want := fmt.Sprintf(`{"n":%d}`, n); string(r.JSON) != want || r.Seq != uint64(n+1) {
			t.Fatalf("record %d is %s with sequence %d", n, r.JSON, r.Seq)
		}
	}
	if err := l.Append(Record{Kind: Gap, Tier: System, Time: time.Unix(1, 0), JSON: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if gaps, err := l.Reader("b").Read(context.Background()); err != nil || len(gaps) != 1 {
		t.Errorf("%d gaps, %v, want one", len(gaps), err)
	}
	if lag := l.Reader("a").Lag(); lag != 1 {
		t.Errorf("lag %d, want 1", lag)
	}
	closeLog(t, l)
}
