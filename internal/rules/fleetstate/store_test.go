package fleetstate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"bittern/internal/rules"
	"bittern/internal/rules/storetest"
)

// TestPrecedence: of this host, of the host by the fleet, of a group, of the fleet.
func TestPrecedence(t *testing.T) {
	f := start(t, nil)
	f.host.define(1, "R1")
	f.apply(t, of("R1", on("host", 0), clip("group", 0), off("fleet", 0)))
	f.expect(t, "definition R1 v1", "state R1 enabled by carol (host)")
	f.apply(t, of("R1", clip("group", 0), off("fleet", 0)))
	f.expect(t, "state R1 clipped by bob (group)")
	f.apply(t, of("R1", off("fleet", 0)))
	f.expect(t, "state R1 disabled by alice (fleet)")
	want := rules.RuleState{State: rules.Disabled, Reason: "noisy", SetBy: "alice", SetAt: time.Unix(1e9, 0), Scope: "fleet"}
	if got := f.State("R1"); !got.Equal(want) {
		t.Errorf("state %+v", got)
	}
	must(t, f.SetState("R1", rules.RuleState{State: rules.Clipped, ConfidenceMax: 0.5}, "dave"))
	f.expect(t, "state R1 clipped by dave")
	must(t, f.SetState("R1", rules.RuleState{Reason: "needed here"}, "dave"))
	f.expect(t, "state R1 enabled by dave")
	f.is(t, "R1", "enabled")
	f.apply(t, of("R1", clip("host", 0)))
	f.quiet(t)
	if got := f.Held(); len(got) != 1 || got["R1"] != "local" || f.Remote() != 1 {
		t.Errorf("held are %v of %d", got, f.Remote())
	}
	must(t, f.SetState("R1", rules.RuleState{}, "erin"))
	f.expect(t, "state R1 clipped by erin")
	f.is(t, "R1", "clipped host")
	f.host.set("R1", f.host.State("R1"), "nobody") // the same again
	f.quiet(t)
	f.apply(t, of("R1"))
	f.expect(t, "state R1 enabled by fleet")
	if len(f.Held()) > 0 || f.Remote() > 0 || !f.State("R1").IsZero() {
		t.Errorf("there is something left: %v, %+v", f.Held(), f.State("R1"))
	}
}

// TestExpiry has one decision after the other expire, with nobody telling.
func TestExpiry(t *testing.T) {
	f := start(t, nil)
	f.host.define(1, "R1")
	f.apply(t, of("R1", on("host", time.Minute), off("group", 2*time.Minute), clip("fleet", 3*time.Minute)))
	f.expect(t, "definition R1 v1", "state R1 enabled by carol (host)")
	if got, want := f.State("R1").ExpiresAt, f.machine.Now().Add(time.Minute); !got.Equal(want) {
		t.Errorf("it expires at %v, want %v", got, want)
	}
	f.machine.pass(time.Minute - 1)
	f.quiet(t)
	for _, want := range []string{"disabled", "clipped", "enabled"} {
		f.machine.pass(1)
		// Nobody asks for anything: it is announced by itself.
		storetest.Expect(t, f.sub, "state R1 "+want+" by expiry")
		f.machine.pass(time.Minute - 1)
		f.quiet(t)
	}
	if f.Remote() != 0 {
		t.Error("a rule has a remote state")
	}
	// Those of many rules come in the order of their times.
	f.apply(t, of("R3", off("host", time.Minute)), of("R1", off("host", 2*time.Minute)), of("R2", off("host", 2*time.Minute)))
	f.expect(t, "state R1 disabled by alice (host)", "state R2 disabled by alice (host)", "state R3 disabled by alice (host)")
	f.machine.pass(time.Hour)
	f.expect(t, "state R3 enabled by expiry", "state R1 enabled by expiry", "state R2 enabled by expiry")
}

// TestExpiryIsNoticed: an answer is never behind the clock, even if the goroutine is.
func TestExpiryIsNoticed(t *testing.T) {
	f := start(t, nil)
	f.host.define(1, "R1")
	for range 50 {
		f.apply(t, of("R1", off("fleet", time.Minute)))
		f.machine.pass(time.Minute)
		if s := f.Load()[0].State; !s.IsZero() {
			t.Fatalf("loaded is %+v", s)
		}
		f.apply(t, of("R1", clip("fleet", time.Minute)))
		f.machine.pass(time.Minute)
		f.is(t, "R1", "enabled")
	}
}

func TestHiddenExpiry(t *testing.T) {
	f := start(t, nil)
	f.apply(t, of("R1", off("host", time.Hour), clip("fleet", time.Minute)))
	f.expect(t, "state R1 disabled by alice (host)")
	f.machine.pass(time.Minute)
	f.quiet(t) // what does not count expires in silence
	must(t, f.SetState("R1", rules.RuleState{State: rules.Disabled}, "dave"))
	f.expect(t, "state R1 disabled by dave")
	f.machine.pass(time.Hour)
	f.quiet(t)
	must(t, f.SetState("R1", rules.RuleState{}, "dave"))
	f.expect(t, "state R1 enabled by dave")
}

// TestFloor: what is not to be disabled can be clipped and enabled.
func TestFloor(t *testing.T) {
	f := start(t, func(c *Config) { c.Floor = func(id string) bool { return id == "R1" } })
	f.apply(t, of("R1", off("host", 0), clip("group", time.Minute), off("fleet", 0)), of("R2", off("host", 0)))
	f.expect(t, "state R1 clipped by bob (group)", "state R2 disabled by alice (host)")
	if got := f.Held(); len(got) != 1 || got["R1"] != "floor" {
		t.Errorf("held are %v", got)
	}
	if f.log.has("rule_id=R1") != 1 || f.log.has("does not count") != 1 {
		t.Errorf("log: %s", f.log.text.String())
	}
	f.machine.pass(time.Minute)
	f.expect(t, "state R1 enabled by expiry")
	f.is(t, "R1", "enabled")
	f.apply(t, of("R1", on("host", 0), off("fleet", 0)))
	f.expect(t, "state R1 enabled by carol (host)")
	if got := f.Held(); len(got) != 0 {
		t.Errorf("held are %v", got)
	}
	must(t, f.SetState("R1", rules.RuleState{State: rules.Disabled}, "dave")) // it is their host
	f.expect(t, "state R1 disabled by dave")
	f.restart(t, func() {})
	must(t, f.SetState("R1", rules.RuleState{}, "dave"))
	f.is(t, "R1", "enabled host")
}

// TestWallClock: to set the time of day neither prolongs nor shortens.
func TestWallClock(t *testing.T) {
	for _, step := range []time.Duration{-1000 * time.Hour, -time.Minute, time.Minute, 1000 * time.Hour} {
		f := start(t, nil)
		f.apply(t, of("R1", off("fleet", time.Hour)))
		f.expect(t, "state R1 disabled by alice (fleet)")
		f.machine.step(step)
		f.machine.pass(time.Hour - 1)
		f.quiet(t)
		f.is(t, "R1", "disabled fleet")
		f.machine.step(-2 * step)
		f.restart(t, func() { f.machine.step(step) })
		f.is(t, "R1", "disabled fleet")
		f.machine.pass(1)
		f.expect(t, "state R1 enabled by expiry")
	}
}

// TestAsked: durations count from the question on.
func TestAsked(t *testing.T) {
	f := start(t, nil)
	asked := f.machine.Uptime()
	f.machine.pass(50 * time.Second)
	u := f.update(true, of("R1", off("fleet", time.Minute)), of("R2", off("fleet", 40*time.Second)), of("R3", off("fleet", -time.Second)))
	u.Asked = asked
	must(t, f.Apply(u))
	f.expect(t, "state R1 disabled by alice (fleet)")
	if got, want := f.State("R1").ExpiresAt, f.machine.Now().Add(10*time.Second); !got.Equal(want) {
		t.Errorf("it expires at %v, want %v", got, want)
	}
	f.machine.pass(10 * time.Second)
	f.expect(t, "state R1 enabled by expiry")
	u = f.update(true, of("R4", off("fleet", time.Minute)))
	u.Asked = f.machine.Uptime() + time.Hour // nobody has asked yet
	must(t, f.Apply(u))
	f.expect(t, "state R4 disabled by alice (fleet)")
	f.machine.pass(time.Minute)
	f.expect(t, "state R4 enabled by expiry")
}

// TestJitter tells the same again and again, a little later or sooner.
func TestJitter(t *testing.T) {
	f := start(t, nil)
	f.apply(t, of("R1", off("host", 10*time.Minute), clip("fleet", 0)))
	f.expect(t, "state R1 disabled by alice (host)")
	was := f.State("R1")
	left := 10 * time.Minute
	for i, jitter := range []time.Duration{0, time.Second, tolerance, -time.Second, tolerance, 3 * time.Second, -2 * time.Second, tolerance} {
		f.machine.pass(time.Minute)
		left -= time.Minute
		f.resync(t, of("R1", off("host", left+jitter), clip("fleet", 0)))
		f.quiet(t)
		if got := f.State("R1"); !got.Equal(was) {
			t.Errorf("state is %+v, and was %+v", got, was)
		}
		if i == 4 {
			f.restart(t, func() {})
		}
	}
	f.machine.pass(left - 2*time.Second - 1) // the nearest counts
	f.quiet(t)
	f.machine.pass(1)
	f.expect(t, "state R1 clipped by expiry")
	// What has expired does not come back since the answer is a little behind.
	f.resync(t, of("R1", off("host", 3*time.Second), clip("fleet", 0)))
	f.quiet(t)
	// But it does if it was really prolonged, or set anew.
	f.resync(t, of("R1", off("host", time.Minute), clip("fleet", 0)))
	f.expect(t, "state R1 disabled by alice (host)")
	f.resync(t, of("R1", off("host", time.Hour), clip("fleet", 0)))
	f.expect(t, "state R1 disabled by alice (host)")
	f.resync(t, of("R1", off("host", time.Minute), clip("fleet", 0)))
	f.expect(t, "state R1 disabled by alice (host)")
	f.resync(t, of("R1", off("host", 0), clip("fleet", 0)))
	f.expect(t, "state R1 disabled by alice (host)")
	f.resync(t, of("R1", off("host", time.Minute), clip("fleet", 0)))
	f.expect(t, "state R1 disabled by alice (host)")
}

// TestCreep: deadlines that come nearer each time are told when what people see is wrong.
func TestCreep(t *testing.T) {
	f := start(t, nil)
	f.apply(t, of("R1", off("host", time.Hour)))
	f.expect(t, "state R1 disabled by alice (host)")
	f.resync(t, of("R1", off("host", time.Hour-4*time.Second)))
	f.quiet(t)
	f.resync(t, of("R1", off("host", time.Hour-8*time.Second)))
	f.expect(t, "state R1 disabled by alice (host)")
	if got, want := f.State("R1").ExpiresAt, f.machine.Now().Add(time.Hour-8*time.Second); !got.Equal(want) {
		t.Errorf("it expires at %v, want %v", got, want)
	}
}

// TestMany: rule by rule in the order of ids, whatever the order told, and those of a resync that are gone.
func TestMany(t *testing.T) {
	const count = 3000
	f := start(t, nil)
	var all []RuleStates
	var want []string
	for i := range count {
		id := fmt.Sprintf("R%04d", i)
		all = append(all, of(id, off("fleet", 0)))
		want = append(want, "state "+id+" disabled by alice (fleet)")
	}
	slices.Reverse(all)
	f.apply(t, all...)
	if got := f.sub.Depth(); got != count {
		t.Errorf("%d changes are announced at once", got)
	}
	f.expect(t, want...)
	f.resync(t, of("S", off("fleet", 0)), all[0])
	f.Remote()
	for i := range count - 1 {
		want[i] = fmt.Sprintf("state R%04d enabled by fleet", i)
	}
	want[count-1] = "state S disabled by alice (fleet)"
	f.expect(t, want...)
	if f.Remote() != 2 {
		t.Errorf("%d rules have a state", f.Remote())
	}
}

// TestDefinitions carry the state that counts; sets stay whole.
func TestDefinitions(t *testing.T) {
	f := start(t, nil)
	f.apply(t, of("R2", off("fleet", 0)))
	f.host.define(1, "R1", "R2", "R3")
	must(t, f.SetState("R2", rules.RuleState{State: rules.Clipped}, "dave"))
	f.host.define(2, "R2")
	all := storetest.Expect(t, f.sub, "state R2 disabled by alice (fleet)", "definition R1 v1", "definition R2 v1", "definition R3 v1",
		"state R2 clipped by dave", "definition R2 v2")
	if s := all[2].State; s.State != rules.Disabled || s.Scope != "fleet" {
		t.Errorf("the definition has state %+v", s)
	}
	if s := all[5].State; s.State != rules.Clipped || s.Scope != "" {
		t.Errorf("the definition has state %+v", s)
	}
	for _, c := range all[1:4] {
		if c.Set != all[1].Set || c.Set.Size != 3 || !c.Set.Whole {
			t.Errorf("set %+v", c.Set)
		}
	}
	f.host.remove("R2")
	f.host.define(3, "R2")
	all = storetest.Expect(t, f.sub, "deleted R2", "definition R2 v3")
	if !all[1].State.Equal(f.State("R2")) {
		t.Errorf("the definition has state %+v", all[1].State)
	}
}

// TestLocalExpiry: a state of this host expires, and the fleet's counts.
func TestLocalExpiry(t *testing.T) {
	f := start(t, nil)
	must(t, f.SetState("R1", rules.RuleState{State: rules.Clipped}, "dave"))
	f.apply(t, of("R1", off("fleet", 0)))
	f.expect(t, "state R1 clipped by dave")
	f.host.set("R1", rules.RuleState{}, rules.ByExpiry)
	f.expect(t, "state R1 disabled by expiry")
	if err := f.SetState("R1", rules.RuleState{}, ""); !errors.Is(err, errLocal) {
		t.Errorf("got %v", err)
	}
	f.quiet(t)
}

func TestInvalid(t *testing.T) {
	f := start(t, nil)
	bad := []Decision{
		{State: rules.Clipped, ConfidenceMax: 2, Scope: "host"},
		{State: rules.Disabled, Reason: "a\nb", Scope: "host"},
		{State: rules.State(9), Scope: "host"},
		{State: rules.Disabled, Scope: "world"},
		{State: rules.Disabled},
		{State: rules.Disabled, Scope: "host", SetAt: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	}
	f.apply(t, of("R1", append(bad, clip("fleet", 0))...), of("R-2", off("fleet", 0)), of("R3", bad[0]))
	f.expect(t, "state R1 clipped by bob (fleet)")
	if got := f.log.has("rule_id=R1"); got != len(bad) {
		t.Errorf("%d of %d are logged", got, len(bad))
	}
	if f.log.has("rule_id=R-2") != 1 || f.Remote() != 1 {
		t.Errorf("%d rules have a state; log: %s", f.Remote(), f.log.text.String())
	}
}

// TestFollows: changes of something else are refused.
func TestFollows(t *testing.T) {
	f := start(t, nil)
	u := func(generation int64, timeline string, resync bool) error {
		return f.Apply(Update{Generation: generation, Timeline: timeline, Resync: resync, Rules: []RuleStates{of(fmt.Sprint("R", generation), off("fleet", 0))}})
	}
	if err := u(5, "one", false); err == nil {
		t.Error("changes of nothing are taken")
	}
	if _, _, ok := f.Known(); ok {
		t.Error("something is known")
	}
	must(t, u(5, "one", true))
	for _, wrong := range []error{u(6, "two", false), u(4, "one", false), u(-1, "one", true)} {
		if wrong == nil {
			t.Error("it is taken")
		}
	}
	f.expect(t, "state R5 disabled by alice (fleet)")
	must(t, u(2, "two", true))
	f.expect(t, "state R2 disabled by alice (fleet)", "state R5 enabled by fleet")
	if generation, timeline, ok := f.Known(); generation != 2 || timeline != "two" || !ok {
		t.Errorf("known is %d of %s, %v", generation, timeline, ok)
	}
}

func TestClose(t *testing.T) {
	f := start(t, nil)
	f.host.define(1, "R1")
	f.apply(t, of("R1", off("fleet", 0)))
	must(t, f.Close())
	must(t, f.Close())
	storetest.Expect(t, f.sub, "definition R1 v1", "state R1 disabled by alice (fleet)")
	if _, err := f.sub.Next(context.Background()); !errors.Is(err, rules.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if err := f.Apply(f.update(true)); !errors.Is(err, errStopped) {
		t.Errorf("got %v", err)
	}
	f.is(t, "R1", "disabled fleet")
	if loaded := f.Load(); len(loaded) != 1 || loaded[0].State.State != rules.Disabled {
		t.Errorf("loaded are %v", loaded)
	}
}

// TestSystemClock lets a state expire by the real clock.
func TestSystemClock(t *testing.T) {
	f := start(t, func(c *Config) { c.Clock = nil })
	must(t, f.Apply(Update{Resync: true, Timeline: "one", Asked: f.clock.Uptime(), Rules: []RuleStates{of("R1", off("fleet", 50*time.Millisecond))}}))
	storetest.Expect(t, f.sub, "state R1 disabled by alice (fleet)", "state R1 enabled by expiry")
	if f.clock.BootID() == "" {
		t.Error("the system's boot has no id")
	}
}

func TestConfig(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a configuration of nothing is taken")
	}
}

// TestSetStateIsAnnounced: when it returns, subscriptions have it.
func TestSetStateIsAnnounced(t *testing.T) {
	f := start(t, nil)
	f.apply(t, of("R1", off("fleet", 0)))
	f.expect(t, "state R1 disabled by alice (fleet)")
	for range 300 {
		for _, s := range []rules.RuleState{{State: rules.Clipped}, {}} {
			must(t, f.SetState("R1", s, "dave"))
			if c, ok := f.sub.TryNext(); !ok || c.By != "dave" || !c.State.Equal(f.State("R1")) {
				t.Fatalf("announced is %v, %+v", ok, c)
			}
		}
	}
}

// TestChangesFromNowOn: what has happened before is not of a subscription.
func TestChangesFromNowOn(t *testing.T) {
	f := start(t, nil)
	for i := range 300 {
		f.host.define(i+1, "R1")
		sub := f.Changes()
		f.Remote()
		if c, ok := sub.TryNext(); ok {
			t.Fatalf("after v%d comes %s", i+1, storetest.Show(c))
		}
		sub.Close()
	}
}

// TestSetWhileItIsAsked: a state of this host that is set while it is found out what it is, is announced.
func TestSetWhileItIsAsked(t *testing.T) {
	f := start(t, nil)
	f.host.asked = func() { f.host.set("R1", rules.RuleState{State: rules.Clipped, SetBy: "dave"}, "dave") }
	f.apply(t, of("R1", off("fleet", 0)))
	f.expect(t, "state R1 clipped by dave")
	f.is(t, "R1", "clipped")
}

// TestStateIsAnnounced: what State tells was announced before, also of a rule that nobody asked for until then.
func TestStateIsAnnounced(t *testing.T) {
	f := start(t, nil)
	for i := range 300 {
		id := fmt.Sprint("R", i)
		f.host.asked = func() { f.host.set(id, rules.RuleState{State: rules.Clipped, SetBy: "dave"}, "dave") }
		if f.State(id).State == rules.Clipped && f.sub.Depth() != i+1 {
			t.Fatalf("%d changes are announced, want %d", f.sub.Depth(), i+1)
		}
	}
}
