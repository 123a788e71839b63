package fleet

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"bittern/internal/db"
	"bittern/internal/db/pgtest"
	"bittern/internal/rules"
	"bittern/internal/rules/fleetstate"
)

func migrated(ctx context.Context, conn *pgx.Conn) error {
	_, err := db.Migrate(ctx, conn)
	return err
}

var shared = pgtest.Shared{Prepare: migrated, Copied: migrated}

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

// store is a fleet's store with its operator.
type store struct {
	*pgtest.Database
	super, ops *pgx.Conn
}

func newStore(t testing.TB) *store {
	t.Helper()
	d := shared.Database(t)
	s := &store{Database: d, super: d.Connect(t, "postgres"), ops: d.Connect(t, "fleet_operator")}
	s.exec(t, "UPDATE fleet.settings SET sync_ms = 100, heartbeat_s = 1")
	return s
}

func (s *store) exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := s.super.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func one[T any](t testing.TB, s *store, sql string, args ...any) (v T) {
	t.Helper()
	if err := s.super.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// enroll makes a host, and returns how it connects over TLS.
func (s *store) enroll(t testing.TB, name string) (db.Enrolment, string) {
	t.Helper()
	e, err := db.Enroll(t.Context(), s.ops, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	dsn, err := s.TLS(t.TempDir(), e.Role)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Roles belong to the cluster, and sessions that just ended may still be there.
		if _, err := s.super.Exec(context.Background(), "DROP OWNED BY "+e.Role+"; DROP ROLE "+e.Role); err != nil {
			t.Errorf("dropping role %s: %v", e.Role, err)
		}
	})
	return e, dsn
}

// bare is a host's own store that has no rules and no states but those that are set.
type bare struct {
	mu     sync.Mutex
	states map[string]rules.RuleState
	feed   rules.Feed
}

func (b *bare) Load() []rules.Stated { return nil }

func (b *bare) State(id string) rules.RuleState {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.states[id]
}

func (b *bare) SetState(id string, state rules.RuleState, by string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.states == nil {
		b.states = map[string]rules.RuleState{}
	}
	state.SetBy, state.SetAt = by, time.Now()
	b.states[id] = state
	b.feed.Publish(rules.Change{Kind: rules.StateSet, RuleID: id, State: state, By: by, Seen: time.Now()})
	return nil
}

func (b *bare) Changes() *rules.Subscription { return b.feed.Subscribe() }
func (b *bare) Subscribe() ([]rules.Stated, *rules.Subscription) {
	return nil, b.feed.Subscribe()
}
func (b *bare) Problems() []rules.SourceProblems { return nil }
func (b *bare) Health() error                    { return nil }
func (b *bare) Close() error                     { b.feed.Close(); return nil }

// host is a simulated one: what it says is made up, how it talks is not.
type host struct {
	mu        sync.Mutex
	inventory db.Inventory
	report    db.Report
}

func newHost(name string) *host {
	h := &host{inventory: db.Inventory{
		Hostname: name, Kernel: "6.1.0", Arch: "x86_64", Distro: "Debian", AgentVersion: "v1", Hooks: map[string]string{"process_exec": "tp_btf"},
		MachineID: "m-" + name, BootID: "b2546e2f-55ef-48ff-b51e-9c6f71ecd75b",
	}}
	h.runs(map[string]string{"R1": strings.Repeat("a", 64), "R2": strings.Repeat("b", 64)})
	return h
}

func (h *host) runs(all map[string]string, exceptions ...db.Exception) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.report = db.Report{Ruleset: db.RulesetOf(all), Rules: all, Exceptions: exceptions}
}

func (h *host) Inventory() db.Inventory {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.inventory
}

func (h *host) Heartbeat() db.Heartbeat {
	return db.Heartbeat{OutboxRecords: 7, RSS: 1 << 20, CPU: 0.25}
}

func (h *host) Report(context.Context) (db.Report, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.report
	r.Exceptions = slices.Clone(r.Exceptions)
	return r, nil
}

// linked is a host with its link.
type linked struct {
	*host
	*Link
	db.Enrolment
	states *fleetstate.Store
	under  *bare
	stop   func()
}

// link runs a link until the test ends, or until it is stopped.
func (s *store) link(t testing.TB, name string, options ...func(*Config)) *linked {
	t.Helper()
	e, dsn := s.enroll(t, name)
	return s.relink(t, e, dsn, t.TempDir()+"/states.json", options...)
}

func (s *store) relink(t testing.TB, e db.Enrolment, dsn, file string, options ...func(*Config)) *linked {
	t.Helper()
	l := &linked{host: newHost(e.Role), under: new(bare), Enrolment: e}
	var err error
	if l.states, err = fleetstate.New(fleetstate.Config{Under: l.under, File: file, Log: quiet()}); err != nil {
		t.Fatal(err)
	}
	cfg := Config{DSN: dsn, Host: l.host, States: l.states, Log: quiet(), Waits: Waits{First: 50 * time.Millisecond, Most: 200 * time.Millisecond, Call: 2 * time.Second}}
	for _, o := range options {
		o(&cfg)
	}
	if l.Link, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	l.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		if err := l.states.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(l.stop)
	return l
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// eventually waits for something to become true, for longer than it ever takes.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}
