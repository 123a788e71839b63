package storetest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bittern/internal/rules"
)

// stateChecks are those that a store has to pass about states.
var stateChecks = map[string]func(t *testing.T, b Backend, clock *Clock){
	"nothing is decided of a rule that is not known": func(t *testing.T, b Backend, _ *Clock) {
		wantState(t, b, "NONE", rules.RuleState{})
		sub := b.Changes()
		b.Put(t, "a.yml", Text("R1", 1))
		Expect(t, sub, "definition R1 v1")
		wantState(t, b, "R1", rules.RuleState{})
		set(t, b, "R1", rules.RuleState{}, "alice") // it is so already
		Quiet(t, b, sub)
	},
	"all of a state is kept, apart from others": everyState,
	"one change for each, in order":             inOrder,
	"concurrent changes are each announced":     concurrent,
	"a subscription has what comes after it": func(t *testing.T, b Backend, _ *Clock) {
		first := b.Changes()
		set(t, b, "R1", disabled, "alice")
		loaded, second := b.Subscribe()
		set(t, b, "R1", rules.RuleState{}, "bob")
		Expect(t, first, "state R1 disabled by alice", "state R1 enabled by bob")
		Expect(t, second, "state R1 enabled by bob")
		if len(loaded) > 0 {
			t.Errorf("loaded %v", loaded)
		}
	},
	"a slow subscriber holds up nobody": func(t *testing.T, b Backend, _ *Clock) {
		slow := b.Changes()
		const edits = 40
		var want []string
		for i := range edits {
			set(t, b, "R1", rules.RuleState{State: rules.Disabled, Reason: fmt.Sprint("reason ", i)}, fmt.Sprint("writer ", i))
			want = append(want, fmt.Sprintf("state R1 disabled by writer %d", i))
		}
		if got := slow.Depth(); got != edits {
			t.Errorf("%d changes wait, want %d", got, edits)
		}
		Expect(t, slow, want...)
		Quiet(t, b, slow)
	},
	"what is wrong is refused": func(t *testing.T, b Backend, clock *Clock) {
		sub := b.Changes()
		set(t, b, "R1", disabled, "alice")
		Expect(t, sub, "state R1 disabled by alice")
		was := b.State("R1")
		for want, try := range map[string]func() error{
			"malformed":      func() error { return b.SetState("R-1", disabled, "bob") },
			"is malformed":   func() error { return b.SetState("", disabled, "bob") },
			"confidence_max": func() error { return b.SetState("R1", rules.RuleState{State: rules.Clipped, ConfidenceMax: 2}, "bob") },
			"by whom":        func() error { return b.SetState("R1", rules.RuleState{}, " ") },
			"set_by":         func() error { return b.SetState("R1", rules.RuleState{}, "a\nb") },
			"is past": func() error {
				return b.SetState("R1", rules.RuleState{State: rules.Disabled, ExpiresAt: clock.Now()}, "bob")
			},
		} {
			if err := try(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
		wantState(t, b, "R1", was)
		Quiet(t, b, sub)
	},
	"a failure to persist changes nothing":      failure,
	"expiry reverts at that moment":             expiry,
	"expiry across a restart":                   expiryAcrossRestart,
	"expiry follows the clock":                  clockSteps,
	"a state outlives the rule":                 outlives,
	"a later state takes the place of a timer":  replaced,
	"a snapshot and the changes after it agree": stateSnapshots,
}

var disabled = rules.RuleState{State: rules.Disabled}

func set(t testing.TB, b Backend, id string, s rules.RuleState, by string) {
	t.Helper()
	if err := b.SetState(id, s, by); err != nil {
		t.Fatal(err)
	}
}

func wantState(t testing.TB, b Backend, id string, want rules.RuleState) {
	t.Helper()
	if got := b.State(id); !got.Equal(want) {
		t.Errorf("state of %s is %+v, want %+v", id, got, want)
	}
	for _, r := range b.Load() {
		if r.ID == id && !r.State.Equal(want) {
			t.Errorf("%s is loaded with state %+v, want %+v", id, r.State, want)
		}
	}
}

func everyState(t *testing.T, b Backend, clock *Clock) {
	sub := b.Changes()
	b.Put(t, "a.yml", Join(Text("R1", 1), Text("R2", 1)))
	Expect(t, sub, "definition R1 v1", "definition R2 v1")
	zone := time.FixedZone("elsewhere", -5*3600)
	other := rules.RuleState{State: rules.Clipped, ConfidenceMax: 0.125, SetBy: "carol"}
	other.SetAt = clock.Now()
	set(t, b, "R2", other, "carol")
	Expect(t, sub, "state R2 clipped by carol")
	for i, s := range []rules.RuleState{
		disabled,
		{State: rules.Disabled, ExpiresAt: clock.Now().Add(time.Hour + time.Nanosecond).In(zone), Reason: "noisy: \"quoted\" # ünïcode"},
		{State: rules.Clipped, ConfidenceMax: 0.3},
		{State: rules.Clipped, ConfidenceMax: 0, Reason: "none at all"},
		{State: rules.Clipped, ConfidenceMax: 1, ExpiresAt: clock.Now().Add(time.Hour)},
		{State: rules.Clipped, ConfidenceMax: 1.0 / 3},
		{Reason: "true"},
		{},
	} {
		clock.Pass(time.Second)
		by := fmt.Sprint("writer ", i)
		set(t, b, "R1", s, by)
		if s != (rules.RuleState{}) {
			s.SetBy, s.SetAt = by, clock.Now()
		}
		c := Expect(t, sub, fmt.Sprintf("state R1 %s by %s", s.State, by))[0]
		if !c.State.Equal(s) {
			t.Errorf("announced is %+v, want %+v", c.State, s)
		}
		wantState(t, b, "R1", s)
		b.Restart(t, func() {})
		sub = b.Changes()
		wantState(t, b, "R1", s)
		wantState(t, b, "R2", other)
	}
	Quiet(t, b, sub)
}

func inOrder(t *testing.T, b Backend, _ *Clock) {
	sub := b.Changes()
	b.Put(t, "a.yml", Text("R1", 1))
	Expect(t, sub, "definition R1 v1")
	set(t, b, "R1", disabled, "alice")
	b.Put(t, "a.yml", Text("R1", 2))
	all := Expect(t, sub, "state R1 disabled by alice", "definition R1 v2")
	if got := all[1].State; !got.Equal(b.State("R1")) {
		t.Errorf("the new version comes with state %+v", got)
	}
	set(t, b, "R1", rules.RuleState{}, "bob")
	b.Remove(t, "a.yml")
	Expect(t, sub, "state R1 enabled by bob", "deleted R1")
	Quiet(t, b, sub)
}

func concurrent(t *testing.T, b Backend, _ *Clock) {
	const writers, edits = 4, 10
	sub := b.Changes()
	b.Put(t, "a.yml", Text("R1", 1))
	Expect(t, sub, "definition R1 v1")
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range edits {
				if err := b.SetState("R1", rules.RuleState{State: rules.Disabled, Reason: fmt.Sprint(i)}, fmt.Sprint(w)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	next, last := make(map[string]int), rules.RuleState{}
	for range writers * edits {
		c := Next(t, sub)
		if c.Kind != rules.StateSet || c.State.Reason != fmt.Sprint(next[c.By]) {
			t.Fatalf("got %s with reason %q, want %d", Show(c), c.State.Reason, next[c.By])
		}
		next[c.By]++
		last = c.State
	}
	wantState(t, b, "R1", last)
	Quiet(t, b, sub)
}

func failure(t *testing.T, b Backend, clock *Clock) {
	b.Put(t, "a.yml", Text("R1", 1))
	set(t, b, "R1", rules.RuleState{State: rules.Disabled, ExpiresAt: clock.Now().Add(time.Hour)}, "alice")
	was, sub := b.State("R1"), b.Changes()
	settle(t, b, sub, 1)
	b.Break(t, true)
	for id, s := range map[string]rules.RuleState{"R1": {}, "R2": disabled} {
		if err := b.SetState(id, s, "bob"); err == nil || !strings.Contains(err.Error(), "setting the state of rule "+id) {
			t.Errorf("got %v", err)
		}
	}
	wantState(t, b, "R1", was)
	wantState(t, b, "R2", rules.RuleState{})
	b.Break(t, false)
	Quiet(t, b, sub)
	b.Restart(t, func() {})
	wantState(t, b, "R1", was)
	wantState(t, b, "R2", rules.RuleState{})

	// What can't be persisted expires all the same, also for those that come later.
	sub = b.Changes()
	b.Break(t, true)
	clock.Pass(time.Hour)
	Expect(t, sub, "state R1 enabled by expiry")
	clock.Step(-time.Hour)
	wantState(t, b, "R1", rules.RuleState{})
	clock.Step(2 * time.Hour)
	b.Break(t, false)
	b.Restart(t, func() {})
	wantState(t, b, "R1", rules.RuleState{})
}

// settle waits until so many rules are loaded, and empties the subscription.
func settle(t testing.TB, b Backend, sub *rules.Subscription, loaded int) {
	t.Helper()
	b.Put(t, "zz-settled.yml", Text("SETTLED", 1))
	for len(b.Load()) <= loaded {
		Next(t, sub)
	}
	b.Remove(t, "zz-settled.yml")
	for Show(Next(t, sub)) != "deleted SETTLED" {
	}
}

func expiry(t *testing.T, b Backend, clock *Clock) {
	sub := b.Changes()
	b.Put(t, "a.yml", Join(Text("R1", 1), Text("R2", 1), Text("R3", 1)))
	Expect(t, sub, "definition R1 v1", "definition R2 v1", "definition R3 v1")
	for i, id := range []string{"R3", "R1", "R2"} {
		set(t, b, id, rules.RuleState{State: rules.Disabled, ExpiresAt: clock.Now().Add(time.Duration(i/2+1) * time.Minute)}, "alice")
	}
	Expect(t, sub, "state R3 disabled by alice", "state R1 disabled by alice", "state R2 disabled by alice")
	clock.Pass(time.Minute - time.Nanosecond)
	Quiet(t, b, sub)
	if got := b.State("R1").State; got != rules.Disabled {
		t.Errorf("it is %s before its time", got)
	}
	clock.Pass(time.Nanosecond)
	all := Expect(t, sub, "state R1 enabled by expiry", "state R3 enabled by expiry")
	if !all[0].State.IsZero() {
		t.Errorf("it reverts to %+v", all[0].State)
	}
	wantState(t, b, "R1", rules.RuleState{})
	Quiet(t, b, sub)
	clock.Pass(time.Minute)
	Expect(t, sub, "state R2 enabled by expiry")
	Quiet(t, b, sub)
	for i, id := range []string{"R3", "R1", "R2"} {
		set(t, b, id, rules.RuleState{State: rules.Disabled, ExpiresAt: clock.Now().Add(time.Duration(i+1) * time.Minute)}, "alice")
	}
	clock.Step(time.Hour) // over all of them: in the order of their times
	Expect(t, sub, "state R3 disabled by alice", "state R1 disabled by alice", "state R2 disabled by alice",
		"state R3 enabled by expiry", "state R1 enabled by expiry", "state R2 enabled by expiry")
	Quiet(t, b, sub)
	b.Restart(t, func() {})
	for _, id := range []string{"R1", "R2", "R3"} {
		wantState(t, b, id, rules.RuleState{})
	}
}

func expiryAcrossRestart(t *testing.T, b Backend, clock *Clock) {
	until := func(d time.Duration) rules.RuleState {
		return rules.RuleState{State: rules.Clipped, ConfidenceMax: 0.5, ExpiresAt: clock.Now().Add(d)}
	}
	b.Put(t, "a.yml", Text("R1", 1))
	set(t, b, "R1", until(time.Minute), "alice")
	set(t, b, "R2", until(time.Hour), "alice")
	early := b.Restart(t, func() { clock.Pass(time.Minute) })
	if got := Show(Next(t, early)); got != "state R1 enabled by expiry" {
		t.Errorf("first comes %s, want the state that expired while no store ran", got)
	}
	wantState(t, b, "R1", rules.RuleState{})
	if got := b.State("R2").State; got != rules.Clipped {
		t.Errorf("R2 is %s", got)
	}
	sub := b.Changes()
	clock.Pass(time.Hour)
	Expect(t, sub, "state R2 enabled by expiry")
	Quiet(t, b, sub)
}

func clockSteps(t *testing.T, b Backend, clock *Clock) {
	sub := b.Changes()
	set(t, b, "R1", rules.RuleState{State: rules.Disabled, ExpiresAt: clock.Now().Add(time.Hour)}, "alice")
	Expect(t, sub, "state R1 disabled by alice")
	clock.Step(-24 * time.Hour)
	clock.Pass(time.Hour)
	Quiet(t, b, sub) // it is not its time
	clock.Step(23 * time.Hour)
	Quiet(t, b, sub) // nor now
	set(t, b, "R1", rules.RuleState{State: rules.Disabled, ExpiresAt: clock.Now().Add(time.Hour)}, "bob")
	Expect(t, sub, "state R1 disabled by bob")
	clock.Step(-time.Minute)
	Quiet(t, b, sub)
	clock.Pass(time.Hour + time.Minute)
	Expect(t, sub, "state R1 enabled by expiry") // the alarm was set again after the step
	set(t, b, "R1", rules.RuleState{State: rules.Disabled, ExpiresAt: clock.Now().Add(time.Hour)}, "alice")
	Expect(t, sub, "state R1 disabled by alice")
	clock.Step(24 * time.Hour)
	Expect(t, sub, "state R1 enabled by expiry")
	clock.Step(-24 * time.Hour)
	Quiet(t, b, sub)
	b.Restart(t, func() {})
	wantState(t, b, "R1", rules.RuleState{}) // it does not come back
}

func outlives(t *testing.T, b Backend, _ *Clock) {
	sub := b.Changes()
	set(t, b, "R1", disabled, "alice")
	b.Put(t, "a.yml", Text("R1", 1))
	want := b.State("R1")
	for range 2 {
		c := Next(t, sub)
		for c.Kind == rules.StateSet {
			c = Next(t, sub)
		}
		if Show(c) != "definition R1 v1" || !c.State.Equal(want) {
			t.Errorf("got %s with state %+v", Show(c), c.State)
		}
		b.Remove(t, "a.yml")
		Expect(t, sub, "deleted R1")
		wantState(t, b, "R1", want)
		b.Restart(t, func() {})
		sub = b.Changes()
		wantState(t, b, "R1", want)
		b.Put(t, "a.yml", Text("R1", 1))
	}
}

func replaced(t *testing.T, b Backend, clock *Clock) {
	sub := b.Changes()
	for _, d := range []time.Duration{time.Minute, time.Hour, time.Minute} {
		set(t, b, "R1", rules.RuleState{State: rules.Disabled, ExpiresAt: clock.Now().Add(d)}, "alice")
		Expect(t, sub, "state R1 disabled by alice")
		if d == time.Hour {
			clock.Pass(time.Minute)
			Quiet(t, b, sub)
		}
	}
	set(t, b, "R1", disabled, "alice")
	Expect(t, sub, "state R1 disabled by alice")
	clock.Pass(time.Hour)
	Quiet(t, b, sub)
	if got := b.State("R1").State; got != rules.Disabled {
		t.Errorf("it is %s", got)
	}
}

// stateSnapshots subscribes again and again while a state changes: what comes first is the
// change after that of the snapshot.
func stateSnapshots(t *testing.T, b Backend, _ *Clock) {
	const edits = 50
	b.Put(t, "a.yml", Text("R1", 1))
	own := b.Changes()
	settle(t, b, own, 1)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		kept := map[string]int{}
		for {
			loaded, sub := b.Subscribe()
			reason := loaded[slices.IndexFunc(loaded, func(r rules.Stated) bool { return r.ID == "R1" })].State.Reason
			if kept[reason]++; kept[reason] <= 2 {
				if c, ok := sub.TryNext(); ok && c.State.Reason <= reason {
					t.Errorf("after %q comes %q", reason, c.State.Reason)
				}
			}
			sub.Close()
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for i := range edits {
		set(t, b, "R1", rules.RuleState{State: rules.Disabled, Reason: fmt.Sprintf("%03d", i)}, "alice")
	}
	close(stop)
	<-stopped
	for range edits {
		Expect(t, own, "state R1 disabled by alice")
	}
}
