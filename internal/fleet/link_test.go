package fleet

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bittern/internal/db"
	"bittern/internal/rules"
	"bittern/internal/rules/fleetstate"
)

func (s *store) set(t testing.TB, scope string, target any, rule, state string, lasts any) {
	t.Helper()
	if _, err := s.ops.Exec(t.Context(), "SELECT fleet.set_state_v1($1, $2, $3, $4, CASE WHEN $4 = 'clipped' THEN 0.25 END::real, $5::text::interval, 'why', 'alice')",
		scope, target, rule, state, lasts); err != nil {
		t.Fatal(err)
	}
}

// has waits until a rule has a state, given as "disabled host", or "" for none.
func (l *linked) has(t testing.TB, rule, want string) {
	t.Helper()
	eventually(t, rule+" to be "+want, func() bool {
		s := l.states.State(rule)
		return want == "" && s.IsZero() || want == s.State.String()+" "+s.Scope
	})
}

// TestLink looks at what a host that is linked says of itself, and says anew.
func TestLink(t *testing.T) {
	s := newStore(t)
	a, b := s.link(t, "a"), s.link(t, "b")
	eventually(t, "the first heartbeats", func() bool {
		return one[int](t, s, "SELECT count(*)::int FROM fleet.host_heartbeat WHERE outbox_records = 7") == 2
	})
	eventually(t, "the reports", func() bool { return one[int](t, s, "SELECT count(*)::int FROM fleet.host_rulesets") == 2 })
	// The set itself follows, if the database does not know it yet.
	eventually(t, "the rules", func() bool {
		return one[int](t, s, "SELECT count(*)::int FROM fleet.host_rule_status WHERE status = 'live'") == 4
	})
	if n := one[int](t, s, "SELECT count(*)::int FROM fleet.rulesets"); n != 1 {
		t.Errorf("%d sets of rules, want 1: both hosts run the same", n)
	}
	const which = "SELECT hostname || ' ' || kernel || ' ' || (hooks->>'process_exec') FROM fleet.host_inventory WHERE host_id = $1"
	if got := one[string](t, s, which, a.HostID); got != a.Role+" 6.1.0 tp_btf" {
		t.Errorf("inventory %q", got)
	}

	changed := one[time.Time](t, s, "SELECT changed_at FROM fleet.host_inventory WHERE host_id = $1", b.HostID)
	a.host.mu.Lock()
	a.inventory.Hooks = map[string]string{"process_exec": "tp_btf", "file_open": "lsm"}
	a.host.mu.Unlock()
	eventually(t, "the new inventory", func() bool {
		return one[int](t, s, "SELECT count(*)::int FROM fleet.host_inventory WHERE hooks ? 'file_open'") == 1
	})
	if again := one[time.Time](t, s, "SELECT changed_at FROM fleet.host_inventory WHERE host_id = $1", b.HostID); again != changed {
		t.Error("the inventory of a host that has not changed was written again")
	}

	since := time.Now().UTC().Truncate(time.Second)
	a.runs(map[string]string{"R1": strings.Repeat("c", 64)}, db.Exception{RuleID: "R1", Status: "refused", Error: "no room", Kernel: "6.1.0", Since: since})
	a.RulesChanged()
	eventually(t, "the exception", func() bool {
		return one[int](t, s, "SELECT count(*)::int FROM fleet.host_rule_status WHERE host_id = $1 AND rule_id = 'R1' AND status = 'refused' AND error = 'no room' AND since = $2", a.HostID, since) == 1
	})
	a.runs(map[string]string{"R1": strings.Repeat("c", 64)})
	a.RulesChanged()
	eventually(t, "its end", func() bool { return one[int](t, s, "SELECT count(*)::int FROM fleet.host_rule_exceptions") == 0 })

	s.exec(t, "UPDATE fleet.settings SET drain_rows_s = 42, heartbeat_s = 3000")
	drain := new(Drain)
	c := s.link(t, "c", func(cfg *Config) { cfg.Drain = drain })
	eventually(t, "what the server wants", func() bool { return drain.RowsPerSecond() == 42 && c.Status().Pace.Heartbeat == 3000*time.Second })
	eventually(t, "the second heartbeat, which says what the first sync has brought", func() bool {
		return one[int](t, s, "SELECT count(*)::int FROM fleet.host_heartbeat WHERE host_id = $1 AND applied_gen > 0", c.HostID) == 1
	})
	seen := one[time.Time](t, s, "SELECT last_seen FROM fleet.host_heartbeat WHERE host_id = $1", c.HostID)
	synced := c.Status().Synced
	eventually(t, "more syncs", func() bool { return c.Status().Synced.Sub(synced) > time.Second })
	if again := one[time.Time](t, s, "SELECT last_seen FROM fleet.host_heartbeat WHERE host_id = $1", c.HostID); again != seen {
		t.Error("a heartbeat came before its time")
	}
	if st := c.Status(); !st.Connected || st.Host != c.UUID || c.Health() != nil || len(st.Stale(time.Now())) != 0 || st.ClockAhead.Abs() > time.Minute {
		t.Errorf("status %+v", st)
	}
}

// TestStates has operators give states, and take them back.
func TestStates(t *testing.T) {
	s := newStore(t)
	a, b := s.link(t, "a"), s.link(t, "b")
	s.set(t, "fleet", nil, "R1", "disabled", "1 hour")
	s.set(t, "host", "a", "R1", "clipped", nil)
	a.has(t, "R1", "clipped host")
	b.has(t, "R1", "disabled fleet")
	if st := a.states.State("R1"); st.ConfidenceMax != 0.25 || st.SetBy != "alice" || st.Reason != "why" || !st.ExpiresAt.IsZero() {
		t.Errorf("got %+v", st)
	}
	if _, err := s.ops.Exec(t.Context(), "SELECT fleet.clear_state_v1('host', 'a', 'R1')"); err != nil {
		t.Fatal(err)
	}
	a.has(t, "R1", "disabled fleet")
	if err := a.states.SetState("R1", rules.RuleState{Reason: "needed here"}, "bob"); err != nil {
		t.Fatal(err)
	}
	a.has(t, "R1", "enabled ")
	eventually(t, "the generation to be known as applied", func() bool {
		return one[bool](t, s, "SELECT bool_and(applied_gen = (SELECT gen FROM fleet.state_clock)) FROM fleet.host_heartbeat")
	})
	if n := b.Status().States; n != 1 {
		t.Errorf("%d states, want 1", n)
	}
}

// lockedOut keeps a host away from the server until it is let in again.
func (s *store) lockedOut(t testing.TB, l *linked) (letIn func()) {
	t.Helper()
	s.exec(t, "ALTER ROLE "+l.Role+" NOLOGIN")
	s.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", l.Role)
	eventually(t, "the link to be cut", func() bool { return !l.Link.Status().Connected })
	return func() { s.exec(t, "ALTER ROLE "+l.Role+" LOGIN") }
}

// TestCut: what counted goes on to count while there is no server, ends when it should, and what was missed comes after.
func TestCut(t *testing.T) {
	s := newStore(t)
	a := s.link(t, "a", func(c *Config) { c.Waits.Unsettling = time.Millisecond })
	s.set(t, "fleet", nil, "R1", "disabled", "1 hour")
	s.set(t, "host", "a", "R2", "clipped", "2 seconds")
	s.set(t, "fleet", nil, "R2", "disabled", "1 hour")
	a.has(t, "R1", "disabled fleet")
	a.has(t, "R2", "clipped host")
	letIn := s.lockedOut(t, a)
	s.set(t, "fleet", nil, "R3", "disabled", "1 hour")
	a.has(t, "R2", "disabled fleet")
	a.has(t, "R1", "disabled fleet")
	eventually(t, "the link to say why", func() bool {
		err := a.Health()
		return err != nil && strings.Contains(err.Error(), "not permitted to log in")
	})
	if a.states.State("R3") != (rules.RuleState{}) {
		t.Error("a state came in without a connection")
	}
	eventually(t, "states to be stale", func() bool { return len(a.Link.Status().Stale(time.Now())) == 1 })
	letIn()
	a.has(t, "R3", "disabled fleet")
	eventually(t, "the link to be well", func() bool { return a.Health() == nil })
}

// TestRestart starts an agent while there is no server.
func TestRestart(t *testing.T) {
	s := newStore(t)
	e, dsn := s.enroll(t, "a")
	file := t.TempDir() + "/states.json"
	a := s.relink(t, e, dsn, file)
	s.set(t, "fleet", nil, "R1", "disabled", "1 hour")
	a.has(t, "R1", "disabled fleet")
	letIn := s.lockedOut(t, a)
	a.stop()
	a = s.relink(t, e, dsn, file)
	if got := a.states.State("R1"); got.State != rules.Disabled {
		t.Errorf("after a restart: %+v", got)
	}
	if _, err := s.ops.Exec(t.Context(), "SELECT fleet.clear_state_v1('fleet', NULL, 'R1')"); err != nil {
		t.Fatal(err)
	}
	letIn()
	a.has(t, "R1", "")
}

// TestRestored puts a database back to what it was before.
func TestRestored(t *testing.T) {
	s := newStore(t)
	a := s.link(t, "a")
	s.set(t, "fleet", nil, "R1", "disabled", "1 hour")
	s.set(t, "fleet", nil, "R2", "disabled", "1 hour")
	a.has(t, "R2", "disabled fleet")
	letIn := s.lockedOut(t, a)
	s.exec(t, "DELETE FROM fleet.rule_state WHERE rule_id = 'R2'")
	s.exec(t, "UPDATE fleet.state_clock SET gen = gen - 1")
	letIn()
	a.has(t, "R2", "")
	a.has(t, "R1", "disabled fleet")

	// As far as before, but another history.
	letIn = s.lockedOut(t, a)
	s.exec(t, "DELETE FROM fleet.rule_state")
	s.exec(t, "UPDATE fleet.state_clock SET timeline = gen_random_uuid()")
	letIn()
	a.has(t, "R1", "")
}

// TestClone has two machines be one host.
func TestClone(t *testing.T) {
	s := newStore(t)
	e, dsn := s.enroll(t, "a")
	a := s.relink(t, e, dsn, t.TempDir()+"/states.json")
	eventually(t, "the first one", func() bool { return a.Link.Status().Connected })
	b := s.relink(t, e, dsn, t.TempDir()+"/states.json")
	b.host.mu.Lock()
	b.inventory.MachineID = "another"
	b.host.mu.Unlock()
	for _, l := range []*linked{a, b} {
		eventually(t, "both to know", func() bool { return l.Link.Status().Clone && l.Health() != nil })
	}
	if n := one[int](t, s, "SELECT cardinality(instances) FROM fleet.host_clones"); n != 2 {
		t.Errorf("%d instances, want 2", n)
	}
}

// TestRefused: what is wrong is said so that somebody can mend it, and it works again after that.
func TestRefused(t *testing.T) {
	s := newStore(t)
	a := s.link(t, "a", func(c *Config) { c.Waits.Unsettling = time.Millisecond })
	eventually(t, "the link", func() bool { return a.Link.Status().Connected })
	wrong := func(name, sql, want string) {
		s.exec(t, sql)
		s.exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", a.Role)
		eventually(t, name, func() bool { err := a.Health(); return err != nil && strings.Contains(err.Error(), want) })
	}
	right := func(name, sql string) {
		s.exec(t, sql)
		eventually(t, "the link after: "+name, func() bool { return a.Health() == nil })
	}
	wrong("a server that is read only", "ALTER ROLE "+a.Role+" SET default_transaction_read_only = on", "read-only")
	right("a server that is read only", "ALTER ROLE "+a.Role+" RESET default_transaction_read_only")
	wrong("an old schema", "ALTER FUNCTION fleet.agent_sync_v1 RENAME TO agent_sync_v0", "bittern db migrate")
	right("an old schema", "ALTER FUNCTION fleet.agent_sync_v0 RENAME TO agent_sync_v1")
	s.exec(t, "UPDATE fleet.hosts SET revoked_at = now()")
	wrong("a host that is revoked", "SELECT 1", "it is revoked")
	right("a host that is revoked", "UPDATE fleet.hosts SET revoked_at = NULL")

	// A report that the server does not take: states come in all the same.
	a.runs(map[string]string{"R 1": "x"})
	a.RulesChanged()
	eventually(t, "the report to be refused", func() bool { return a.Link.Status().ReportError != "" })
	s.set(t, "fleet", nil, "R1", "disabled", "1 hour")
	a.has(t, "R1", "disabled fleet")
	eventually(t, "the fleet to hear of it", func() bool {
		return one[int](t, s, "SELECT count(*)::int FROM fleet.host_heartbeat WHERE problem <> ''") == 1
	})
	a.runs(map[string]string{"R1": strings.Repeat("a", 64)})
	eventually(t, "the report", func() bool { return a.Health() == nil })
}

// full keeps nothing while its disk is full.
type full struct {
	States
	is atomic.Bool
}

func (f *full) Apply(u fleetstate.Update) error {
	if f.is.Load() {
		return errors.New("no space left")
	}
	return f.States.Apply(u)
}

// TestStatesThatCannotBeKept: the link stays, and says so; they come in once they can be kept.
func TestStatesThatCannotBeKept(t *testing.T) {
	s := newStore(t)
	disk := new(full)
	a := s.link(t, "a", func(c *Config) {
		disk.States = c.States
		c.States = disk
	})
	s.set(t, "fleet", nil, "R1", "disabled", "1 hour")
	a.has(t, "R1", "disabled fleet")
	disk.is.Store(true)
	s.set(t, "fleet", nil, "R2", "disabled", "1 hour")
	eventually(t, "the link to say so", func() bool {
		err := a.Health()
		return err != nil && err.Error() == "states: no space left"
	})
	eventually(t, "the fleet to hear of it", func() bool {
		return one[int](t, s, "SELECT count(*)::int FROM fleet.host_heartbeat WHERE problem = 'no space left'") == 1
	})
	if st := a.Status(); !st.Connected || a.states.State("R1").State != rules.Disabled {
		t.Errorf("status %+v", st)
	}
	disk.is.Store(false)
	a.has(t, "R2", "disabled fleet")
	eventually(t, "the link to be well", func() bool { return a.Health() == nil })
}
