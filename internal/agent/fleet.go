package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/control"
	"bittern/internal/db"
	"bittern/internal/event"
	"bittern/internal/fleet"
	"bittern/internal/outbox"
	"bittern/internal/rules"
	"bittern/internal/rules/fleetstate"
	"bittern/internal/rules/mirror"
	"bittern/internal/sink"
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
func (a *Agent) fleetSink() Sink {
	return Sink{Name: postgres, Pace: &a.fleet.drain, Make: func(from *outbox.Log) (sink.Sink, error) {
		return db.NewSink(db.SinkConfig{DSN: a.cfg.Fleet.DSN, Outbox: from.ID(), Losses: from.Losses, Log: a.cfg.Log.With("component", "database")})
	}}
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

// fleetHost is the host as the link tells it. One goroutine uses it.
type fleetHost struct {
	agent *Agent
	up    *running
	host  *event.Host
	since map[string]exceptionSince // of the last report, by rule
	used  time.Duration             // processor time, at the last heartbeat
	at    time.Time
}

// machineID tells machines apart, and says nothing else: what identifies a machine is not to be given away, see machine-id(5).
func machineID(id string) string {
	if id == "" {
		return ""
	}
	sum := hmac.New(sha256.New, []byte(id))
	_, _ = sum.Write([]byte("bittern")) // a hash takes everything
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// Inventory is what changes rarely.
func (h *fleetHost) Inventory() db.Inventory {
	i := db.Inventory{
		Hostname: h.host.Hostname, Kernel: h.host.OS.Kernel, Arch: h.host.Architecture, Distro: h.host.OS.Full,
		AgentVersion: Version(), Hooks: map[string]string{}, MachineID: machineID(h.host.ID), BootID: h.host.BootID,
	}
	for _, hook := range h.up.kernel.Caps(false).Hooks {
		i.Hooks[hook.Class.String()] = hook.Name
	}
	return i
}

// Heartbeat is how the host is.
func (h *fleetHost) Heartbeat() db.Heartbeat {
	var beat db.Heartbeat
	s := h.up.queue.Stats()
	for _, tier := range s.Tiers {
		beat.OutboxRecords += tier.Records
		beat.OutboxBytes += tier.Bytes + tier.Memory
	}
	for _, r := range s.Readers {
		if r.Name == postgres && !r.Oldest.IsZero() {
			beat.OldestUnsent = &r.Oldest
		}
	}
	for _, l := range h.up.queue.Losses() {
		beat.LostTotal += l.Count
	}
	beat.CPU, beat.RSS = h.cpu(), rss()
	return beat
}

// cpu is the share of a core since the last time.
func (h *fleetHost) cpu() float64 {
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		return 0 // it can't fail for RUSAGE_SELF
	}
	used, now := time.Duration(use.Utime.Nano()+use.Stime.Nano()), time.Now()
	share := 0.0
	if !h.at.IsZero() && now.After(h.at) {
		share = float64(used-h.used) / float64(now.Sub(h.at))
	}
	h.used, h.at = used, now
	return share
}

// rss is the resident memory, in bytes; 0 if that can't be told.
func rss() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// exceptionSince is an exception, and since when it is one.
type exceptionSince struct {
	is    db.Exception // without the time
	since time.Time
}

// Report is which rules run: the set of the newest good versions, and how it is with those that don't simply run.
func (h *fleetHost) Report(ctx context.Context) (r db.Report, err error) {
	views, err := h.up.overview(ctx)
	if err != nil {
		return r, err
	}
	held := h.agent.fleet.states.Held()
	r.Rules = make(map[string]string, len(views))
	now, since := time.Now().UTC(), map[string]exceptionSince{}
	for _, id := range slices.Sorted(maps.Keys(views)) {
		if rules.CheckID(id) != nil {
			continue // of a file that is wrong
		}
		v := views[id]
		if newest := v.wanted(); newest != nil {
			r.Rules[id] = newest.Hash.String()
		}
		e, is := v.exception(id, held[id])
		if !is {
			continue
		}
		e.Kernel = h.host.OS.Kernel
		was, known := h.since[id]
		if !known || was.is != e {
			was = exceptionSince{e, now}
		}
		since[id] = was
		e.Since = was.since
		r.Exceptions = append(r.Exceptions, e)
	}
	h.since = since
	r.Ruleset = db.RulesetOf(r.Rules)
	return r, nil
}

// wanted is the version that is to run.
func (v view) wanted() *rules.Rule {
	if v.newest != nil {
		return v.newest
	}
	return v.live
}

// mostError is how much of an error is told, in bytes.
const mostError = 2048

// exception is how it is with a rule that does not simply run. held says why a state of the fleet does not count.
func (v view) exception(id, held string) (e db.Exception, is bool) {
	e = db.Exception{RuleID: id, Status: string(v.is), Error: v.problem}
	if v.live != nil {
		e.ContentHash = v.live.Hash.String()
	}
	if v.is == control.Live && v.state.State == rules.Clipped {
		e.Status = rules.Clipped.String()
	}
	if held != "" {
		if e.Error != "" {
			e.Error += "; "
		}
		e.Error += "a state of the fleet does not count: " + held
	}
	// It may quote a file that is wrong. The database's texts have no zero bytes.
	e.Error = strings.ToValidUTF8(strings.ReplaceAll(e.Error, "\x00", ""), "")
	if len(e.Error) > mostError {
		e.Error = strings.ToValidUTF8(e.Error[:mostError], "")
	}
	simply := v.live != nil && e.ContentHash == v.wanted().Hash.String() && e.Status == string(control.Live) && e.Error == ""
	return e, !simply
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
