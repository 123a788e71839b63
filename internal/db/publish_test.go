package db_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"bittern/internal/db"
	"bittern/internal/rules"
	"bittern/internal/rules/fsstore"
	"bittern/internal/rules/mirror"
	"bittern/internal/rules/storetest"
)

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// toPublish is a directory of rules that is published for the fleet.
func toPublish(t testing.TB, key ed25519.PrivateKey) db.PublishConfig {
	return db.PublishConfig{
		Dir: t.TempDir(), Key: key, Unsigned: key == nil, Scope: "fleet", Log: slog.New(slog.DiscardHandler),
		Parse: func(path string, data []byte, lists rules.Lists) *rules.File {
			return rules.Parse(path, data, rules.Options{Lists: lists})
		},
	}
}

func write(t testing.TB, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".tmp", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

// counted is a host's connection whose bytes are counted, TLS included.
func (f *fleet) counted(h *host) (*pgx.Conn, *atomic.Int64) {
	f.t.Helper()
	cfg, err := pgx.ParseConfig(h.dsn)
	if err != nil {
		f.t.Fatal(err)
	}
	bytes := new(atomic.Int64)
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		return countedConn{c, bytes}, err
	}
	conn, err := pgx.ConnectConfig(f.t.Context(), cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn, bytes
}

type countedConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (c countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

func (c countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.bytes.Add(int64(n))
	return n, err
}

func takeFrom(t testing.TB, conn *pgx.Conn, m *mirror.Mirror) {
	t.Helper()
	p, err := db.ReadPublication(t.Context(), conn, m.Publication())
	if err != nil || p == nil {
		t.Fatalf("there is no publication: %v", err)
	}
	err = m.Take(t.Context(), *p, func(ctx context.Context, sums []string) (map[string][]byte, error) {
		return db.ReadBlobs(ctx, conn, sums)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestOneEditOfThousands: an edit costs a host little, whatever the others are.
func TestOneEditOfThousands(t *testing.T) {
	if testing.Short() {
		t.Skip("makes thousands of files")
	}
	const files, most = 5000, 40 << 10
	f, key := newFleet(t), newKey(t)
	h := f.enroll("a")
	cfg := toPublish(t, key)
	for i := range files {
		write(t, cfg.Dir, fmt.Sprintf("r%d.yml", i), storetest.Text(fmt.Sprintf("R%d", i), 1))
	}
	write(t, cfg.Dir, "lists/tools.yml", "- /nc\n")
	began := time.Now()
	p, err := db.NewPublisher(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	read := time.Since(began)
	began = time.Now()
	done, err := p.Publish(t.Context(), f.ops)
	if err != nil || !done.New || done.Files != files+1 || done.Rules != files {
		t.Fatalf("%+v, %v", done, err)
	}
	t.Logf("%d files: read in %v, published in %v", files, read, time.Since(began))
	conn, bytes := f.counted(h)
	m, err := mirror.Open(mirror.Config{Dir: t.TempDir(), Keys: []ed25519.PublicKey{key.Public().(ed25519.PublicKey)}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	bytes.Store(0)
	began = time.Now()
	takeFrom(t, conn, m)
	t.Logf("a host that has nothing: %d bytes, %v", bytes.Load(), time.Since(began))
	store, err := fsstore.Open(fsstore.Config{Dir: m.RulesDir(), Parse: cfg.Parse, Logger: cfg.Log})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(store.Load()); n != files || len(store.Problems()) > 0 {
		t.Errorf("%d rules run, with problems %v", n, store.Problems())
	}
	store.Stop()
	write(t, cfg.Dir, "r77.yml", storetest.Text("R77", 2))
	began = time.Now()
	if done, err = p.Publish(t.Context(), f.ops); err != nil || !done.New {
		t.Fatalf("%+v, %v", done, err)
	}
	t.Logf("one edit: published in %v", time.Since(began))
	bytes.Store(0)
	began = time.Now()
	takeFrom(t, conn, m)
	t.Logf("one edit for a host: %d bytes, %v", bytes.Load(), time.Since(began))
	if n := bytes.Load(); n > most {
		t.Errorf("one edit costs %d bytes, want at most %d", n, most)
	}
	if data, err := os.ReadFile(filepath.Join(m.RulesDir(), "r77.yml")); err != nil || string(data) != storetest.Text("R77", 2) {
		t.Errorf("the host has %q, %v", data, err)
	}
	if n := one[int](t, f.super, "SELECT count(*)::int FROM fleet.ruleset_rules WHERE ruleset = $1", done.Ruleset); n != files {
		t.Errorf("the set has %d rules", n)
	}
}

// TestSameIsPublishedOnce: also by a directory elsewhere, but not with another key.
func TestSameIsPublishedOnce(t *testing.T) {
	f, key := newFleet(t), newKey(t)
	cfg := toPublish(t, key)
	write(t, cfg.Dir, "a.yml", storetest.Listed("R1", 1))
	write(t, cfg.Dir, "lists/tools.yml", "- /nc\n")
	first, err := db.Publish(t.Context(), f.ops, cfg)
	if err != nil || !first.New || first.Generation == 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := db.Publish(t.Context(), f.ops, cfg)
	if err != nil || again.New || again.Generation != 0 || again.Publication != first.Publication {
		t.Errorf("once more: %+v, %v", again, err)
	}
	body := one[string](t, f.ops, "SELECT body FROM fleet.rule_versions WHERE rule_id = 'R1'")
	if !strings.Contains(body, "/nc") || !strings.Contains(body, "rule_id: R1") {
		t.Errorf("the console shows %q", body)
	}
	if attack := one[string](t, f.ops, "SELECT attack::text FROM fleet.rules"); attack != "{TA0011,T1105}" {
		t.Errorf("it emits %s", attack)
	}
	write(t, cfg.Dir, "lists/tools.yml", "- /socat\n")
	second, err := db.Publish(t.Context(), f.ops, cfg)
	if err != nil || !second.New || second.Ruleset == first.Ruleset {
		t.Errorf("another list: %+v, %v", second, err)
	}
	write(t, cfg.Dir, "lists/tools.yml", "- /nc\n")
	if back, err := db.Publish(t.Context(), f.ops, cfg); err != nil || back.New || back.Publication != first.Publication || back.Generation == 0 {
		t.Errorf("back: %+v, %v", back, err)
	}
	cfg.Key = newKey(t)
	other, err := db.Publish(t.Context(), f.ops, cfg)
	if err != nil || !other.New || other.Ruleset != first.Ruleset {
		t.Errorf("another key: %+v, %v", other, err)
	}
	cfg.Key, cfg.Unsigned = nil, true
	if none, err := db.Publish(t.Context(), f.ops, cfg); err != nil || !none.New || none.KeyID != "" {
		t.Errorf("no key: %+v, %v", none, err)
	}
	for _, bad := range []db.PublishConfig{{Key: cfg.Key}, {Dir: cfg.Dir, Parse: cfg.Parse, Log: cfg.Log, Scope: "fleet"},
		{Dir: cfg.Dir, Parse: cfg.Parse, Log: cfg.Log, Unsigned: true, Scope: "group"}, {Dir: cfg.Dir, Parse: cfg.Parse, Log: cfg.Log, Unsigned: true, Scope: "world"}} {
		if _, err := db.Publish(t.Context(), f.ops, bad); err == nil {
			t.Errorf("was accepted: %+v", bad)
		}
	}
}

func TestBadRulesAreNotPublished(t *testing.T) {
	f := newFleet(t)
	cfg := toPublish(t, nil)
	if _, err := db.Publish(t.Context(), f.ops, cfg); !errors.Is(err, db.ErrNoRules) {
		t.Errorf("an empty directory: %v", err)
	}
	write(t, cfg.Dir, "a.yml", storetest.Join(storetest.Text("R1", 1), storetest.BadText("R2")))
	write(t, cfg.Dir, "b.yml", storetest.Listed("R3", 1))
	var bad *db.BadRulesError
	_, err := db.Publish(t.Context(), f.ops, cfg)
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), "/a.yml:19:13: ") || !strings.Contains(err.Error(), `/b.yml:7:43: unknown list "tools"`) {
		t.Errorf("got %v", err)
	}
	if n := one[int](t, f.ops, "SELECT count(*)::int FROM fleet.blobs"); n != 0 {
		t.Errorf("%d blobs", n)
	}
	cfg.AllowBad = true
	done, err := db.Publish(t.Context(), f.ops, cfg)
	if err != nil || done.Rules != 1 || done.Files != 2 || !done.Problems.Failed() {
		t.Errorf("%+v, %v", done, err)
	}
	if how := one[string](t, f.ops, "SELECT manifest FROM fleet.publications"); !strings.Contains(how, "\ntake apart\n") {
		t.Errorf("the manifest says %s", how)
	}
	// A file that can't be read would be one that was removed.
	write(t, cfg.Dir, "large.yml", strings.Repeat("#", mirror.MaxFile+1))
	if _, err := db.Publish(t.Context(), f.ops, cfg); !errors.As(err, &bad) || !strings.Contains(err.Error(), "large.yml: file has 1048577 bytes") {
		t.Errorf("got %v", err)
	}
	cfg.Scope, cfg.Target = "group", "none"
	if err := os.Remove(filepath.Join(cfg.Dir, "large.yml")); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Publish(t.Context(), f.ops, cfg); state(err) != "P0002" {
		t.Errorf("got %v", err)
	}
	if _, err := db.Publish(t.Context(), f.Connect(t, "fleet_console"), cfg); state(err) != "42501" && state(err) != "25006" {
		t.Errorf("the console publishes: %v", err)
	}
}

// TestHeldDirectoryIsNotPublished until the hold is gone; then it is, with all that was edited.
func TestHeldDirectoryIsNotPublished(t *testing.T) {
	f := newFleet(t)
	cfg := toPublish(t, nil)
	write(t, cfg.Dir, "a.yml", storetest.Text("R1", 1))
	held, err := fsstore.Hold(cfg.Dir, "somebody")
	if err != nil {
		t.Fatal(err)
	}
	waits := make(chan string, 1)
	cfg.Waiting = func(by string) { waits <- by }
	var done db.Published
	ended := make(chan error, 1)
	go func() {
		var err error
		done, err = db.Publish(t.Context(), f.ops, cfg)
		ended <- err
	}()
	if by := <-waits; by != "somebody" {
		t.Errorf("it waits for %q", by)
	}
	write(t, cfg.Dir, "b.yml", storetest.Text("R2", 1))
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || done.Rules != 2 {
		t.Errorf("%+v, %v", done, err)
	}
	held, err = fsstore.Hold(cfg.Dir, "somebody")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cfg.Waiting = func(string) { cancel() }
	if _, err := db.Publish(ctx, f.ops, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
}

// watched runs a watcher; what it says comes by a channel.
type said struct {
	db.Published
	err error
}

func watched(t *testing.T, cfg db.PublishConfig, connect func(context.Context) (*pgx.Conn, error)) (<-chan said, <-chan error) {
	t.Helper()
	p, err := db.NewPublisher(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	says, ended := make(chan said, 100), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	w := &db.Watcher{Publisher: p, Connect: connect, Retry: time.Millisecond, Done: func(done db.Published, err error) { says <- said{done, err} }}
	stopped := make(chan struct{})
	go func() {
		ended <- w.Run(ctx)
		close(stopped)
	}()
	t.Cleanup(func() {
		cancel()
		<-stopped
		p.Close()
	})
	return says, ended
}

// TestWatchGoesOn while the database is away, and while files are wrong.
func TestWatchGoesOn(t *testing.T) {
	f := newFleet(t)
	cfg := toPublish(t, newKey(t))
	write(t, cfg.Dir, "a.yml", storetest.Text("R1", 1))
	var away atomic.Int64
	away.Store(3)
	says, _ := watched(t, cfg, func(ctx context.Context) (*pgx.Conn, error) {
		if away.Add(-1) >= 0 {
			return nil, errors.New("it is away")
		}
		return pgx.Connect(ctx, f.DSN("fleet_operator"))
	})
	for range 3 {
		if s := <-says; s.err == nil || s.err.Error() != "it is away" {
			t.Errorf("got %+v", s)
		}
	}
	if s := <-says; s.err != nil || s.Rules != 1 {
		t.Errorf("got %+v", s)
	}
	how := func(publication string) string {
		manifest, err := mirror.ParseManifest([]byte(one[string](t, f.ops, "SELECT manifest FROM fleet.publications WHERE publication = $1", publication)))
		if err != nil {
			t.Fatal(err)
		}
		return string(manifest.How)
	}
	write(t, cfg.Dir, "b.yml", storetest.Text("R2", 1))
	if s := <-says; s.err != nil || s.Rules != 2 || how(s.Publication) != "single" {
		t.Errorf("got %+v", s)
	}
	write(t, cfg.Dir, "b.yml", storetest.BadText("R2"))
	var bad *db.BadRulesError
	if s := <-says; !errors.As(s.err, &bad) {
		t.Errorf("got %+v", s)
	}
	held, err := fsstore.Hold(cfg.Dir, "a test")
	if err != nil {
		t.Fatal(err)
	}
	write(t, cfg.Dir, "b.yml", storetest.Text("R2", 2))
	write(t, cfg.Dir, "c.yml", storetest.Text("R3", 1))
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	if s := <-says; s.err != nil || s.Rules != 3 || how(s.Publication) != "together" {
		t.Errorf("got %+v", s)
	}
	// The connection is cut, while nothing is published and while something is.
	for i := range 3 {
		exec(t, f.super, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'fleet_operator' AND pid <> $1", f.ops.PgConn().PID())
		write(t, cfg.Dir, "a.yml", storetest.Text("R1", 10+i))
		s := <-says
		for s.err != nil {
			s = <-says
		}
		if text := one[string](t, f.ops, "SELECT body FROM fleet.rule_versions JOIN fleet.ruleset_rules USING (content_hash) WHERE ruleset = $1 AND ruleset_rules.rule_id = 'R1'", s.Ruleset); !strings.Contains(text, fmt.Sprintf("needle-%d'", 10+i)) {
			t.Errorf("published is %s", text)
		}
	}
}

func TestWatchEndsWhenItIsRefused(t *testing.T) {
	f := newFleet(t)
	cfg := toPublish(t, nil)
	cfg.Scope, cfg.Target = "host", "nobody"
	write(t, cfg.Dir, "a.yml", storetest.Text("R1", 1))
	_, ended := watched(t, cfg, func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, f.DSN("fleet_operator")) })
	if err := <-ended; state(err) != "P0002" {
		t.Errorf("got %v", err)
	}
}
