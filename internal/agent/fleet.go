package agent

import (
	"context"
	"crypto/ed25519"
	"errors"
	"path/filepath"
	"sync/atomic"
	"time"

	"bittern/internal/control"
	"bittern/internal/db"
	"bittern/internal/event"
	"bittern/internal/fleet"
	"bittern/internal/rules/fleetstate"
	"bittern/internal/rules/mirror"
)

// postgres is the name of the sink that delivers to the fleet's store.
const postgres = "postgres"

// Fleet is the fleet's store, which gets all records, gives states to rules, and may give the rules.
type Fleet struct {
	DSN string
	Dir string // in which what the store has given outlives the agent
	// Floor says which rules the store can't disable; nil for none.
	Floor func(ruleID string) bool
	// Rules says that the rules are those of the store, in place of Config.Rules. They must be signed by one of the keys, unless
	// Unsigned says that this is not asked for.
	Rules    bool
	Keys     []ed25519.PublicKey
	Unsigned bool
}

// inFleet is what an agent has of the fleet's store.
type inFleet struct {
	mirror *mirror.Mirror // nil if the rules come from elsewhere
	states *fleetstate.Store
	link   atomic.Pointer[fleet.Link] // nil until all rules are live
	drain  fleet.Drain
	cancel context.CancelFunc
	done   chan struct{} // closed when the link has ended
}

// fleetSink delivers all records to the fleet's store.
func (a *Agent) fleetSink() (Sink, error) {
	to, err := db.NewSink(db.SinkConfig{DSN: a.cfg.Fleet.DSN, Outbox: a.box.ID(), Losses: a.box.Losses, Log: a.cfg.Log.With("component", "database")})
	return Sink{Name: postgres, Sink: to, pace: &a.fleet.drain}, err
}

// rulesDirectory is where the rules are.
func (a *Agent) rulesDirectory() (dir string, err error) {
	f := a.cfg.Fleet
	if f == nil || !f.Rules {
		return a.cfg.Rules()
	}
	a.fleet.mirror, err = mirror.Open(mirror.Config{Dir: f.Dir, Keys: f.Keys, Unsigned: f.Unsigned, Log: a.cfg.Log})
	if err != nil {
		return "", err
	}
	return a.fleet.mirror.RulesDir(), nil
}

// layStates lays the fleet's states over those of this host.
func (a *Agent) layStates(under Store) (Store, error) {
	f := a.cfg.Fleet
	if f == nil {
		return under, nil
	}
	over, err := fleetstate.New(fleetstate.Config{
		Under: under, File: filepath.Join(f.Dir, "states.json"), Floor: f.Floor, Log: a.cfg.Log,
	})
	if err != nil {
		return under, err
	}
	a.fleet.states = over
	return over, nil
}

// startLink begins to talk with the fleet's store.
func (a *Agent) startLink(up *running, host *event.Host) error {
	if a.cfg.Fleet == nil {
		return nil
	}
	cfg := fleet.Config{
		DSN: a.cfg.Fleet.DSN, Host: &fleetHost{agent: a, up: up, host: host, since: map[string]exceptionSince{}},
		States: a.fleet.states, Drain: &a.fleet.drain, Log: a.cfg.Log.With("component", "fleet"),
	}
	if a.fleet.mirror != nil {
		cfg.Rules = a.fleet.mirror
	}
	link, err := fleet.New(cfg)
	if err != nil {
		return err
	}
	a.fleet.link.Store(link)
	ctx, cancel := context.WithCancel(context.Background())
	a.fleet.cancel, a.fleet.done = cancel, make(chan struct{})
	go func() {
		defer close(a.fleet.done)
		link.Run(ctx)
	}()
	return nil
}

// rulesChanged says that what runs may be something else.
func (f *inFleet) rulesChanged() {
	if link := f.link.Load(); link != nil {
		link.RulesChanged()
	}
}

// FleetStatus tells metrics how the link is.
func (f *inFleet) FleetStatus() (fleet.Status, bool) {
	if link := f.link.Load(); link != nil {
		return link.Status(), true
	}
	return fleet.Status{}, false
}

// stopLink ends that.
func (a *Agent) stopLink() {
	if a.fleet.cancel != nil {
		a.fleet.cancel()
		<-a.fleet.done
	}
}

// fleetStatus tells of the link at the control socket; nil if there is none.
func (a *Agent) fleetStatus(now time.Time) *control.Fleet {
	link := a.fleet.link.Load()
	if link == nil {
		return nil
	}
	s := link.Status()
	out := &control.Fleet{
		Connected: s.Connected, Since: s.Since.UTC(), Host: s.Host, Schema: s.Schema, Generation: s.Generation, States: s.States,
		Publication: s.Publication, Wanted: s.Wanted, Clone: s.Clone, Errors: s.Errors, Error: s.Error, Stale: s.Stale(now),
		SyncSeconds: s.Pace.Sync.Seconds(), HeartbeatSeconds: s.Pace.Heartbeat.Seconds(), RoundTripSeconds: s.RoundTrip.Seconds(),
		ClockAheadSeconds: s.ClockAhead.Seconds(), Held: a.fleet.states.Held(),
	}
	if !s.Synced.IsZero() {
		at := s.Synced.UTC()
		lag := now.Sub(s.Synced).Seconds()
		out.Synced, out.LagSeconds = &at, &lag
	}
	return out
}

var errNoFleet = errors.New("configuring the agent: the fleet's store has no connection string, or no directory")

// validate reports what is missing.
func (f *Fleet) validate() error {
	if f != nil && (f.DSN == "" || f.Dir == "") {
		return errNoFleet
	}
	return nil
}
