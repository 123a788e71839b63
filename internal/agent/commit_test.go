package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/event"
	"bittern/internal/loader"
	"bittern/internal/rules"
)

// smallKernel has room for some rules only. A real one can't be filled on demand
// up to a certain rule.
type smallKernel struct {
	room    int
	broken  error // fails everything
	live    map[string]int
	epoch   uint64
	commits []string // ids of each commit that succeeded
	tries   int

	unsupported string // id of a rule for whose class there is no hook
	supported   int    // the version of that rule for which there is one

	slow       []string      // ids of rules whose hooks are not attached
	attached   chan struct{} // has a message for each that may be
	unattached error         // why they can't
	released   chan string   // ids of rules that were prepared and let go
}

func newSmallKernel(room int) *smallKernel { return &smallKernel{room: room, live: map[string]int{}} }

func (k *smallKernel) Commit(swaps ...loader.Swap) (uint64, error) {
	k.tries++
	if k.broken != nil {
		return 0, k.broken
	}
	next := make(map[string]int)
	for id, version := range k.live {
		next[id] = version
	}
	var ids []string
	for _, s := range swaps {
		ids = append(ids, s.RuleID)
		if s.New == nil {
			delete(next, s.RuleID)
			continue
		}
		if s.RuleID == k.unsupported && s.New.Version != k.supported {
			return 0, &loader.SwapError{RuleID: s.RuleID, Err: &loader.UnsupportedError{Hook: loader.Hook{
				Class: event.FileOpen, Refused: []loader.Refusal{{Name: "lsm/file_open", Reason: "not permitted here"}},
			}}}
		}
		next[s.RuleID] = s.New.Version
		// The rule named BIG never fits; an edit needs no more room than it has.
		if len(next) > k.room || strings.HasPrefix(s.RuleID, "BIG") {
			return 0, &loader.SwapError{RuleID: s.RuleID, Err: loader.ErrFull}
		}
	}
	k.live = next
	k.epoch++
	k.commits = append(k.commits, strings.Join(ids, " "))
	return k.epoch, nil
}

func (k *smallKernel) Ready(r *rules.Rule) bool { return !slices.Contains(k.slow, r.ID) }

func (k *smallKernel) Prepare(r *rules.Rule) (func() error, error) {
	<-k.attached
	if k.unattached != nil {
		return nil, k.unattached
	}
	return func() error { k.released <- r.ID; return nil }, nil
}

func none(string) []string { return nil }

func TestLoadLeavesOutWhatIsRefused(t *testing.T) {
	k, log := newSmallKernel(10), &logbook{}
	c := newCommitter(k, none, log.logger())
	all := []*rules.Rule{rule(t, "A", 1), rule(t, "BIG1", 2), rule(t, "B", 3), rule(t, "BIG2", 1), rule(t, "C", 1)}
	if err := c.load(all); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{"A": 1, "B": 3, "C": 1}, k.live); diff != "" {
		t.Error(diff)
	}
	if s := c.summary(); s != (summary{live: 3, exact: 3, refused: 2}) {
		t.Errorf("summary: %+v", s)
	}
	for _, want := range []string{
		"ERROR rule refused rule_id=BIG1 rule_version=2 error=no room",
		"ERROR rule refused rule_id=BIG2 rule_version=1 error=no room",
		"DEBUG rule live rule_id=B rule_version=3 epoch=2 kernel=exact",
	} {
		if !slices.Contains(log.lines(t), want) {
			t.Errorf("not logged: %s\n%s", want, strings.Join(log.lines(t), "\n"))
		}
	}
}

// TestLoadOfTooMany refuses half of the rules without trying each with all others.
func TestLoadOfTooMany(t *testing.T) {
	k := newSmallKernel(50)
	c := newCommitter(k, none, (&logbook{}).logger())
	var all []*rules.Rule
	for i := range 100 {
		all = append(all, rule(t, "R"+string(rune('A'+i/26))+string(rune('A'+i%26)), 1))
	}
	if err := c.load(all); err != nil {
		t.Fatal(err)
	}
	if s := c.summary(); s.live != 50 || s.refused != 50 {
		t.Errorf("summary: %+v", s)
	}
	if k.tries > 101 {
		t.Errorf("%d commits tried for 50 refusals, want at most one each, and one", k.tries)
	}
}

func TestLoadIsOneCommit(t *testing.T) {
	k := newSmallKernel(10)
	if err := newCommitter(k, none, (&logbook{}).logger()).load([]*rules.Rule{rule(t, "A", 1), rule(t, "B", 1)}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"A B"}, k.commits); diff != "" {
		t.Error(diff)
	}
}

func TestLoadFailsWithTheKernel(t *testing.T) {
	for name, broken := range map[string]error{
		"any error":       errors.New("broken"),
		"an unknown rule": &loader.SwapError{RuleID: "Z", Err: errors.New("broken")},
	} {
		k := newSmallKernel(10)
		k.broken = broken
		err := newCommitter(k, none, (&logbook{}).logger()).load([]*rules.Rule{rule(t, "A", 1)})
		if !errors.Is(err, broken) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// scripted hands out changes, then ends.
type scripted []rules.Change

func (s *scripted) Next(context.Context) (rules.Change, error) {
	if len(*s) == 0 {
		return rules.Change{}, rules.ErrClosed
	}
	next := (*s)[0]
	*s = (*s)[1:]
	return next, nil
}

func TestChanges(t *testing.T) {
	k, log := newSmallKernel(2), &logbook{}
	stale := func(file string) []string {
		if file != "dir/a.yml" {
			t.Errorf("asked for %s", file)
		}
		return []string{"A", "UNKNOWN"}
	}
	c := newCommitter(k, stale, log.logger())
	if err := c.load([]*rules.Rule{rule(t, "A", 1), rule(t, "B", 1)}); err != nil {
		t.Fatal(err)
	}
	define := func(r *rules.Rule) rules.Change {
		return rules.Change{Kind: rules.Definition, RuleID: r.ID, Rule: r, Seen: time.Now()}
	}
	at := rules.Position{File: "dir/a.yml", Line: 3, Column: 7}
	warned := define(rule(t, "B", 2))
	warned.Problems = rules.Problems{{Pos: at, RuleID: "B", Message: "old id", Warning: true}}
	changes := scripted{
		define(rule(t, "A", 1)), // nothing new
		define(rule(t, "A", 2)),
		define(rule(t, "C", 1)), // no room
		warned,
		{Kind: rules.Rejected, RuleID: "A", Problems: rules.Problems{
			{Pos: at, RuleID: "A", Message: "one"}, {Pos: at, RuleID: "A", Message: "two", Hint: "better"}}},
		{Kind: rules.Rejected, RuleID: "NEW", Problems: rules.Problems{{Pos: at, RuleID: "NEW", Message: "bad"}}},
		{Kind: rules.Rejected, Problems: rules.Problems{{Pos: at, Message: "syntax"}}},
		{Kind: rules.Deleted, RuleID: "A", Seen: time.Now()}, // makes room for C
		{Kind: rules.Deleted, RuleID: "A", Seen: time.Now()}, // is gone already
	}
	before := len(log.lines(t))
	c.run(context.Background(), &changes)
	want := []string{
		"INFO rule live rule_id=A rule_version=2 replaces_version=1 epoch=2 kernel=exact",
		"ERROR rule refused rule_id=C rule_version=1 error=no room",
		"WARN rule warning rule_id=B problem=dir/a.yml:3:7: warning: old id",
		"INFO rule live rule_id=B rule_version=2 replaces_version=1 epoch=3 kernel=exact",
		"ERROR rule file rejected rule_id=A stays_live=version 2 problem=dir/a.yml:3:7: one",
		"ERROR rule file rejected rule_id=A stays_live=version 2 problem=dir/a.yml:3:7: two (better)",
		"ERROR rule file rejected rule_id=NEW problem=dir/a.yml:3:7: bad",
		"ERROR rule file rejected stays_live=A version 2 problem=dir/a.yml:3:7: syntax",
		"INFO rule deleted rule_id=A rule_version=2 epoch=4",
		"INFO rule live rule_id=C rule_version=1 epoch=5 kernel=exact",
	}
	if diff := cmp.Diff(want, log.lines(t)[before:]); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"B": 2, "C": 1}, k.live); diff != "" {
		t.Error(diff)
	}
}

// TestRefusedEdit keeps the old version, and forgets the new one with its file.
func TestRefusedEdit(t *testing.T) {
	k, log := newSmallKernel(2), &logbook{}
	c := newCommitter(k, none, log.logger())
	if err := c.load([]*rules.Rule{rule(t, "A", 1)}); err != nil {
		t.Fatal(err)
	}
	k.broken = &loader.SwapError{RuleID: "A", Err: loader.ErrFull}
	c.apply(rules.Change{Kind: rules.Definition, RuleID: "A", Rule: rule(t, "A", 2)})
	if want := "ERROR rule refused rule_id=A rule_version=2 stays_live=version 1 error=no room"; !slices.Contains(log.lines(t), want) {
		t.Errorf("not logged: %s", want)
	}
	c.apply(rules.Change{Kind: rules.Deleted, RuleID: "A"})
	if want := "ERROR rule not deleted, it stays live rule_id=A rule_version=1 error=committing rule A: no room"; !slices.Contains(log.lines(t), want) {
		t.Errorf("not logged: %s", want)
	}
	k.broken = nil
	c.apply(rules.Change{Kind: rules.Definition, RuleID: "B", Rule: rule(t, "B", 1)})
	if diff := cmp.Diff(map[string]int{"A": 1, "B": 1}, k.live); diff != "" {
		t.Error(diff)
	}
}

func TestSameVersionIsWarnedOf(t *testing.T) {
	log := &logbook{}
	c := newCommitter(newSmallKernel(2), none, log.logger())
	first := rule(t, "A", 1)
	other := ruleOf(t, "rule_id: A\nrule_version: 1\nname: other\napplies_to: [process_exec]\n"+
		"match: {field: process.executable, pattern: ^/bin/x}\nemits: [{tactic: TA0002, technique_id: T1059, confidence: 1}]\n")
	for _, r := range []*rules.Rule{first, other} {
		c.apply(rules.Change{Kind: rules.Definition, RuleID: "A", Rule: r})
	}
	want := "WARN rule changed, its rule_version did not: detections can't tell the two apart rule_id=A rule_version=1"
	if !slices.Contains(log.lines(t), want) {
		t.Errorf("not logged: %s\n%s", want, strings.Join(log.lines(t), "\n"))
	}
}

// A list has no version: that it changed is no reason to count up those of the rules that use it.
func TestOtherListIsNotWarnedOf(t *testing.T) {
	log := &logbook{}
	c := newCommitter(newSmallKernel(2), none, log.logger())
	for _, values := range []string{"[/bin/a]", "[/bin/a, /bin/b]"} {
		r := ruleOf(t, "lists: {tools: "+values+"}\n---\nrule_id: A\nrule_version: 1\nname: a\napplies_to: [process_exec]\n"+
			"match: {s: {process.executable: {list: tools}}}\nemits: [{tactic: TA0002, technique_id: T1059, confidence: 1}]\n")
		c.apply(rules.Change{Kind: rules.Definition, RuleID: "A", Rule: r})
	}
	lines := log.lines(t)
	live := slices.DeleteFunc(slices.Clone(lines), func(line string) bool { return !strings.Contains(line, "INFO rule live") })
	if len(live) != 2 || strings.Contains(strings.Join(lines, "\n"), "WARN") {
		t.Errorf("have %s", strings.Join(lines, "\n"))
	}
}

func TestCoverage(t *testing.T) {
	const head = "rule_id: A\nrule_version: 1\nname: a\napplies_to: [process_exec]\nemits: [{tactic: TA0002, technique_id: T1059, confidence: 1}]\n"
	for match, want := range map[string]Coverage{
		"match: {a: {process.executable: /bin/x}, condition: a}":                             Exact,
		"match: {a: {process.executable: /bin/x, user.name: alice}, condition: a}":           Narrowed,
		"match: {a: {user.name: alice}, condition: a}":                                       NotNarrowed,
		"match: {a: {user.name: alice}, b: {process.executable: /bin/x}, condition: a or b}": NotNarrowed,
	} {
		if got := CoverageOf(ruleOf(t, head+match)); got != want {
			t.Errorf("%s: %s, want %s", match, got, want)
		}
	}
}

// TestUnsupportedRuleDoesNotStandInTheWay: the kernel has no hook for one rule, and
// no room for another, which is retried all the same.
func TestUnsupportedRuleDoesNotStandInTheWay(t *testing.T) {
	k, log := newSmallKernel(2), &logbook{}
	k.unsupported = "B"
	c := newCommitter(k, none, log.logger())
	if err := c.load([]*rules.Rule{rule(t, "A", 1), rule(t, "B", 1), rule(t, "C", 1), rule(t, "D", 1)}); err != nil {
		t.Fatal(err)
	}
	want := "ERROR rule refused rule_id=B rule_version=1 error=unsupported here: this kernel offers no hook for file_open (lsm/file_open: not permitted here)"
	if !slices.Contains(log.lines(t), want) {
		t.Errorf("not logged: %s\n%s", want, strings.Join(log.lines(t), "\n"))
	}
	if s := c.summary(); s != (summary{live: 2, exact: 2, refused: 2}) {
		t.Errorf("summary: %+v", s)
	}
	c.apply(rules.Change{Kind: rules.Deleted, RuleID: "A"})
	if diff := cmp.Diff(map[string]int{"C": 1, "D": 1}, k.live); diff != "" {
		t.Error(diff)
	}
	if s := c.summary(); s != (summary{live: 2, exact: 2, refused: 1}) {
		t.Errorf("summary: %+v", s)
	}
}
