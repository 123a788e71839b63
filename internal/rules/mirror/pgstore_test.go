package mirror_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"bittern/internal/db"
	"bittern/internal/db/pgtest"
	"bittern/internal/rules"
	"bittern/internal/rules/fsstore"
	"bittern/internal/rules/mirror"
	"bittern/internal/rules/storetest"
)

func migrated(ctx context.Context, conn *pgx.Conn) error {
	_, err := db.Migrate(ctx, conn)
	return err
}

var shared = pgtest.Shared{Prepare: migrated, Copied: migrated}

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// brief is how long a file that vanished may come back.
const brief = 20 * time.Millisecond

// childVariable says that this is the process that runs the suite.
const childVariable = "BITTERN_TEST_CONFORMANCE"

// TestConformance: a directory is published whenever it is edited, and a host takes its rules from the database. It has a process of its
// own, since Break lets the process write to no file, and the one that go test watches keeps a log.
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	if os.Getenv(childVariable) == "" {
		run := flag.Lookup("test.run").Value.String()
		if !strings.Contains(run, t.Name()) {
			run = "^" + t.Name() + "$"
		}
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.count=1", "-test.run="+run)
		cmd.Env = append(os.Environ(), childVariable+"=1")
		out, err := cmd.CombinedOutput()
		switch {
		case bytes.Contains(out, []byte("\n--- SKIP: "+t.Name()+" ")):
			t.Skipf("%s", out)
		case err != nil || !bytes.Contains(out, []byte("\n--- PASS: "+t.Name()+" ")):
			t.Fatalf("%v:\n%s", err, out)
		}
		t.Logf("%d checks were passed", bytes.Count(out, []byte("    --- PASS: "+t.Name()+"/")))
		return
	}
	key := newKey(t)
	storetest.Run(t, func(t *testing.T, clock *storetest.Clock) storetest.Backend { return newBackend(t, clock, key) })
}

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func parse(path string, data []byte, lists rules.Lists) *rules.File {
	return rules.Parse(path, data, rules.Options{Lists: lists})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func makeDir(t testing.TB, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	must(t, os.Mkdir(dir, 0o700))
	return dir
}

// backend is a publisher, a database, and a host with a store.
type backend struct {
	*fsstore.Store
	master, stage string // what is edited, and where files are written first
	published     *pgx.Conn
	client        *client
	cfg           fsstore.Config
	together      bool
}

func newBackend(t *testing.T, clock *storetest.Clock, key ed25519.PrivateKey) *backend {
	d := shared.Database(t)
	ops := d.Connect(t, "fleet_operator")
	b := &backend{master: makeDir(t, "master"), stage: t.TempDir(), published: ops}
	publish(t, d, b.master, key)
	b.client = &client{
		dsn: enroll(t, d, ops, "web-1"), log: slog.New(slog.DiscardHandler),
		cfg: mirror.Config{Dir: makeDir(t, "fleet"), Keys: []ed25519.PublicKey{key.Public().(ed25519.PublicKey)}, Log: slog.New(slog.DiscardHandler)},
	}
	b.cfg = fsstore.Config{
		Parse: parse, Logger: slog.New(slog.DiscardHandler), DeleteGrace: brief, Clock: clock,
		States: filepath.Join(t.TempDir(), "state", "states"),
	}
	b.start(t)
	t.Cleanup(b.stop)
	if strings.Contains(t.Name(), "failure") {
		// Or the file would be empty at the end, and to write nothing does not fail.
		must(t, b.SetState("OTHER", rules.RuleState{State: rules.Disabled}, "newBackend"))
	}
	return b
}

// publish watches a directory until the test ends.
func publish(t *testing.T, d *pgtest.Database, dir string, key ed25519.PrivateKey) {
	p, err := db.NewPublisher(t.Context(), db.PublishConfig{
		Dir: dir, Parse: parse, Key: key, Scope: "fleet", AllowBad: true, Log: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	w := &db.Watcher{
		Publisher: p,
		Connect:   func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, d.DSN("fleet_operator")) },
		Done: func(_ db.Published, err error) {
			if err != nil {
				t.Error(err)
			}
		},
	}
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		p.Close()
	})
}

// enroll makes a host and returns how it connects, over TLS.
func enroll(t *testing.T, d *pgtest.Database, ops *pgx.Conn, name string) string {
	t.Helper()
	e, err := db.Enroll(t.Context(), ops, name, nil)
	must(t, err)
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), d.DSN("postgres"))
		if err == nil {
			_, err = conn.Exec(context.Background(), "DROP OWNED BY "+e.Role+"; DROP ROLE "+e.Role)
			err = errors.Join(err, conn.Close(context.Background()))
		}
		if err != nil {
			t.Error(err)
		}
	})
	dsn, err := d.TLS(t.TempDir(), e.Role)
	must(t, err)
	return dsn
}

func (b *backend) start(t testing.TB) *rules.Subscription {
	must(t, b.client.start(t.Context()))
	b.cfg.Dir = b.client.mirror.RulesDir()
	s, err := fsstore.New(b.cfg)
	must(t, err)
	sub := s.Changes()
	must(t, s.Start())
	b.Store = s
	go b.client.run()
	return sub
}

func (b *backend) stop() {
	b.client.stop()
	b.Stop()
}

// settled waits until what was edited is published and, if it runs, the host has it. So each edit is a publication, and is taken by
// itself: what the suite expects of two edits is not what it expects of a set.
func (b *backend) settled(t testing.TB) {
	t.Helper()
	if b.together {
		return
	}
	var files []mirror.File
	entries, err := os.ReadDir(b.master)
	must(t, err)
	for _, e := range entries {
		if fsstore.Accepts(e.Name()) {
			data, err := os.ReadFile(filepath.Join(b.master, e.Name()))
			must(t, err)
			files = append(files, mirror.File{Name: e.Name(), Blob: mirror.BlobOf(data)})
		}
	}
	want, _ := mirror.NewManifest(files, "", "", time.Time{})
	var id, content string
	for deadline := time.Now().Add(storetest.Patience); ; time.Sleep(time.Millisecond) {
		err := b.published.QueryRow(context.Background(), "SELECT publication, content FROM fleet.publications JOIN fleet.ruleset_assignments USING (publication)").Scan(&id, &content)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			t.Fatal(err)
		}
		if content == want.Content() && (b.client.ended == nil || b.client.mirror.Publication() == id) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it was not published, or not taken: %v", b.client.mirror.Problem())
		}
	}
}

func (b *backend) Put(t testing.TB, name, text string) {
	t.Helper()
	temp := filepath.Join(b.stage, name)
	must(t, os.WriteFile(temp, []byte(text), 0o600))
	must(t, os.Rename(temp, filepath.Join(b.master, name)))
	b.settled(t)
}

func (b *backend) Remove(t testing.TB, name string) {
	t.Helper()
	must(t, os.Remove(filepath.Join(b.master, name)))
	b.settled(t)
}

func (b *backend) Rename(t testing.TB, from, to string) {
	t.Helper()
	must(t, os.Rename(filepath.Join(b.master, from), filepath.Join(b.master, to)))
	b.settled(t)
}

func (b *backend) Together(t testing.TB, edit func()) {
	t.Helper()
	held, err := fsstore.Hold(b.master, "a test")
	must(t, err)
	b.together = true
	edit()
	b.together = false
	must(t, held.Release())
	b.settled(t)
}

func (b *backend) Restart(t testing.TB, meanwhile func()) *rules.Subscription {
	t.Helper()
	b.stop()
	meanwhile()
	return b.start(t)
}

// Break lets no file grow. Those of states are never empty: see newBackend.
func (b *backend) Break(t testing.TB, broken bool) {
	t.Helper()
	var limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit))
	limit.Cur = limit.Max
	if broken {
		limit.Cur = 0
	}
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
}

// client is an agent's link to the database, as far as rules go.
type client struct {
	dsn    string
	cfg    mirror.Config
	log    *slog.Logger
	mirror *mirror.Mirror
	conn   *pgx.Conn
	cancel context.CancelFunc
	ctx    context.Context
	ended  chan struct{} // nil: it does not run
}

// start opens the mirror, and takes what there is before a store is opened.
func (c *client) start(ctx context.Context) (err error) {
	if c.mirror, err = mirror.Open(c.cfg); err != nil {
		return err
	}
	if c.conn, err = pgx.Connect(ctx, c.dsn); err != nil {
		return err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.ended = make(chan struct{})
	return c.poll(ctx)
}

func (c *client) poll(ctx context.Context) error {
	var named *string
	if err := c.conn.QueryRow(ctx, "SELECT publication FROM fleet.agent_sync_v1(NULL, NULL, NULL)").Scan(&named); err != nil {
		return err
	}
	known := c.mirror.Publication()
	if named == nil || *named == known {
		return nil
	}
	p, err := db.ReadPublication(ctx, c.conn, known)
	if err != nil || p == nil {
		return err
	}
	return c.mirror.Take(ctx, *p, func(ctx context.Context, sums []string) (map[string][]byte, error) {
		return db.ReadBlobs(ctx, c.conn, sums)
	})
}

func (c *client) run() {
	defer close(c.ended)
	for c.ctx.Err() == nil {
		if err := c.poll(c.ctx); err != nil && c.ctx.Err() == nil {
			c.log.Error("rules were not taken", "error", err)
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-c.ctx.Done():
		}
	}
}

func (c *client) stop() {
	if c.ended == nil {
		return
	}
	c.cancel()
	<-c.ended
	c.ended = nil
	_ = c.conn.Close(context.Background())
}
