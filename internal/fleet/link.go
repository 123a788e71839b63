// Package fleet keeps a host in touch with the fleet's store: it says who the host is, how it is and what it runs, and takes in the
// states and rules that operators have decided. The host protects itself without it: what was taken in is kept on the disk by
// others, and goes on to count while the store is away.
package fleet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"bittern/internal/db"
	"bittern/internal/rules/fleetstate"
	"bittern/internal/rules/mirror"
)

// Host is what the link tells of this host.
type Host interface {
	// Inventory and Heartbeat are called often. The link fills in what is its own: the instance, and what was taken in.
	Inventory() db.Inventory
	Heartbeat() db.Heartbeat
	// Report is which rules run, called when that may have changed.
	Report(ctx context.Context) (db.Report, error)
}

// States take in what operators have decided of rules, and keep it.
type States interface {
	Known() (generation int64, timeline string, ok bool)
	Apply(fleetstate.Update) error
	Remote() int
}

// Rules take in the rules that operators have published, and keep them.
type Rules interface {
	// Publication is what was taken in last; "" for nothing.
	Publication() string
	// Problem is what is wrong with what was taken in.
	Problem() error
	Take(ctx context.Context, p mirror.Publication, fetch mirror.Fetch) error
}

// Config is what a link needs. Rules is nil if the rules come from elsewhere.
type Config struct {
	DSN    string // of the host's role
	Host   Host
	States States
	Rules  Rules
	Drain  *Drain // is told what the server wants; nil if nobody asks
	Log    *slog.Logger
	Waits  Waits
}

// Waits are how long things may take; zero values have defaults.
type Waits struct {
	Call       time.Duration // an answer of the server; 15 s
	First      time.Duration // between the first two attempts to connect, at most; 2 s
	Most       time.Duration // between two attempts, at most; 60 s
	Unsettling time.Duration // for how long there may be no connection until Health says so; 10 s
}

func (w Waits) withDefaults() Waits {
	for _, d := range []struct {
		of       *time.Duration
		fallback time.Duration
	}{{&w.Call, 15 * time.Second}, {&w.First, 2 * time.Second}, {&w.Most, time.Minute}, {&w.Unsettling, 10 * time.Second}} {
		if *d.of == 0 {
			*d.of = d.fallback
		}
	}
	return w
}

// defaultPace counts until the server has said what it wants.
var defaultPace = db.Pace{Sync: time.Second, Heartbeat: 30 * time.Second, DrainRows: 500}

// Link is the line to the fleet's store. Run is its life; the other methods can be called by anybody at any time, and wait for nothing.
type Link struct {
	cfg      Config
	log      *slog.Logger
	instance string

	rulesChanged atomic.Bool
	synced       func(took time.Duration) // for tests; nil for none

	mu     sync.Mutex
	status Status
}

// New returns a link that is not connected. It fails if the connection string can't be used.
func New(cfg Config) (*Link, error) {
	switch {
	case cfg.Host == nil || cfg.States == nil:
		return nil, errors.New("linking to the fleet: it is not said who the host is, or who keeps its states")
	case cfg.Log == nil:
		return nil, errors.New("linking to the fleet: no logger is given")
	}
	if _, err := db.Parse(cfg.DSN); err != nil {
		return nil, err
	}
	cfg.Waits = cfg.Waits.withDefaults()
	l := &Link{cfg: cfg, log: cfg.Log, instance: newInstance()}
	l.status = Status{Since: time.Now(), Pace: defaultPace}
	l.rulesChanged.Store(true)
	return l, nil
}

// newInstance is a random UUID.
func newInstance() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// RulesChanged says that what runs may be something else now.
func (l *Link) RulesChanged() { l.rulesChanged.Store(true) }

// Run keeps the link until ctx is done.
func (l *Link) Run(ctx context.Context) {
	for attempt := 0; ; attempt++ {
		began := time.Now()
		worked, err := l.talk(ctx)
		if ctx.Err() != nil {
			return
		}
		if worked && time.Since(began) > l.cfg.Waits.First {
			attempt = 0
		}
		wait := l.backoff(attempt)
		l.lost(err, wait)
		if !pause(ctx, wait) {
			return
		}
	}
}

// backoff doubles from attempt to attempt. It is random in its upper half, so that hosts whose server was away don't all come back to
// it at once.
func (l *Link) backoff(attempt int) time.Duration {
	most := min(l.cfg.Waits.First<<min(attempt, 10), l.cfg.Waits.Most)
	return most/2 + mathrand.N(most/2+1)
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// talk is one session, until it fails. worked says that it was of use.
func (l *Link) talk(ctx context.Context) (worked bool, err error) {
	session, err := db.OpenSession(ctx, l.cfg.DSN, l.cfg.Waits.Call)
	if err != nil {
		return false, err
	}
	defer session.Close()
	t := &talk{Link: l, session: session, pace: defaultPace}
	if err := t.hello(ctx); err != nil {
		return false, err
	}
	for {
		if err := t.sync(ctx); err != nil {
			return t.works, err
		}
		t.takeRules(ctx)
		if err := t.report(ctx); err != nil {
			return true, err
		}
		if session.Closed() {
			return true, errClosed
		}
		// Random, so that hosts which began together don't stay together.
		if !pause(ctx, t.pace.Sync*3/4+mathrand.N(t.pace.Sync/2+1)) {
			return true, nil
		}
	}
}

// errClosed is what a session ends with of which nothing else is known.
var errClosed = errors.New("the connection to the database was cut")
