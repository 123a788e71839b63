package sink

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bittern/internal/outbox"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedVariable); dir != "" {
		killed(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// record returns the record with that number.
func record(seq uint64) outbox.Record {
	r := outbox.Record{Kind: outbox.Detection, Tier: outbox.High, Seq: seq, Count: 1, Rule: "BT0001"}
	r.Time = time.Date(2026, 11, 23, 16, 29, 1, 123456789, time.UTC)
	r.Last = r.Time
	binary.BigEndian.PutUint64(r.ID[8:], seq)
	r.ID[6], r.ID[8] = 0x70, 0x80
	r.JSON = fmt.Appendf(nil, `{"@timestamp":"2026-11-23T16:29:01.123456789Z","event":{"id":"%s"},"fill":"%s","bittern":{"severity":"high"}}`,
		formatID(r.ID), strings.Repeat("x", int(seq*37%400)))
	r.Text = fmt.Appendf(nil, "\x1b[2m2026-11-23 16:29:01.123\x1b[0m \x1b[31mhigh\x1b[0m     BT0001 v1 %d", seq)
	return r
}

func records(from, to uint64) (all []outbox.Record) {
	for seq := from; seq <= to; seq++ {
		all = append(all, record(seq))
	}
	return all
}

// seqs returns the numbers of the records in whole lines.
func seqs(t interface {
	Helper()
	Fatalf(string, ...any)
}, lines []byte) (all []uint64) {
	t.Helper()
	for line := range bytes.Lines(lines) {
		if !bytes.HasSuffix(line, []byte{'\n'}) || len(line) == 1 {
			continue
		}
		var doc struct{ Event struct{ ID string } }
		if err := json.Unmarshal(line, &doc); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		id, ok := parseID(doc.Event.ID)
		if !ok {
			t.Fatalf("line %q: no id", line)
		}
		id[8] = 0
		all = append(all, binary.BigEndian.Uint64(id[8:]))
	}
	return all
}

func upTo(n uint64) (all []uint64) {
	for i := uint64(1); i <= n; i++ {
		all = append(all, i)
	}
	return all
}

func wantSeqs(t interface {
	Helper()
	Fatalf(string, ...any)
}, got, want []uint64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("records %v, want %v", got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// logbook keeps what is logged.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logbook) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

func (l *logbook) log() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// queue is a source of batches, in memory.
type queue struct {
	name    string
	batches chan []outbox.Record // closed: closed and empty
	acks    chan int             // the batch, from 1 on, that was acknowledged
	acked   int
	readErr []error
	ackErr  error
}

func newQueue(name string, batches ...[]outbox.Record) *queue {
	q := &queue{name: name, batches: make(chan []outbox.Record, 100), acks: make(chan int, 100)}
	for _, b := range batches {
		q.batches <- b
	}
	return q
}

func (q *queue) Name() string { return q.name }

func (q *queue) Read(ctx context.Context) ([]outbox.Record, error) {
	if len(q.readErr) > 0 {
		err := q.readErr[0]
		q.readErr = q.readErr[1:]
		return nil, err
	}
	select {
	case b, ok := <-q.batches:
		if !ok {
			return nil, fmt.Errorf("reading the outbox: %w", os.ErrClosed)
		}
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (q *queue) Ack() error {
	q.acked++
	q.acks <- q.acked
	return q.ackErr
}
