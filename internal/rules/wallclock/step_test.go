package wallclock_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/require"
	"bittern/internal/rules"
	"bittern/internal/rules/fsstore"
	"bittern/internal/rules/storetest"
	"bittern/internal/rules/wallclock"
)

// steps sets the clock of the machine, which has to be one that nobody else goes by, and sets it
// right at the end.
type steps struct {
	t   *testing.T
	off time.Duration
}

func newSteps(t *testing.T) *steps {
	require.Root(t)
	require.Clock(t)
	s := &steps{t: t}
	t.Cleanup(func() { s.step(-s.off) })
	return s
}

func (s *steps) step(d time.Duration) {
	s.t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		s.t.Fatal(err)
	}
	now = unix.NsecToTimespec(now.Nano() + d.Nanoseconds())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		s.t.Fatalf("setting the clock: %v", err)
	}
	s.off += d
}

// TestAlarmWhenTheClockIsSet goes off at each step, whatever it was set to.
func TestAlarmWhenTheClockIsSet(t *testing.T) {
	s, clock := newSteps(t), wallclock.System{}
	a, err := clock.NewAlarm()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for _, d := range []time.Duration{2 * time.Hour, -time.Hour, time.Minute, -time.Minute, 24 * time.Hour, -25 * time.Hour} {
		if err := a.Set(clock.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		select { // one that says so twice may
		case <-a.C():
		default:
		}
		s.step(d)
		select {
		case <-a.C():
		case <-time.After(storetest.Patience):
			t.Fatalf("a step by %s was not noticed", d)
		}
	}
}

// statedStore is a store that goes by the clock of the machine.
type statedStore struct {
	*fsstore.Store
	cfg fsstore.Config
	sub *rules.Subscription
}

func openStore(t *testing.T) *statedStore {
	t.Helper()
	s := &statedStore{cfg: fsstore.Config{
		Dir: t.TempDir(), States: filepath.Join(t.TempDir(), "states"), Logger: slog.New(slog.DiscardHandler),
		Parse: func(path string, data []byte, _ rules.Lists) *rules.File {
			return rules.Parse(path, data, rules.Options{})
		},
	}}
	s.open(t)
	return s
}

func (s *statedStore) open(t *testing.T) {
	t.Helper()
	var err error
	if s.Store, err = fsstore.Open(s.cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	s.sub = s.Changes()
}

// disable disables a rule for some time of the clock.
func (s *statedStore) disable(t *testing.T, id string, lasts time.Duration) {
	t.Helper()
	if err := s.SetState(id, rules.RuleState{State: rules.Disabled, ExpiresAt: time.Now().Add(lasts)}, "test"); err != nil {
		t.Fatal(err)
	}
	storetest.Expect(t, s.sub, fmt.Sprintf("state %s disabled by test", id))
}

// quiet makes sure that nothing else was announced: the store looks at all states whenever the
// clock is set, before one that is set after that expires.
func (s *statedStore) quiet(t *testing.T) {
	t.Helper()
	s.disable(t, "FENCE", 2*time.Second) // for slow machines: it has to be announced before it expires
	storetest.Expect(t, s.sub, "state FENCE enabled by expiry")
}

func (s *statedStore) wants(t *testing.T, states map[string]rules.State) {
	t.Helper()
	for id, want := range states {
		if got := s.State(id).State; got != want {
			t.Errorf("%s is %s, want %s", id, got, want)
		}
	}
}

// TestStatesWhenTheClockIsSet: a step over the end of a state ends it at once, for good; one back
// ends none, and the others wait for the time of day.
func TestStatesWhenTheClockIsSet(t *testing.T) {
	c, s := newSteps(t), openStore(t)
	s.disable(t, "HOUR", time.Hour)
	s.disable(t, "DAYS", 100*time.Hour)
	c.step(30 * time.Minute)
	s.quiet(t)
	s.wants(t, map[string]rules.State{"HOUR": rules.Disabled, "DAYS": rules.Disabled})
	c.step(2 * time.Hour)
	storetest.Expect(t, s.sub, "state HOUR enabled by expiry")
	s.quiet(t)

	c.step(-2 * time.Hour) // it would still last
	s.quiet(t)
	s.wants(t, map[string]rules.State{"HOUR": rules.Enabled, "DAYS": rules.Disabled})
	s.Stop()
	s.open(t)
	s.wants(t, map[string]rules.State{"HOUR": rules.Enabled, "DAYS": rules.Disabled})

	// The time that passes is not what counts.
	soon := 2 * time.Second
	for ; ; soon *= 2 {
		begin := time.Now()
		s.disable(t, "SOON", soon)
		c.step(-time.Hour)
		if time.Since(begin) < soon {
			break
		}
		c.step(time.Hour) // too slow
		storetest.Expect(t, s.sub, "state SOON enabled by expiry")
	}
	s.disable(t, "LATER", soon+time.Second)
	storetest.Expect(t, s.sub, "state LATER enabled by expiry")
	s.wants(t, map[string]rules.State{"SOON": rules.Disabled, "DAYS": rules.Disabled})
	c.step(time.Hour)
	storetest.Expect(t, s.sub, "state SOON enabled by expiry")
	c.step(100 * time.Hour)
	storetest.Expect(t, s.sub, "state DAYS enabled by expiry")
	s.quiet(t)
	s.Stop() // what has expired is removed after that is announced
	if data, err := os.ReadFile(filepath.Join(s.cfg.States, "states.yaml")); err != nil || len(data) > 0 {
		t.Errorf("the file has %q, %v", data, err)
	}
}

// TestStatesWhenTheClockIsSetMeanwhile starts after a step, in either direction.
func TestStatesWhenTheClockIsSetMeanwhile(t *testing.T) {
	c, s := newSteps(t), openStore(t)
	s.disable(t, "HOUR", time.Hour)
	s.Stop()
	c.step(-24 * time.Hour)
	s.open(t)
	s.wants(t, map[string]rules.State{"HOUR": rules.Disabled})
	s.Stop()
	c.step(26 * time.Hour)
	s.open(t)
	s.wants(t, map[string]rules.State{"HOUR": rules.Enabled})
	c.step(-26 * time.Hour)
	s.quiet(t)
	s.wants(t, map[string]rules.State{"HOUR": rules.Enabled})
}
