// Package storetest is the conformance suite of rule stores: what every backend
// has to do with definitions, whatever it keeps them in. A backend's tests call
// Run, and add what is its own.
package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"bittern/internal/rules"
)

// Backend is a store together with the means to edit what it stores. Sources
// are what it keeps rule texts in, named like rule files.
type Backend interface {
	Load() []rules.Stated
	State(id string) rules.RuleState
	SetState(id string, state rules.RuleState, by string) error
	Changes() *rules.Subscription
	Subscribe() ([]rules.Stated, *rules.Subscription)
	Problems() []rules.SourceProblems

	// Put sets the text of a source as one edit.
	Put(t testing.TB, source, text string)
	// Remove removes a source.
	Remove(t testing.TB, source string)
	// Rename gives a source another name; what had that name is gone.
	Rename(t testing.TB, from, to string)

	// Together makes the edits of one function a set, which takes effect as a whole when
	// the function has returned, or once all of it is right.
	Together(t testing.TB, edit func())

	// Restart stops the store and starts one over the same sources and states, which takes
	// its place. It returns a subscription from before the start, and whoever calls it may
	// do things while no store runs.
	Restart(t testing.TB, meanwhile func()) *rules.Subscription
	// Break makes it fail, or no longer fail, to persist states.
	Break(t testing.TB, broken bool)
}

// Patience ends waits that would otherwise hang; it is never waited out.
const Patience = 30 * time.Second

// Text returns the text of one good rule. Versions differ in content.
func Text(id string, version int) string {
	return fmt.Sprintf(`rule_id: %s
rule_version: %d
name: rule_%s
description: a rule of the conformance suite
applies_to: [process_exec]
match:
  field: command_text
  pattern: 'needle-%d'
emits:
  - {tactic: TA0011, technique_id: T1105, confidence: 0.5}
`, id, version, strings.ToLower(id), version)
}

// BadText returns the text of a document that names its rule and is wrong.
func BadText(id string) string {
	return strings.Replace(Text(id, 99), "needle-99", "needle-(99", 1)
}

// CutText returns text that no reader gets to the end of.
const CutText = "rule_id: [R1\nname: {\n"

// Join makes one text of several documents.
func Join(texts ...string) string { return strings.Join(texts, "---\n") }

// Show returns a change in short, for example "definition R1 v2" or "state R1 disabled by alice".
func Show(c rules.Change) string {
	s := strings.TrimSpace(c.Kind.String() + " " + c.RuleID)
	if c.Kind == rules.StateSet {
		s += fmt.Sprintf(" %s by %s", c.State.State, c.By)
	}
	if c.Rule != nil {
		s += fmt.Sprintf(" v%d", c.Rule.Version)
	}
	return s
}

// Next returns the next change.
func Next(t testing.TB, sub *rules.Subscription) rules.Change {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	c, err := sub.Next(ctx)
	if err != nil {
		t.Fatalf("waiting for a change: %v", err)
	}
	if c.Seen.IsZero() || c.Seen.After(time.Now()) {
		t.Errorf("%s was seen at %v", Show(c), c.Seen)
	}
	return c
}

// Expect receives exactly the changes wanted, in their order.
func Expect(t testing.TB, sub *rules.Subscription, want ...string) []rules.Change {
	t.Helper()
	var changes []rules.Change
	var got []string
	for range want {
		c := Next(t, sub)
		changes, got = append(changes, c), append(got, Show(c))
		if got[len(got)-1] != want[len(got)-1] {
			t.Fatalf("got changes  %q\nwant changes %q", got, want)
		}
	}
	return changes
}

// Quiet makes sure that no change came but those received, and that none is to
// come: a source of its own is made and removed, and whatever was edited before
// is announced, deletions too, before the deletion of that.
func Quiet(t testing.TB, b Backend, sub *rules.Subscription) {
	t.Helper()
	const fence = "zz-fence.yml"
	b.Put(t, fence, Text("FENCE", 1))
	Expect(t, sub, "definition FENCE v1")
	b.Remove(t, fence)
	Expect(t, sub, "deleted FENCE")
}

// Live returns the live rules in short, for example "R1v1 R2v3".
func Live(loaded []rules.Stated) string {
	var live []string
	for _, r := range loaded {
		live = append(live, fmt.Sprintf("%sv%d", r.ID, r.Version))
	}
	return strings.Join(live, " ")
}

// WantLive compares the live rules.
func WantLive(t testing.TB, b Backend, want string) {
	t.Helper()
	if got := Live(b.Load()); got != want {
		t.Errorf("live are %q, want %q", got, want)
	}
}

// ProblemsOf returns what is wrong with one source; the zero value if nothing.
func ProblemsOf(b Backend, source string) rules.SourceProblems {
	all := b.Problems()
	i := slices.IndexFunc(all, func(p rules.SourceProblems) bool {
		return p.Source == source || strings.HasSuffix(p.Source, "/"+source)
	})
	if i < 0 {
		return rules.SourceProblems{}
	}
	return all[i]
}

// WantProblem compares the stale rules of a source, and looks for a part of its
// problems; with "", it must have none.
func WantProblem(t testing.TB, b Backend, source, part string, stale ...string) {
	t.Helper()
	got := ProblemsOf(b, source)
	if text := got.Problems.Error(); part == "" && text != "" || !strings.Contains(text, part) {
		t.Errorf("problems of %s are %q, want %q", source, text, part)
	}
	if !slices.Equal(got.Stale, stale) {
		t.Errorf("stale of %s are %q, want %q", source, got.Stale, stale)
	}
}
