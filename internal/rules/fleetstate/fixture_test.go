package fleetstate

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bittern/internal/rules"
	"bittern/internal/rules/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reporter is a testing.TB or a rapid.T.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

func must(t reporter, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// machine is a clock that a test sets.
type machine struct {
	mu     sync.Mutex // guards what follows
	up     time.Duration
	boots  int
	wall   time.Time
	alarms map[*testAlarm]struct{}
}

func newMachine() *machine {
	return &machine{up: time.Hour, wall: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), alarms: map[*testAlarm]struct{}{}}
}

func (m *machine) Uptime() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.up
}

func (m *machine) BootID() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprint("boot ", m.boots)
}

func (m *machine) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.wall
}

// pass lets time pass, on both clocks: the machine may sleep meanwhile.
func (m *machine) pass(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.up, m.wall = m.up+d, m.wall.Add(d)
	for a := range m.alarms {
		a.check(m.up)
	}
}

// step sets the time of day.
func (m *machine) step(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.wall = m.wall.Add(d)
}

// reboot starts the machine anew; by its clock, that takes so long.
func (m *machine) reboot(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boots, m.up, m.wall = m.boots+1, 10*time.Second, m.wall.Add(d)
}

func (m *machine) NewAlarm() (Alarm, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	a := &testAlarm{machine: m, c: make(chan struct{}, 1)}
	m.alarms[a] = struct{}{}
	return a, nil
}

type testAlarm struct {
	machine *machine
	at      time.Duration
	c       chan struct{}
}

func (a *testAlarm) C() <-chan struct{} { return a.c }

func (a *testAlarm) Set(at time.Duration) error {
	a.machine.mu.Lock()
	defer a.machine.mu.Unlock()
	a.at = at
	a.check(a.machine.up)
	return nil
}

func (a *testAlarm) Close() error {
	a.machine.mu.Lock()
	defer a.machine.mu.Unlock()
	delete(a.machine.alarms, a)
	return nil
}

func (a *testAlarm) check(up time.Duration) {
	if a.at != 0 && up >= a.at {
		a.at = 0
		select {
		case a.c <- struct{}{}:
		default:
		}
	}
}

// host is a store of which a test says what happens in it, and when.
type host struct {
	mu     sync.Mutex // guards what follows, and orders it with the feed
	feed   rules.Feed
	rules  map[string]*rules.Rule
	states map[string]rules.RuleState
	sets   uint64

	asked func() // called once when a state is asked for; nil for nothing
}

func newHost() *host {
	return &host{rules: map[string]*rules.Rule{}, states: map[string]rules.RuleState{}}
}

func (h *host) Load() []rules.Stated {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.load()
}

func (h *host) load() []rules.Stated {
	var all []rules.Stated
	for id, r := range h.rules {
		all = append(all, rules.Stated{Rule: r, State: h.states[id]})
	}
	slices.SortFunc(all, func(a, b rules.Stated) int { return strings.Compare(a.ID, b.ID) })
	return all
}

func (h *host) State(id string) rules.RuleState {
	if asked := h.asked; asked != nil {
		h.asked = nil
		asked()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.states[id]
}

var errLocal = errors.New("not on this host")

func (h *host) SetState(id string, state rules.RuleState, by string) error {
	if by == "" {
		return errLocal
	}
	if !state.IsZero() {
		state.SetBy = by
	}
	h.set(id, state, by)
	return nil
}

// set gives a rule a state, also if it has that.
func (h *host) set(id string, state rules.RuleState, by string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.states[id] = state; state.IsZero() {
		delete(h.states, id)
	}
	h.feed.Publish(rules.Change{Kind: rules.StateSet, RuleID: id, State: state, By: by, Seen: time.Now()})
}

// define makes rules of a version, as a set if they are several.
func (h *host) define(version int, ids ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sets++
	var changes []rules.Change
	for _, id := range ids {
		h.rules[id] = &rules.Rule{ID: id, Version: version}
		c := rules.Change{Kind: rules.Definition, RuleID: id, Rule: h.rules[id], State: h.states[id], Seen: time.Now()}
		if len(ids) > 1 {
			c.Set = rules.ChangeSet{ID: h.sets, Size: len(ids), Whole: true}
		}
		changes = append(changes, c)
	}
	h.feed.Publish(changes...)
}

func (h *host) remove(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.rules, id)
	h.feed.Publish(rules.Change{Kind: rules.Deleted, RuleID: id, Seen: time.Now()})
}

func (h *host) Subscribe() ([]rules.Stated, *rules.Subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.load(), h.feed.Subscribe()
}

func (h *host) Problems() []rules.SourceProblems { return nil }
func (h *host) Health() error                    { return nil }
func (h *host) Close() error                     { return nil } // it outlives the stores of a test

// fixture is a store over a host, on a machine.
type fixture struct {
	*Store
	host    *host
	machine *machine
	cfg     Config
	log     *journal
	sub     *rules.Subscription
	last    int64 // generation
}

func start(t testing.TB, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{host: newHost(), machine: newMachine(), log: &journal{}}
	f.cfg = Config{
		Under: f.host, File: filepath.Join(t.TempDir(), "state", "fleet"), Clock: f.machine,
		Log: f.log.logger(),
	}
	if change != nil {
		change(&f.cfg)
	}
	f.open(t)
	t.Cleanup(func() { must(t, f.Close()) })
	return f
}

func (f *fixture) open(t reporter) {
	t.Helper()
	s, err := New(f.cfg)
	must(t, err)
	f.Store = s
	f.sub = s.Changes()
}

// restart stops the store in good order, and starts another one.
func (f *fixture) restart(t reporter, meanwhile func()) {
	t.Helper()
	must(t, f.Close())
	meanwhile()
	f.open(t)
}

// crash starts another store, while the one before gets to nothing any more.
func (f *fixture) crash(t reporter, meanwhile func()) {
	t.Helper()
	f.kill(t)
	meanwhile()
	f.open(t)
}

func (f *fixture) kill(t reporter) {
	t.Helper()
	f.idle(t)
	close(f.quit)
	f.running.Wait()
	must(t, f.alarm.Close())
	f.below.Close()
}

// idle waits until the file is written, if it is to be.
func (f *fixture) idle(t reporter) {
	t.Helper()
	for deadline := time.Now().Add(storetest.Patience); ; runtime.Gosched() {
		f.mu.Lock()
		f.settle()
		due := f.write != 0 && f.clock.Uptime() >= f.write
		f.mu.Unlock()
		if !due {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the file is not written")
		}
	}
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
}

// apply applies what changed.
func (f *fixture) apply(t testing.TB, all ...RuleStates) {
	t.Helper()
	must(t, f.Apply(f.update(false, all...)))
}

// resync applies all that there is.
func (f *fixture) resync(t testing.TB, all ...RuleStates) {
	t.Helper()
	must(t, f.Apply(f.update(true, all...)))
}

func (f *fixture) update(resync bool, all ...RuleStates) Update {
	f.last++
	_, _, known := f.Known()
	return Update{Generation: f.last, Timeline: "one", Resync: resync || !known, Rules: all, Asked: f.machine.Uptime()}
}

func of(id string, all ...Decision) RuleStates { return RuleStates{RuleID: id, Decisions: all} }

func off(scope string, lasts time.Duration) Decision {
	return Decision{State: rules.Disabled, Lasts: lasts, Reason: "noisy", SetBy: "alice", SetAt: time.Unix(1e9, 0), Scope: scope}
}

func clip(scope string, lasts time.Duration) Decision {
	return Decision{State: rules.Clipped, ConfidenceMax: 0.25, Lasts: lasts, SetBy: "bob", SetAt: time.Unix(1e9, 0), Scope: scope}
}

func on(scope string, lasts time.Duration) Decision {
	return Decision{State: rules.Enabled, Lasts: lasts, SetBy: "carol", SetAt: time.Unix(1e9, 0), Scope: scope}
}

// is compares what counts of a rule: "disabled host", or "enabled" with no scope.
func (f *fixture) is(t testing.TB, id, want string) {
	t.Helper()
	s := f.State(id)
	if got := strings.TrimSpace(s.State.String() + " " + s.Scope); got != want {
		t.Errorf("%s is %s, want %s", id, got, want)
	}
}

// expect receives exactly these changes.
func (f *fixture) expect(t testing.TB, want ...string) {
	t.Helper()
	storetest.Expect(t, f.sub, want...)
	f.quiet(t)
}

func (f *fixture) quiet(t testing.TB) {
	t.Helper()
	f.Remote() // takes in what there is
	if c, ok := f.sub.TryNext(); ok {
		t.Fatalf("unexpected change: %s", storetest.Show(c))
	}
}

// journal is what was logged.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(data []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(data)
}

func (j *journal) has(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), text)
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }
