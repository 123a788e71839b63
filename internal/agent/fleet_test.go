package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"bittern/internal/rules"
	"bittern/internal/rules/fleetstate"
	"bittern/internal/rules/fsstore"
)

// TestSetStateBelowAFleet sets states while a fleet changes and withdraws its own, some of which expire: who
// sets one is answered each time, with a state that counts.
func TestSetStateBelowAFleet(t *testing.T) {
	const rounds = 60
	var fleet *fleetstate.Store
	a, _, c := settableOver(t, func(files *fsstore.Store) (over Store) {
		var err error
		fleet, err = fleetstate.New(fleetstate.Config{Under: files, File: filepath.Join(t.TempDir(), "fleet"), Log: (&logbook{}).logger()})
		if err != nil {
			t.Fatal(err)
		}
		return fleet
	})
	clock, err := fleetstate.NewSystem()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var others sync.WaitGroup
	defer others.Wait()
	others.Go(func() {
		for i := range rounds {
			u := fleetstate.Update{Generation: int64(i), Resync: true, Asked: clock.Uptime()}
			if i%3 < 2 {
				u.Rules = []fleetstate.RuleStates{{RuleID: "A", Decisions: []fleetstate.Decision{
					{State: rules.Disabled, Lasts: time.Millisecond, Reason: fmt.Sprint(i), Scope: "host"},
					{State: rules.Clipped, ConfidenceMax: 0.5, Reason: fmt.Sprint(i), Scope: "fleet"},
				}}}
			}
			if err := fleet.Apply(u); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range rounds {
		want := rules.RuleState{State: rules.Disabled, Reason: fmt.Sprint("mine ", i)}
		if i%2 == 1 {
			want = rules.RuleState{}
		}
		is, err := a.SetState(ctx, "A", want, "me")
		if err != nil {
			t.Fatal(err)
		}
		if is.Reason != want.Reason && is.Scope == "" {
			t.Errorf("the answer is %+v after %+v was set", is, want)
		}
	}
	others.Wait()
	if _, err := a.SetState(ctx, "A", rules.RuleState{}, "me"); err != nil {
		t.Error(err)
	}
	// Once all of it was taken in, the committer has what the store has.
	for ctx.Err() == nil {
		var same bool
		if err := c.ask(ctx, func() { same = c.states["A"].Equal(fleet.State("A")) }); err != nil {
			t.Fatal(err)
		}
		if same {
			return
		}
	}
	t.Error("the committer has another state")
}
