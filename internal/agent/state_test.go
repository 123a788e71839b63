package agent

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/event"
	"bittern/internal/loader"
	"bittern/internal/rules"
	"bittern/internal/rules/storetest"
)

// What passes the conformance suite is a store.
var _ interface {
	Load() []rules.Stated
	State(id string) rules.RuleState
	SetState(id string, state rules.RuleState, by string) error
	Changes() *rules.Subscription
	Subscribe() ([]rules.Stated, *rules.Subscription)
	Problems() []rules.SourceProblems
} = storetest.Backend(nil)

var (
	disabled = rules.RuleState{State: rules.Disabled, Reason: "noisy", SetBy: "alice"}
	clipped  = rules.RuleState{State: rules.Clipped, ConfidenceMax: 0.25, SetBy: "alice"}
)

func setting(id string, s rules.RuleState, by string) rules.Change {
	return rules.Change{Kind: rules.StateSet, RuleID: id, State: s, By: by}
}

// definingAs is a definition of a rule that has a state.
func definingAs(r *rules.Rule, s rules.RuleState) rules.Change {
	change := defining(r)
	change.State = s
	return change
}

func (k *smallKernel) wants(t *testing.T, want map[string]int) {
	t.Helper()
	if diff := cmp.Diff(want, k.live); diff != "" {
		t.Errorf("the kernel holds (-want +got):\n%s", diff)
	}
}

// TestStatesBeforeTheFirstRule: a rule that is disabled is never in the kernel.
func TestStatesBeforeTheFirstRule(t *testing.T) {
	k, log := newSmallKernel(10), &logbook{}
	c := newCommitter(k, none, log.logger())
	err := c.begin([]rules.Stated{{Rule: rule(t, "A", 1)}, {Rule: rule(t, "B", 2), State: disabled}, {Rule: rule(t, "C", 1), State: clipped}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"A C"}, k.commits); diff != "" {
		t.Error(diff)
	}
	if s := c.summary(); s != (summary{live: 2, exact: 2, disabled: 1, clipped: 1}) {
		t.Errorf("summary: %+v", s)
	}
	c.apply(setting("B", rules.RuleState{}, rules.ByExpiry))
	k.wants(t, map[string]int{"A": 1, "B": 2, "C": 1})
}

// TestStateChanges disables, edits, enables and clips, and looks at the kernel and at the log.
func TestStateChanges(t *testing.T) {
	k, log := newSmallKernel(10), &logbook{}
	c := newCommitter(k, none, log.logger())
	if err := c.load([]*rules.Rule{rule(t, "A", 1), rule(t, "B", 1)}); err != nil {
		t.Fatal(err)
	}
	before := len(log.lines(t))
	step := func(change rules.Change, commits int, want map[string]int) {
		t.Helper()
		was := len(k.commits)
		c.apply(change)
		k.wants(t, want)
		if got := len(k.commits) - was; got != commits {
			t.Errorf("%d commits, want %d", got, commits)
		}
	}
	step(setting("A", disabled, "alice"), 1, map[string]int{"B": 1})
	step(setting("A", disabled, "bob"), 0, map[string]int{"B": 1})
	step(definingAs(rule(t, "A", 2), disabled), 0, map[string]int{"B": 1})
	step(definingAs(rule(t, "A", 3), disabled), 0, map[string]int{"B": 1})
	step(setting("A", clipped, "alice"), 1, map[string]int{"A": 3, "B": 1})
	step(setting("A", rules.RuleState{}, rules.ByExpiry), 0, map[string]int{"A": 3, "B": 1})
	step(setting("B", clipped, "alice"), 0, map[string]int{"A": 3, "B": 1})
	step(setting("B", disabled, "alice"), 1, map[string]int{"A": 3})
	step(rules.Change{Kind: rules.Deleted, RuleID: "B"}, 0, map[string]int{"A": 3})
	step(setting("B", rules.RuleState{}, "alice"), 0, map[string]int{"A": 3})
	step(definingAs(rule(t, "NEW", 1), disabled), 0, map[string]int{"A": 3})
	step(setting("NEW", rules.RuleState{}, "alice"), 1, map[string]int{"A": 3, "NEW": 1})
	step(rules.Change{Kind: rules.StatesRejected, Problems: rules.Problems{
		{Pos: rules.Position{File: "states.yaml", Line: 3, Column: 5}, RuleID: "A", Message: "wrong"}}}, 0, map[string]int{"A": 3, "NEW": 1})
	want := []string{
		"INFO rule state set rule_id=A rule_version=1 epoch=2 reason=noisy state=disabled by=alice",
		"INFO rule state set rule_id=A rule_version=1 reason=noisy state=disabled by=bob",
		"INFO rule kept, it is disabled rule_id=A rule_version=2",
		"INFO rule kept, it is disabled rule_id=A rule_version=3",
		"INFO rule state set rule_id=A rule_version=3 state=clipped by=alice",
		"INFO rule live rule_id=A rule_version=3 epoch=3 kernel=exact",
		"INFO rule state expired rule_id=A rule_version=3 state=enabled by=expiry",
		"INFO rule state set rule_id=B rule_version=1 state=clipped by=alice",
		"INFO rule state set rule_id=B rule_version=1 epoch=4 reason=noisy state=disabled by=alice",
		"INFO rule deleted, it was disabled rule_id=B rule_version=1",
		"WARN rule state set, but there is no such rule rule_id=B state=enabled by=alice",
		"INFO rule kept, it is disabled rule_id=NEW rule_version=1",
		"INFO rule state set rule_id=NEW rule_version=1 state=enabled by=alice",
		"INFO rule live rule_id=NEW rule_version=1 epoch=5 kernel=exact",
		"ERROR rule states rejected rule_id=A problem=states.yaml:3:5: wrong",
	}
	if diff := cmp.Diff(want, log.states(t)[before:]); diff != "" {
		t.Error(diff)
	}
}

// states is lines, with what is said of states.
func (l *logbook) states(t *testing.T) []string {
	t.Helper()
	return l.linesWith(t, "state", "by")
}

// TestNewerVersionThatIsRefused: the one from before comes back when the rule is enabled.
func TestNewerVersionThatIsRefused(t *testing.T) {
	k, log := newSmallKernel(10), &logbook{}
	c := newCommitter(k, none, log.logger())
	c.apply(defining(rule(t, "A", 1)))
	c.apply(setting("A", disabled, "alice"))
	c.apply(definingAs(rule(t, "A", 2), disabled))
	k.unsupported, k.supported = "A", 1
	c.apply(setting("A", rules.RuleState{}, "alice"))
	k.wants(t, map[string]int{"A": 1})
	k.unsupported = ""
	c.apply(defining(rule(t, "B", 1)))
	k.wants(t, map[string]int{"A": 2, "B": 1})
}

// TestRefusedVersionIsKeptWhileDisabled, and makes no further attempts.
func TestRefusedVersionIsKeptWhileDisabled(t *testing.T) {
	k, log := newSmallKernel(1), &logbook{}
	c := newCommitter(k, none, log.logger())
	c.apply(defining(rule(t, "A", 1)))
	c.apply(defining(rule(t, "B", 1))) // no room
	c.apply(setting("B", disabled, "alice"))
	c.apply(rules.Change{Kind: rules.Deleted, RuleID: "A"})
	k.wants(t, map[string]int{})
	c.apply(setting("B", rules.RuleState{}, "alice"))
	k.wants(t, map[string]int{"B": 1})
}

// TestDisableThatFails says so, and is made up for.
func TestDisableThatFails(t *testing.T) {
	k, log := newSmallKernel(10), &logbook{}
	c := newCommitter(k, none, log.logger())
	c.apply(defining(rule(t, "A", 1)))
	k.broken = errors.New("broken")
	c.apply(setting("A", disabled, "alice"))
	k.wants(t, map[string]int{"A": 1})
	if want := "ERROR rule not disabled, it stays live until it can be rule_id=A rule_version=1 error=broken"; !slices.Contains(log.lines(t), want) {
		t.Errorf("not logged: %s\n%s", want, strings.Join(log.lines(t), "\n"))
	}
	k.broken = nil
	c.apply(defining(rule(t, "B", 1)))
	k.wants(t, map[string]int{"B": 1})
	c.apply(setting("A", rules.RuleState{}, "alice"))
	k.wants(t, map[string]int{"A": 1, "B": 1})
}

// TestDisableWhileHooksAreAttached: the version that waits does not become live.
func TestDisableWhileHooksAreAttached(t *testing.T) {
	k, log := newSmallKernel(10), &logbook{}
	k.slow, k.attached, k.released = []string{"SLOW"}, make(chan struct{}, 2), make(chan string, 2)
	c := newCommitter(k, none, log.logger())
	c.apply(defining(rule(t, "SLOW", 1)))
	c.apply(setting("SLOW", clipped, "alice")) // which does not stop it
	c.apply(setting("SLOW", disabled, "alice"))
	k.attached <- struct{}{}
	c.ready(<-c.prepared)
	if len(k.commits) > 0 {
		t.Errorf("committed: %q", k.commits)
	}
	c.apply(setting("SLOW", rules.RuleState{}, "alice"))
	c.apply(setting("SLOW", clipped, "alice"))
	k.attached <- struct{}{}
	c.ready(<-c.prepared)
	k.wants(t, map[string]int{"SLOW": 1})
}

// TestClippedDetections clamps down, never up, says so, and ends.
func TestClippedDetections(t *testing.T) {
	c := newCommitter(newSmallKernel(10), none, (&logbook{}).logger())
	r := ruleOf(t, "rule_id: A\nrule_version: 1\nname: a\napplies_to: [process_exec]\nmatch: {a: {process.executable: /bin/A}, condition: a}\n"+
		"emits:\n- {tactic: TA0002, technique_id: T1059, confidence: 0.9}\n- {tactic: TA0011, technique_id: T1105, confidence: 0.1}\n")
	c.apply(defining(r))
	match := loader.Match{Event: execution("/bin/A"), Rules: []*rules.Rule{r}}
	for _, want := range []struct {
		state rules.RuleState
		said  string
		tags  [2]float64
	}{
		{rules.RuleState{}, "", [2]float64{0.9, 0.1}},
		{clipped, "clipped", [2]float64{0.25, 0.1}},
		{rules.RuleState{State: rules.Clipped, ExpiresAt: time.Now()}, "clipped", [2]float64{}},
		{rules.RuleState{State: rules.Clipped, ConfidenceMax: 1}, "clipped", [2]float64{0.9, 0.1}},
		{rules.RuleState{}, "", [2]float64{0.9, 0.1}},
	} {
		c.apply(setting("A", want.state, "alice"))
		c.apply(setting("OTHER", clipped, "alice"))
		out := &records{}
		p := newPipeline(t, &steps{{match: match}, {err: os.ErrClosed}}, out, &logbook{})
		p.clips = c.clips
		if err := p.run(); err != nil {
			t.Fatal(err)
		}
		d := out.all[0].(*event.Detection)
		if d.State != want.said || d.Tags[0].Confidence != want.tags[0] || d.Tags[1].Confidence != want.tags[1] {
			t.Errorf("%+v: state %q, tags %+v", want.state, d.State, d.Tags)
		}
		if r.Emits[0].Confidence != 0.9 {
			t.Fatal("the rule itself was changed")
		}
	}
}
