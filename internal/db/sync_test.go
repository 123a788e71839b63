package db_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"bittern/internal/db/pgtest"
)

// ruleState is one of the states that agent_sync_v1 gives.
type ruleState struct {
	RuleID        string   `json:"rule_id"`
	Deleted       bool     `json:"deleted"`
	State         string   `json:"state"`
	ConfidenceMax *float64 `json:"confidence_max"`
	ExpiresIn     *float64 `json:"expires_in"` // s
	Reason        string   `json:"reason"`
	SetBy         string   `json:"set_by"`
	Scope         string   `json:"scope"`
	Next          []struct {
		State string `json:"state"`
		Scope string `json:"scope"`
	} `json:"next"`
}

// agent is what an agent knows.
type agent struct {
	conn        *pgx.Conn
	gen         *int64
	timeline    *string
	states      map[string]ruleState
	resynced    bool // the last time
	publication *string
}

// sync asks for what is new.
func (a *agent) sync(ctx context.Context) error {
	var states []byte
	err := a.conn.QueryRow(ctx, "SELECT generation, timeline::text, resync, states, publication FROM fleet.agent_sync_v1($1, $2, NULL)", a.gen, a.timeline).
		Scan(&a.gen, &a.timeline, &a.resynced, &states, &a.publication)
	if err != nil {
		return err
	}
	if a.resynced {
		a.states = map[string]ruleState{}
	}
	var news []ruleState
	if states != nil {
		if err := json.Unmarshal(states, &news); err != nil {
			return err
		}
	}
	for _, s := range news {
		if a.states[s.RuleID] = s; s.Deleted {
			delete(a.states, s.RuleID)
		}
	}
	return nil
}

// want syncs, and compares what the agent knows: "RULE state scope" each, with what comes next behind >.
func (a *agent) want(t *testing.T, want string) {
	t.Helper()
	if err := a.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := a.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func (a *agent) String() string {
	var all []string
	for _, s := range a.states {
		text := s.RuleID + " " + s.State + " " + s.Scope
		for _, n := range s.Next {
			text += " > " + n.State + " " + n.Scope
		}
		all = append(all, text)
	}
	return strings.Join(sorted(all), ", ")
}

func (f *fleet) set(scope string, target any, rule, state, lasts string) {
	f.t.Helper()
	var confidence, end any
	if state == "clipped" {
		confidence = 0.25
	}
	if lasts != "" {
		end = lasts
	}
	exec(f.t, f.ops, "SELECT fleet.set_state_v1($1, $2, $3, $4, $5, $6::text::interval, 'why')", scope, target, rule, state, confidence, end)
}

func TestStatesByPrecedence(t *testing.T) {
	f := newFleet(t)
	h, other := f.host("a"), f.host("b")
	exec(t, f.ops, "SELECT fleet.make_group_v1('web', 1), fleet.make_group_v1('canary', 2)")
	a, b := &agent{conn: h.conn}, &agent{conn: other.conn}
	a.want(t, "")
	if !a.resynced {
		t.Error("the first time is no resync")
	}
	f.set("fleet", nil, "R1", "disabled", "1 hour")
	f.set("host", "a", "R2", "clipped", "")
	a.want(t, "R1 disabled fleet, R2 clipped host")
	b.want(t, "R1 disabled fleet")
	if s := a.states["R1"]; *s.ExpiresIn < 3590 || *s.ExpiresIn > 3600 || s.Reason != "why" || s.SetBy != "fleet_operator" {
		t.Errorf("got %+v", s)
	}
	if s := a.states["R2"]; *s.ConfidenceMax != 0.25 || s.ExpiresIn != nil {
		t.Errorf("got %+v", s)
	}
	a.want(t, "R1 disabled fleet, R2 clipped host")
	if a.resynced {
		t.Error("a resync for nothing")
	}

	// A host's own beats its group's, and that the fleet's; what ends first gives way to what is below.
	f.set("host", h.UUID, "R1", "enabled", "10 min")
	a.want(t, "R1 enabled host > disabled fleet, R2 clipped host")
	exec(t, f.ops, "SELECT fleet.set_member_v1('web', 'a', true)")
	f.set("group", "web", "R1", "clipped", "30 min")
	a.want(t, "R1 enabled host > clipped group > disabled fleet, R2 clipped host")
	f.set("group", "web", "R1", "clipped", "5 min") // ends before what is above it
	a.want(t, "R1 enabled host > disabled fleet, R2 clipped host")
	exec(t, f.ops, "SELECT fleet.clear_state_v1('host', 'a', 'R1')")
	a.want(t, "R1 clipped group > disabled fleet, R2 clipped host")
	exec(t, f.ops, "SELECT fleet.set_member_v1('canary', 'a', true)")
	f.set("group", "canary", "R1", "enabled", "")
	a.want(t, "R1 enabled group, R2 clipped host")
	b.want(t, "R1 disabled fleet")

	// Other groups, other states: also those that are older than what the agent knows.
	exec(t, f.ops, "SELECT fleet.set_member_v1('canary', 'a', false), fleet.set_member_v1('web', 'a', false)")
	a.want(t, "R1 disabled fleet, R2 clipped host")
	exec(t, f.ops, "SELECT fleet.clear_state_v1('fleet', NULL, 'R1'), fleet.clear_state_v1('host', 'a', 'R2')")
	a.want(t, "")
	b.want(t, "")

	// A host may not heed that it is to be disabled: then what is below counts.
	f.set("host", "a", "R4", "disabled", "")
	f.set("fleet", nil, "R4", "clipped", "1 hour")
	a.want(t, "R4 disabled host > clipped fleet")
	exec(t, f.ops, "SELECT fleet.clear_state_v1('fleet', NULL, 'R4'), fleet.clear_state_v1('host', 'a', 'R4')")
	a.want(t, "")

	// What is over is not told any more.
	f.set("host", "a", "R3", "disabled", "1 hour")
	exec(t, f.super, "UPDATE fleet.rule_state SET expires_at = now() WHERE rule_id = 'R3'")
	(&agent{conn: h.conn}).want(t, "")
}

func TestStatesThatAreRefused(t *testing.T) {
	f := newFleet(t)
	for _, sql := range []string{
		"SELECT fleet.set_state_v1('fleet', NULL, 'R1', 'disabled', NULL, '1 hour', '')",
		"SELECT fleet.set_state_v1('fleet', NULL, 'R1', 'disabled', NULL, NULL, 'why')",
		"SELECT fleet.set_state_v1('group', 'none', 'R1', 'disabled', NULL, '1 hour', 'why')",
		"SELECT fleet.set_state_v1('host', 'none', 'R1', 'disabled', NULL, '1 hour', 'why')",
		"SELECT fleet.set_state_v1('planet', NULL, 'R1', 'disabled', NULL, '1 hour', 'why')",
		"SELECT fleet.set_state_v1('fleet', NULL, 'R1', 'clipped', NULL, '1 hour', 'why')",
		"SELECT fleet.set_state_v1('fleet', NULL, 'R1', 'clipped', 1.5, '1 hour', 'why')",
		"SELECT fleet.set_state_v1('fleet', NULL, 'R1', 'clipped', 'NaN', '1 hour', 'why')",
		"SELECT fleet.set_state_v1('fleet', NULL, 'R1', 'enabled', 0.5, '1 hour', 'why')",
		"SELECT fleet.set_state_v1('fleet', NULL, 'R1', 'enabled', NULL, '-1 hour', 'why')",
		"SELECT fleet.set_state_v1('fleet', NULL, 'no rule''s id', 'enabled', NULL, '1 hour', 'why')",
		"INSERT INTO fleet.rule_state SELECT",
		"UPDATE fleet.rule_state_audit SET detail = '{}'",
		"DELETE FROM fleet.rule_state_audit",
	} {
		if _, err := f.ops.Exec(t.Context(), sql); err == nil {
			t.Errorf("was accepted: %s", sql)
		}
	}
	if n := one[int](t, f.super, "SELECT count(*)::int FROM fleet.rule_state_audit"); n != 0 {
		t.Errorf("%d lines of audit", n)
	}
}

func TestRestoreIsNoticed(t *testing.T) {
	f := newFleet(t)
	a := &agent{conn: f.host("a").conn}
	f.set("fleet", nil, "R1", "clipped", "")
	a.want(t, "R1 clipped fleet")
	// Older data of the same timeline: generations go back.
	exec(t, f.super, "UPDATE fleet.state_clock SET gen = 1; DELETE FROM fleet.rule_state")
	a.want(t, "")
	// The same, and operators have come to the old generation again before the agent asks.
	f.set("fleet", nil, "R1", "clipped", "")
	a.want(t, "R1 clipped fleet")
	exec(t, f.super, "DELETE FROM fleet.rule_state")
	a.want(t, "R1 clipped fleet") // nothing can tell it
	exec(t, f.ops, "SELECT fleet.new_timeline_v1()")
	a.want(t, "")
	// A copy is another database, of which this is another history.
	timeline := one[string](t, f.super, "SELECT fleet.timeline()::text")
	if g := newFleet(t); one[string](t, g.super, "SELECT fleet.timeline()::text") == timeline {
		t.Error("two databases have one timeline")
	}
}

func TestClonesAreDetected(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	x, y := newUUID(), newUUID()
	second := pgtest.Dial(t, h.dsn)
	beat := func(conn *pgx.Conn, instance string) bool {
		return one[bool](t, conn, "SELECT clone FROM fleet.agent_sync_v1(0, NULL, jsonb_build_object('instance', $1::text))", instance)
	}
	hello := func(conn *pgx.Conn, instance, machine string) bool {
		return one[bool](t, conn, "SELECT clone FROM fleet.agent_hello_v1(jsonb_build_object('instance', $1::text, 'machine_id', $2::text, 'boot_id', $3::text))", instance, machine, newUUID())
	}
	if hello(h.conn, x, "m1") || beat(h.conn, x) || hello(second, y, "m2") || beat(second, y) {
		t.Error("an agent that was restarted is no clone")
	}
	if !beat(h.conn, x) || !beat(second, y) {
		t.Error("two that take turns are clones")
	}
	got := row(t, f.super, "SELECT machine_ids, times, cardinality(instances) AS n FROM fleet.host_clones WHERE host_id = $1", h.HostID)
	if fmt.Sprint(got["machine_ids"]) != "[m1 m2]" || got["times"] != 2.0 || got["n"] != 2.0 {
		t.Errorf("got %v", got)
	}
	for range 30 {
		hello(h.conn, newUUID(), "m1")
	}
	if n := one[int](t, f.super, "SELECT count(*)::int FROM fleet.host_instances"); n > 16 {
		t.Errorf("%d instances are kept", n)
	}
}

func TestHeartbeatSaysWhatWasTaken(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	beat := "SELECT fleet.agent_sync_v1(1, NULL, $1)"
	for _, c := range []struct{ publication, problem, wantPublication, wantProblem string }{
		{"p1", "the signature is wrong", "p1", "the signature is wrong"},
		{strings.Repeat("p", 100), strings.Repeat("é", 1100), strings.Repeat("p", 64), strings.Repeat("é", 1024)},
	} {
		exec(t, h.conn, beat, map[string]any{"publication": c.publication, "problem": c.problem})
		got := row(t, f.ops, "SELECT publication, problem FROM fleet.host_heartbeat")
		if got["publication"] != c.wantPublication || got["problem"] != c.wantProblem {
			t.Errorf("got %v", got)
		}
	}
	exec(t, h.conn, beat, map[string]any{})
	if got := row(t, f.ops, "SELECT publication, problem FROM fleet.host_heartbeat"); got["publication"] != "" || got["problem"] != "" {
		t.Errorf("got %v", got)
	}
}

// TestHeartbeatsAreHot: each is an update that no index takes part in.
func TestHeartbeatsAreHot(t *testing.T) {
	f := newFleet(t)
	h := f.host("a")
	for i := range 200 {
		exec(t, h.conn, "SELECT fleet.agent_sync_v1(1, NULL, jsonb_build_object('outbox_records', $1::int, 'rss', 1e7::bigint, 'cpu', 0.01, 'time', clock_timestamp()))", i)
	}
	// Statistics are sent when a session ends.
	h.conn.Close(t.Context())
	for one[int](t, f.super, "SELECT count(*)::int FROM pg_stat_activity WHERE usename = $1", h.Role) > 0 {
	}
	got := row(t, f.super, "SELECT n_tup_upd AS all, n_tup_hot_upd AS hot FROM pg_stat_user_tables WHERE relid = 'fleet.host_heartbeat'::regclass")
	if got["all"] != 199.0 || got["hot"] != got["all"] {
		t.Errorf("got %v", got)
	}
}
