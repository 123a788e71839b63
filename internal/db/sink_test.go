package db_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bittern/internal/db"
	"bittern/internal/outbox"
	"bittern/internal/sink"
)

// delivery is an outbox whose records go to the store of a host.
type delivery struct {
	box    *outbox.Log
	runner *sink.Runner
	done   chan error
}

// deliver starts a delivery with a connection string.
func deliver(t *testing.T, dsn string, log *slog.Logger) *delivery {
	t.Helper()
	soon := make(chan time.Time)
	close(soon) // what fails is tried again at once
	return deliverTo(t, db.SinkConfig{DSN: dsn, Log: log}, func(time.Duration) <-chan time.Time { return soon })
}

func deliverTo(t *testing.T, cfg db.SinkConfig, after func(time.Duration) <-chan time.Time) *delivery {
	t.Helper()
	log := cfg.Log
	box, err := outbox.Open(outbox.Config{Dir: t.TempDir(), Readers: []outbox.ReaderConfig{{Name: "postgres", Kinds: outbox.AllKinds}}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Outbox, cfg.Losses = outbox.ID{1}, box.Losses
	to, err := db.NewSink(cfg)
	if err != nil {
		t.Fatal(err)
	}
	runner, err := sink.NewRunner(box.Reader("postgres"), to, sink.RunnerConfig{Log: log, After: after})
	if err != nil {
		t.Fatal(err)
	}
	d := &delivery{box, runner, make(chan error, 1)}
	go func() { d.done <- runner.Run(context.Background()) }()
	return d
}

// end waits until all is delivered.
func (d *delivery) end(t *testing.T) {
	t.Helper()
	err := d.box.Close()
	select {
	case runErr := <-d.done:
		err = errors.Join(err, runErr)
	case <-time.After(time.Minute):
		t.Fatalf("not all is delivered: %v", d.runner.Health())
	}
	if err := errors.Join(err, d.box.Release()); err != nil {
		t.Fatal(err)
	}
}

func kept(n int, document string) outbox.Record {
	r := outbox.Record{Kind: outbox.Detection, Tier: outbox.High, Rule: "BT0001", Time: time.Now(), JSON: []byte(document), Text: []byte("text")}
	r.ID = outbox.ID{0: 1, 6: 0x70, 8: 0x80, 12: byte(n >> 24), 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}
	return r
}

const keptDocument = `{"rule":{"id":"BT0001"},"bittern":{"confidence":0.5,"severity":"high","rule_hash":"ab12","tags":[` +
	`{"tactic":"TA0011","technique":"T1105"},{"tactic":"TA0002","technique":"T1059","subtechnique":"T1059.004"},{"tactic":"TA0002","technique":"T1105"}],"n":%d}}`

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestSink looks at what becomes of records, and of losses.
func TestSink(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	d := deliver(t, h.dsn, quiet())
	many := kept(1, fmt.Sprintf(keptDocument, 1))
	many.Count, many.Last = 3, many.Time.Add(time.Minute)
	gap := kept(2, `{"event":{"kind":"pipeline_error"}}`)
	gap.Kind, gap.Tier, gap.Rule = outbox.Gap, outbox.System, ""
	if err := d.box.Note(outbox.ID{6: 1}, outbox.Loss{Cause: "ring_full", Class: "process_exec", Count: 7, First: many.Time, Last: many.Time}); err != nil {
		t.Fatal(err)
	}
	if err := d.box.Append(many, gap); err != nil {
		t.Fatal(err)
	}
	d.end(t)
	got := row(t, f.super, "SELECT kind, rule_id, content_hash, severity, confidence, attack, count, body #>> '{bittern,aggregated,count}' AS shown, segment, seq FROM fleet.detections WHERE detection_id = $1", many.ID.String())
	want := "map[attack:[TA0011 T1105 TA0002 T1059 T1059.004] confidence:0.5 content_hash:ab12 count:3 kind:detection rule_id:BT0001 segment:01000000-0000-0000-0000-000000000000 seq:1 severity:high shown:3]"
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
	if got := one[string](t, f.super, "SELECT kind || '/' || severity || '/' || cardinality(attack) FROM fleet.detections WHERE detection_id = $1", gap.ID.String()); got != "gap//0" {
		t.Errorf("a gap: %s", got)
	}
	if got := one[string](t, f.super, "SELECT cause || ' ' || class || ' ' || count FROM fleet.losses WHERE host_id = $1", h.HostID); got != "ring_full process_exec 7" {
		t.Errorf("losses: %s", got)
	}
}

// TestSinkPoison has records among others that the server will never take.
func TestSinkPoison(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	d := deliver(t, h.dsn, quiet())
	const records = 60
	poison := map[int]string{7: "no JSON", 8: `{"a":"\u0000"}`, 31: `{"a":"` + strings.Repeat("x", 70_000) + `"}`, 59: "{\"a\":\"\xff\"}"}
	var batch []outbox.Record
	for n := range records {
		document, bad := poison[n]
		if !bad {
			document = fmt.Sprintf(keptDocument, n)
		}
		batch = append(batch, kept(n, document))
	}
	if err := d.box.Append(batch...); err != nil {
		t.Fatal(err)
	}
	d.end(t)
	if n := one[int](t, f.super, "SELECT count(*)::int FROM fleet.detections WHERE host_id = $1", h.HostID); n != records-len(poison) {
		t.Errorf("%d records, want %d", n, records-len(poison))
	}
	for n, document := range poison {
		got := row(t, f.super, "SELECT left(sqlstate, 2) AS class, length, seq, error <> '' AS told FROM fleet.dead_letters WHERE detection_id = $1", kept(n, "").ID.String())
		if got["class"] != "22" || got["length"] != float64(len(document)) || got["seq"] != float64(n+1) || got["told"] != true {
			t.Errorf("record %d: %v", n, got)
		}
	}
}

// TestSinkCut cuts connections at any byte, in either direction, also after a COMMIT was sent and before its answer came: each record is
// there once.
func TestSinkCut(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	p := newProxy(t, h.dsn)
	d := deliver(t, p.dsn, quiet())
	const records = 3000
	for n := 0; n < records; n += 50 {
		var batch []outbox.Record
		for i := range 50 {
			batch = append(batch, kept(n+i, fmt.Sprintf(keptDocument, n+i)))
		}
		if err := d.box.Append(batch...); err != nil {
			t.Fatal(err)
		}
	}
	for p.cuts.Load() < 40 {
		time.Sleep(10 * time.Millisecond)
	}
	p.calm.Store(true)
	d.end(t)
	got := row(t, f.super, "SELECT count(*) AS rows, count(DISTINCT seq) AS seqs, min(seq), max(seq) FROM fleet.detections WHERE host_id = $1", h.HostID)
	if got["rows"] != float64(records) || got["seqs"] != float64(records) || got["min"] != 1.0 || got["max"] != float64(records) {
		t.Errorf("got %v", got)
	}
	t.Logf("%d connections cut, %d errors", p.cuts.Load(), d.runner.Stats().Errors)
}

// TestSinkUnanswered takes the answers away that come after a COMMIT: what was committed is sent again, and is a duplicate.
func TestSinkUnanswered(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	p := newProxy(t, h.dsn)
	p.swallow.Store(5)
	var log strings.Builder
	d := deliver(t, p.dsn, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	const records = 100
	var batch []outbox.Record
	for n := range records {
		batch = append(batch, kept(n, fmt.Sprintf(keptDocument, n)))
	}
	if err := d.box.Append(batch...); err != nil {
		t.Fatal(err)
	}
	d.end(t)
	if n := one[int](t, f.super, "SELECT count(*)::int FROM fleet.detections WHERE host_id = $1", h.HostID); n != records {
		t.Errorf("%d records, want %d", n, records)
	}
	if p.cuts.Load() != 5 || !strings.Contains(log.String(), "accepted=0 duplicates=100") {
		t.Errorf("%d answers were taken away, and the log says\n%s", p.cuts.Load(), log.String())
	}
}

// TestSinkRevoked: what a revoked host has to say waits, and it is told why.
func TestSinkRevoked(t *testing.T) {
	f := newFleet(t)
	h := f.enroll("a")
	if _, err := db.Revoke(t.Context(), f.ops, h.Role); err != nil {
		t.Fatal(err)
	}
	to, err := db.NewSink(db.SinkConfig{DSN: h.dsn, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if err := to.Deliver(t.Context(), []outbox.Record{kept(1, "{}")}); err == nil || !strings.Contains(err.Error(), "not permitted to log in") {
		t.Errorf("got %v", err)
	}
	if err := to.Close(); err != nil {
		t.Error(err)
	}
}

// proxy stands between a sink and its server. While it is not calm it cuts connections after a random number of bytes; or it takes away
// answers to long requests.
type proxy struct {
	dsn     string
	cuts    atomic.Int64
	swallow atomic.Int64 // answers to take away
	calm    atomic.Bool
	slow    atomic.Bool  // some bytes at a time
	stand   sync.RWMutex // held: nothing is carried, and nothing is closed
}

// carried is a connection to which a calm proxy writes.
type carried struct {
	net.Conn
	by *proxy
}

func (c carried) Write(data []byte) (n int, err error) {
	for n < len(data) && err == nil {
		most := len(data) - n
		if c.by.slow.Load() {
			most = min(most, 500)
			time.Sleep(time.Millisecond)
		}
		c.by.stand.RLock()
		var m int
		m, err = c.Conn.Write(data[n : n+most])
		c.by.stand.RUnlock()
		n += m
	}
	return n, err
}

func newProxy(t *testing.T, dsn string) *proxy {
	t.Helper()
	config, err := db.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	server := net.JoinHostPort(config.Host, fmt.Sprint(config.Port))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	p := &proxy{dsn: strings.Replace(dsn, fmt.Sprint(config.Port), port, 1)}
	var open sync.WaitGroup
	t.Cleanup(func() { l.Close(); open.Wait() })
	open.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { p.carry(client, server) })
		}
	})
	return p
}

func (p *proxy) carry(client net.Conn, server string) {
	defer client.Close()
	to, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer to.Close()
	var both sync.WaitGroup
	end := func() { client.Close(); to.Close() }
	if p.swallow.Load() > 0 {
		both.Go(func() { defer end(); p.withoutAnswer(client, to) })
		both.Wait()
		return
	}
	pass := func(dst, src net.Conn, most int64) {
		defer end()
		if p.calm.Load() {
			_, _ = io.Copy(carried{dst, p}, src)
		} else if n, _ := io.CopyN(dst, src, most); n == most {
			p.cuts.Add(1)
		}
	}
	both.Go(func() { pass(to, client, 3000+rand.Int64N(60_000)) })
	both.Go(func() { pass(client, to, 2000+rand.Int64N(4000)) })
	both.Wait()
}

// longRequest is more than a connection takes to be set up.
const longRequest = 20_000

// withoutAnswer carries a connection until the server answers a long request.
func (p *proxy) withoutAnswer(client, server net.Conn) {
	var sent atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(io.MultiWriter(server, counter{&sent}), client)
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := server.Read(buf)
		if err != nil {
			break
		}
		if sent.Load() > longRequest {
			if p.swallow.Add(-1) == 0 {
				p.calm.Store(true)
			}
			p.cuts.Add(1)
			break
		}
		if _, err := client.Write(buf[:n]); err != nil {
			break
		}
	}
	client.Close()
	<-done
}

// counter counts bytes.
type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}
