package agent

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/loader"
	"bittern/internal/rules"
)

// posted hands out changes as they come, and ends when it is closed.
type posted chan rules.Change

func (p posted) Next(context.Context) (rules.Change, error) {
	change, ok := <-p
	if !ok {
		return rules.Change{}, rules.ErrClosed
	}
	return change, nil
}

// defining is a change that defines a rule.
func defining(r *rules.Rule) rules.Change {
	return rules.Change{Kind: rules.Definition, RuleID: r.ID, Rule: r}
}

// TestOtherRulesDontWaitForHooks: while the hooks of one rule are being attached, other
// rules change, and so does that one.
func TestOtherRulesDontWaitForHooks(t *testing.T) {
	k, log := newSmallKernel(10), &logbook{}
	k.slow, k.attached, k.released = []string{"SLOW", "GONE"}, make(chan struct{}), make(chan string, 3)
	c := newCommitter(k, none, log.logger())
	changes, done := make(posted), make(chan struct{})
	go func() {
		defer close(done)
		c.run(t.Context(), changes)
	}()
	for _, change := range []rules.Change{
		defining(rule(t, "SLOW", 1)),
		defining(rule(t, "GONE", 1)),
		defining(rule(t, "A", 1)),
		defining(rule(t, "SLOW", 2)), // takes the place of version 1
		{Kind: rules.Deleted, RuleID: "GONE"},
		defining(rule(t, "B", 1)),
		{Kind: rules.Rejected, RuleID: "SLOW"}, // version 2 is still the last good one
		defining(rule(t, "C", 1)),
	} {
		changes <- change
	}
	for range 3 {
		k.attached <- struct{}{}
	}
	var released []string
	for range 3 {
		released = append(released, <-k.released)
	}
	changes <- defining(rule(t, "D", 1))
	close(changes)
	<-done
	if diff := cmp.Diff(map[string]int{"A": 1, "B": 1, "C": 1, "D": 1, "SLOW": 2}, k.live); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"A", "B"}, k.commits[:2]); diff != "" {
		t.Errorf("the rules that need no hook waited: %s", diff)
	}
	slices.Sort(released)
	if diff := cmp.Diff([]string{"GONE", "SLOW", "SLOW"}, released); diff != "" {
		t.Error(diff)
	}
}

// TestHooksThatCantBeAttached refuses the rule, with the reason, and keeps its old version.
func TestHooksThatCantBeAttached(t *testing.T) {
	k, log := newSmallKernel(10), &logbook{}
	c := newCommitter(k, none, log.logger())
	c.apply(defining(rule(t, "SLOW", 1)))
	k.slow, k.attached = []string{"SLOW"}, make(chan struct{}, 1)
	k.attached <- struct{}{}
	k.unattached = &loader.SwapError{RuleID: "SLOW", Err: loader.ErrFull}
	c.apply(defining(rule(t, "SLOW", 2)))
	c.ready(<-c.prepared)
	if want := "ERROR rule refused rule_id=SLOW rule_version=2 stays_live=version 1 error=no room"; !slices.Contains(log.lines(t), want) {
		t.Errorf("not logged: %s\n%s", want, strings.Join(log.lines(t), "\n"))
	}
	if diff := cmp.Diff(map[string]int{"SLOW": 1}, k.live); diff != "" {
		t.Error(diff)
	}
}
