package agent

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/loader"
	"bittern/internal/rules"
)

// setOf makes changes a set.
func setOf(id uint64, changes ...rules.Change) []rules.Change {
	for i := range changes {
		changes[i].Set = rules.ChangeSet{ID: id, Size: len(changes), Whole: true}
	}
	return changes
}

func deleting(id string) rules.Change { return rules.Change{Kind: rules.Deleted, RuleID: id} }

// jointTest is a committer of a small kernel.
type jointTest struct {
	*committer
	t   *testing.T
	k   *smallKernel
	log *logbook
}

func newJointTest(t *testing.T, room int, live ...*rules.Rule) *jointTest {
	k, log := newSmallKernel(room), &logbook{}
	j := &jointTest{newCommitter(k, none, log.logger()), t, k, log}
	if err := j.load(live); err != nil {
		t.Fatal(err)
	}
	return j
}

func (j *jointTest) take(changes ...rules.Change) {
	for _, change := range changes {
		j.apply(change)
	}
}

func (j *jointTest) wantCommits(want ...string) {
	j.t.Helper()
	if diff := cmp.Diff(want, j.k.commits[1:]); diff != "" {
		j.t.Errorf("commits (-want +got):\n%s", diff)
	}
}

func (j *jointTest) wantLines(want ...string) {
	j.t.Helper()
	for _, w := range want {
		if !slices.Contains(j.log.lines(j.t), w) {
			j.t.Errorf("not logged: %s\n%s", w, strings.Join(j.log.lines(j.t), "\n"))
		}
	}
}

func TestSetIsOneCommit(t *testing.T) {
	j := newJointTest(t, 10, rule(t, "A", 1), rule(t, "B", 1), rule(t, "C", 1), rule(t, "D", 1))
	j.take(setting("D", disabled, "alice"))
	set := setOf(1, defining(rule(t, "A", 2)), deleting("B"), defining(rule(t, "C", 1)), defining(rule(t, "N", 1)), definingAs(rule(t, "D", 2), disabled), deleting("UNKNOWN"))
	j.take(set[:5]...)
	j.k.wants(t, map[string]int{"A": 1, "B": 1, "C": 1})
	j.take(set[5:]...)
	j.k.wants(t, map[string]int{"A": 2, "C": 1, "N": 1})
	j.wantCommits("D", "A B N") // the first is that D is disabled
	j.take(setting("D", rules.RuleState{}, "alice"))
	j.k.wants(t, map[string]int{"A": 2, "C": 1, "N": 1, "D": 2})
	j.wantLines(
		"INFO rule live rule_id=A rule_version=2 replaces_version=1 epoch=3 kernel=exact",
		"INFO rule deleted rule_id=B rule_version=1 epoch=3",
		"INFO rule kept, it is disabled rule_id=D rule_version=2",
		"INFO rule live rule_id=N rule_version=1 epoch=3 kernel=exact",
		"INFO set of rules live epoch=3",
	)
	if len(j.joints) > 0 {
		t.Errorf("%d sets wait", len(j.joints))
	}
}

// TestSetIsRefusedWhole and retried whole, when there is room.
func TestSetIsRefusedWhole(t *testing.T) {
	j := newJointTest(t, 3, rule(t, "A", 1), rule(t, "B", 1), rule(t, "C", 1))
	before := map[string]int{"A": 1, "B": 1, "C": 1}
	j.take(setOf(1, defining(rule(t, "A", 2)), defining(rule(t, "D", 1)), deleting("UNKNOWN"))...)
	j.k.wants(t, before)
	j.wantLines(
		"ERROR set of rules refused, nothing of it is live rule_id=D error=no room",
		"ERROR rule refused rule_id=A rule_version=2 stays_live=version 1 error=its set is refused",
		"ERROR rule refused rule_id=D rule_version=1 error=no room",
	)
	// A later change of one of its rules is part of it. One of another rule is not, and makes no room.
	j.take(defining(rule(t, "A", 3)), defining(rule(t, "B", 2)))
	j.k.wants(t, map[string]int{"A": 1, "B": 2, "C": 1})
	j.take(deleting("C"))
	j.k.wants(t, map[string]int{"A": 3, "B": 2, "D": 1})
	j.wantCommits("B", "C", "A D")
}

func TestSetsThatShareARuleAreOne(t *testing.T) {
	j := newJointTest(t, 3, rule(t, "A", 1), rule(t, "B", 1))
	j.take(setOf(1, defining(rule(t, "A", 2)), defining(rule(t, "BIG", 1)))...)
	j.take(setOf(2, defining(rule(t, "B", 2)), deleting("BIG"))...) // mends it
	j.k.wants(t, map[string]int{"A": 2, "B": 2})
	j.take(setOf(3, defining(rule(t, "A", 3)), defining(rule(t, "BIG", 1)))...)
	j.take(setOf(4, defining(rule(t, "B", 4)), defining(rule(t, "C", 4)))...) // goes on
	j.k.wants(t, map[string]int{"A": 2, "B": 4, "C": 4})
	j.take(deleting("BIG"))
	j.k.wants(t, map[string]int{"A": 3, "B": 4, "C": 4})
	j.wantCommits("A B", "B C", "A")
}

func TestSetWithARuleThatHasNoHook(t *testing.T) {
	j := newJointTest(t, 10, rule(t, "A", 1), rule(t, "B", 1))
	j.k.unsupported, j.k.supported = "B", 1
	j.take(setOf(1, defining(rule(t, "A", 2)), defining(rule(t, "B", 2)))...)
	j.take(defining(rule(t, "C", 1)))
	j.k.wants(t, map[string]int{"A": 1, "B": 1, "C": 1})

	// Disabled, it asks nothing of the kernel, and the others are live; its newest version is kept.
	j.take(setting("B", disabled, "alice"))
	j.k.wants(t, map[string]int{"A": 2, "C": 1})
	j.k.unsupported = ""
	j.take(setting("B", rules.RuleState{}, "alice"))
	j.k.wants(t, map[string]int{"A": 2, "B": 2, "C": 1})
}

// TestEnabledWhileItsSetIsRefused: what was live before is, until all of the set can be.
func TestEnabledWhileItsSetIsRefused(t *testing.T) {
	j := newJointTest(t, 10, rule(t, "A", 1), rule(t, "B", 1))
	j.take(setOf(1, defining(rule(t, "A", 2)), defining(rule(t, "B", 2)), defining(rule(t, "BIG", 1)))...)
	j.take(setting("B", disabled, "alice"))
	j.k.wants(t, map[string]int{"A": 1})
	j.take(setting("B", rules.RuleState{}, "alice"))
	j.k.wants(t, map[string]int{"A": 1, "B": 1})
	j.take(deleting("BIG"))
	j.k.wants(t, map[string]int{"A": 2, "B": 2})
}

func TestDisablingWhatASetHasNoRoomFor(t *testing.T) {
	j := newJointTest(t, 10, rule(t, "A", 1))
	j.take(setOf(1, defining(rule(t, "A", 2)), defining(rule(t, "BIG", 1)))...)
	j.take(setting("BIG", disabled, "alice"))
	j.k.wants(t, map[string]int{"A": 2})
}

// TestLooseSet: without what is refused, the others are live.
func TestLooseSet(t *testing.T) {
	j := newJointTest(t, 10, rule(t, "A", 1), rule(t, "B", 1))
	loose := func(changes ...rules.Change) []rules.Change {
		for i := range setOf(1, changes...) {
			changes[i].Set.Whole = false
		}
		return changes
	}
	j.take(loose(defining(rule(t, "A", 2)), defining(rule(t, "C", 1)))...)
	j.take(loose(defining(rule(t, "A", 3)), defining(rule(t, "BIG", 1)), rules.Change{Kind: rules.Rejected, RuleID: "X"}, deleting("B"))...)
	j.k.wants(t, map[string]int{"A": 3, "C": 1})
	j.wantCommits("A C", "A", "B")
}

// TestSetWaitsForHooks, as a whole, while other rules change, and so do its own.
func TestSetWaitsForHooks(t *testing.T) {
	j := newJointTest(t, 10, rule(t, "A", 1), rule(t, "B", 1))
	j.k.slow, j.k.attached, j.k.released = []string{"SLOW"}, make(chan struct{}), make(chan string, 2)
	changes, done := make(posted), make(chan struct{})
	go func() {
		defer close(done)
		j.run(t.Context(), changes)
	}()
	for _, change := range append(setOf(1, defining(rule(t, "A", 2)), defining(rule(t, "SLOW", 1))),
		defining(rule(t, "B", 2)), defining(rule(t, "A", 3)), defining(rule(t, "B", 3))) {
		changes <- change
	}
	for _, change := range []rules.Change{defining(rule(t, "C", 1)), deleting("NONE"), deleting("NONE")} {
		changes <- change // what was sent two before is taken in
	}
	j.k.attached <- struct{}{}
	if id := <-j.k.released; id != "SLOW" {
		t.Errorf("released %s", id)
	}
	close(changes)
	<-done
	j.k.wants(t, map[string]int{"A": 3, "B": 3, "C": 1, "SLOW": 1})
	j.wantCommits("B", "B", "C", "A SLOW")
}

func TestSetWhoseHooksCantBeAttached(t *testing.T) {
	j := newJointTest(t, 10, rule(t, "A", 1))
	j.k.slow, j.k.attached = []string{"SLOW"}, make(chan struct{}, 1)
	j.k.unattached = &loader.SwapError{RuleID: "SLOW", Err: errors.New("no hook")}
	j.k.attached <- struct{}{}
	j.take(setOf(1, defining(rule(t, "A", 2)), defining(rule(t, "SLOW", 1)))...)
	j.ready(<-j.prepared)
	j.k.wants(t, map[string]int{"A": 1})
	j.wantLines("ERROR rule refused rule_id=SLOW rule_version=1 error=no hook", "ERROR rule refused rule_id=A rule_version=2 stays_live=version 1 error=its set is refused")
}

// TestEndWhileASetWaits lets the hooks go that were attached for it.
func TestEndWhileASetWaits(t *testing.T) {
	j := newJointTest(t, 10)
	j.k.slow, j.k.attached, j.k.released = []string{"SLOW"}, make(chan struct{}, 1), make(chan string, 1)
	changes := scripted(setOf(1, defining(rule(t, "A", 2)), defining(rule(t, "SLOW", 1))))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		j.run(t.Context(), &changes)
	}()
	go func() { j.k.attached <- struct{}{} }()
	if id := <-j.k.released; id != "SLOW" {
		t.Errorf("released %s", id)
	}
	<-ended
}
