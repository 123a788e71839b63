package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/control"
	"bittern/internal/rules"
)

// TestViews brings rules into each condition.
func TestViews(t *testing.T) {
	k := newSmallKernel(10)
	k.attached, k.released = make(chan struct{}), make(chan string, 1)
	c := newCommitter(k, none, (&logbook{}).logger())
	var changes []string
	c.announce = func(change control.Change) {
		text := fmt.Sprint(change.Topic, " ", change.Result)
		if change.Epoch > 0 {
			text += fmt.Sprint(" epoch ", change.Epoch)
		}
		if change.Version > 0 {
			text += fmt.Sprint(" v", change.Version)
		}
		if change.Error != "" {
			text += ": " + change.Error
		}
		changes = append(changes, text)
	}
	told := func(want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, changes); diff != "" {
			t.Errorf("announced (-want +got):\n%s", diff)
		}
		changes = nil
	}
	is := func(want ...string) {
		t.Helper()
		views := c.views()
		var got []string
		for _, id := range slices.Sorted(maps.Keys(views)) {
			v := views[id]
			text := fmt.Sprintf("%s %s v%d", id, v.is, v.shown().Version)
			if v.newest != v.shown() {
				text += fmt.Sprintf(", newest v%d", v.newest.Version)
			}
			if v.problem != "" {
				text += ": " + v.problem
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("conditions (-want +got):\n%s", diff)
		}
	}
	define := func(id string, version int) {
		c.apply(rules.Change{Kind: rules.Definition, RuleID: id, Rule: rule(t, id, version), State: c.states[id]})
	}
	set := func(id string, state rules.State) {
		c.apply(rules.Change{Kind: rules.StateSet, RuleID: id, State: rules.RuleState{State: state}, By: "me"})
	}
	define("A", 1)
	define("BIG", 1)
	is("A live v1", "BIG refused v1: no room")
	told("rule.reloaded.A live epoch 1 v1", "rule.reloaded.BIG refused v1: no room")

	set("A", rules.Disabled)
	is("A disabled v1", "BIG refused v1: no room")
	define("A", 2)
	is("A disabled v2", "BIG refused v1: no room")
	told("rule.state.A set epoch 2 v1", "rule.reloaded.A kept v2")
	set("A", rules.Enabled)
	told("rule.state.A set v2", "rule.reloaded.A live epoch 3 v2")

	c.apply(rules.Change{Kind: rules.Deleted, RuleID: "BIG"})
	k.unsupported, k.supported = "A", 2
	define("A", 3)
	is("A stale v2, newest v3: unsupported here: this kernel offers no hook for file_open (lsm/file_open: not permitted here)")
	changes = nil

	k.slow = []string{"B"}
	define("B", 1)
	is("A stale v2, newest v3: unsupported here: this kernel offers no hook for file_open (lsm/file_open: not permitted here)", "B waiting v1")
	k.attached <- struct{}{}
	c.ready(<-c.prepared)
	told("rule.reloaded.B live epoch 4 v1")
	<-k.released

	c.apply(rules.Change{Kind: rules.Rejected, RuleID: "B", Problems: rules.Problems{{RuleID: "B", Message: "bad"}}})
	c.staleIn = func(string) []string { return []string{"A", "B"} }
	c.apply(rules.Change{Kind: rules.Rejected, Problems: rules.Problems{{Pos: rules.Position{File: "x.yml"}, Message: "torn"}}})
	c.staleIn = none
	c.apply(rules.Change{Kind: rules.Rejected, Problems: rules.Problems{{Pos: rules.Position{File: "y.yml"}, Message: "torn"}}})
	told("rule.reloaded.B rejected v1: bad", "rule.reloaded.A rejected v2: x.yml: torn", "rule.reloaded.B rejected v1: x.yml: torn", "rule.reloaded. rejected: y.yml: torn")

	k.broken = fmt.Errorf("broken")
	set("B", rules.Disabled)
	told("rule.state.B set v1: broken")
	if v := c.view("B"); v.is != control.Live {
		t.Errorf("B can't be disabled, and is %s", v.is)
	}
	c.apply(rules.Change{Kind: rules.StateSet, RuleID: "NONE", By: rules.ByExpiry})
	told("rule.state.NONE expired")
	if v := c.view("NONE"); v.shown() != nil {
		t.Errorf("there is a rule that nobody has defined: %+v", v)
	}
}

func TestProblemsByRule(t *testing.T) {
	at := func(line int) rules.Position { return rules.Position{File: "a.yml", Line: line} }
	got := problemsByRule([]rules.SourceProblems{
		{Source: "a.yml", Stale: []string{"S", "W"}, Problems: rules.Problems{
			{Pos: at(1), RuleID: "S", Message: "odd", Warning: true}, {Pos: at(2), RuleID: "S", Message: "wrong"}, {Pos: at(3), RuleID: "S", Message: "worse"},
			{Pos: at(4), RuleID: "N", Message: "new"}, {Pos: at(0), Message: "torn"},
		}},
		{Source: "states.yaml", States: true, Problems: rules.Problems{{RuleID: "X", Message: "bad state"}}},
	})
	want := map[string]ruleProblem{"S": {"a.yml:2: wrong", true}, "W": {"a.yml: torn", true}, "N": {"a.yml:4: new", false}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(ruleProblem{})); diff != "" {
		t.Error(strings.TrimSpace(diff))
	}
}
