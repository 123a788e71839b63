package fsstore

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"bittern/internal/rules"
	"bittern/internal/rules/fleetstate"
	"bittern/internal/rules/storetest"
)

// merged is a store of this package with a fleet's states over it. Its test is here, since the suite
// breaks the file of states from within.
type merged struct {
	*fixture
	over *fleetstate.Store
	cfg  fleetstate.Config
}

func (m *merged) Load() []rules.Stated             { return m.over.Load() }
func (m *merged) State(id string) rules.RuleState  { return m.over.State(id) }
func (m *merged) Changes() *rules.Subscription     { return m.over.Changes() }
func (m *merged) Problems() []rules.SourceProblems { return m.over.Problems() }
func (m *merged) Subscribe() ([]rules.Stated, *rules.Subscription) {
	return m.over.Subscribe()
}

func (m *merged) SetState(id string, state rules.RuleState, by string) error {
	return m.over.SetState(id, state, by)
}

// Restart lays the states over a store before it starts, so that nothing of the start is missed.
func (m *merged) Restart(t testing.TB, meanwhile func()) *rules.Subscription {
	t.Helper()
	must(t, m.over.Close())
	meanwhile()
	s, err := New(m.fixture.cfg)
	must(t, err)
	m.Store = s
	m.lay(t)
	sub := m.over.Changes()
	must(t, s.Start())
	return sub
}

func (m *merged) lay(t testing.TB) {
	t.Helper()
	m.cfg.Under = m.Store
	over, err := fleetstate.New(m.cfg)
	must(t, err)
	t.Cleanup(func() { must(t, over.Close()) })
	m.over = over
}

func startMerged(t *testing.T, clock *storetest.Clock) *merged {
	m := &merged{fixture: openStore(t, statedConfig(t, clock))}
	m.cfg = fleetstate.Config{File: filepath.Join(t.TempDir(), "fleet"), Log: slog.New(slog.DiscardHandler)}
	m.lay(t)
	return m
}

func TestConformanceBelowAFleet(t *testing.T) {
	t.Run("that says nothing", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T, clock *storetest.Clock) storetest.Backend { return startMerged(t, clock) })
	})
	t.Run("that says something of other rules", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T, clock *storetest.Clock) storetest.Backend {
			m := startMerged(t, clock)
			must(t, m.over.Apply(fleetstate.Update{Resync: true, Rules: []fleetstate.RuleStates{
				{RuleID: "OTHER", Decisions: []fleetstate.Decision{{State: rules.Disabled, Scope: "fleet", Lasts: time.Hour}}},
			}}))
			return m
		})
	})
}

// TestFleetAndFile: both kinds of state, with the real file of this host's.
func TestFleetAndFile(t *testing.T) {
	clock := storetest.NewClock()
	m := startMerged(t, clock)
	apply := func(generation int64, all ...fleetstate.Decision) {
		t.Helper()
		must(t, m.over.Apply(fleetstate.Update{Generation: generation, Resync: true, Rules: []fleetstate.RuleStates{{RuleID: "R1", Decisions: all}}}))
	}
	sub := m.Changes()
	m.Put(t, "a.yml", storetest.Text("R1", 1))
	storetest.Expect(t, sub, "definition R1 v1")
	apply(1, fleetstate.Decision{State: rules.Disabled, SetBy: "alice", Scope: "fleet"})
	must(t, m.SetState("R1", rules.RuleState{State: rules.Clipped, ConfidenceMax: 0.5, ExpiresAt: clock.Now().Add(time.Hour)}, "bob"))
	apply(2, fleetstate.Decision{State: rules.Disabled, SetBy: "carol", Scope: "group"})
	m.Put(t, "a.yml", storetest.Text("R1", 2))
	all := storetest.Expect(t, sub, "state R1 disabled by alice (fleet)", "state R1 clipped by bob", "definition R1 v2")
	if s := all[2].State; !s.Equal(m.Store.State("R1")) || s.IsZero() {
		t.Errorf("the definition has state %+v", s)
	}
	clock.Pass(time.Hour)
	storetest.Expect(t, sub, "state R1 disabled by expiry")
	m.Restart(t, func() {})
	sub = m.Changes()
	if s := m.Load()[0].State; s.State != rules.Disabled || s.Scope != "group" {
		t.Errorf("state %+v", s)
	}
	if err := m.SetState("R1", m.State("R1"), "dave"); err == nil {
		t.Error("a state of the fleet is set as one of this host")
	}
	apply(3)
	storetest.Expect(t, sub, "state R1 enabled by fleet")
	storetest.Quiet(t, m, sub)
}
