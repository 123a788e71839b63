package loader

import (
	"errors"
	"fmt"
	"testing"
)

// onlyNames lists the rules that let the curl event pass.
func onlyNames(t *testing.T, k *Kernel, c *court) string {
	t.Helper()
	defer pin(t, 0)()
	c.file(0, curl())
	_, ids := c.judge(t, c.objects.Judge, 0)
	found, unknown := k.versions.resolve(ids)
	if unknown > 0 {
		t.Fatalf("%d unknown versions among %v", unknown, ids)
	}
	names := ""
	for _, r := range found {
		names += fmt.Sprintf("%s.%d ", r.ID, r.Version)
	}
	return names
}

// TestFullTablesRefuseAndRecover fills every slot: the rule that finds none is
// refused by name, nothing of its commit takes effect, and room that is freed is used.
func TestFullTablesRefuseAndRecover(t *testing.T) {
	k := loadForTest(t, Config{Slots: 32, Keys: 64, Cells: 128})
	c := newCourt(t, k)
	always := "  s: {process.executable: /usr/bin/curl}"
	for i := range 32 {
		id := fmt.Sprintf("R%d", i)
		match := fmt.Sprintf("  s: {process.executable: /bin/other%d}", i)
		if i == 0 {
			match = always
		}
		if _, err := k.Commit(Swap{id, parseRule(t, ruleText(id, 1, match))}); err != nil {
			t.Fatal(err)
		}
	}
	before := k.epoch()
	new0, extra := parseRule(t, ruleText("R0", 2, always)), parseRule(t, ruleText("X", 1, always))
	_, err := k.Commit(Swap{"R0", new0}, Swap{"X", extra})
	var swapErr *SwapError
	if !errors.Is(err, ErrFull) || !errors.As(err, &swapErr) || swapErr.RuleID != "R0" {
		t.Fatalf("committing without a free slot: %v, want ErrFull at R0", err)
	}
	if k.epoch() != before {
		t.Errorf("a refused commit moved the epoch from %d to %d", before, k.epoch())
	}
	if got := onlyNames(t, k, c); got != "R0.1 " {
		t.Errorf("after a refused commit %q judge the event, want R0.1", got)
	}
	// One rule goes; its slot is free after a grace period, which a commit waits for.
	if _, err := k.Commit(Swap{RuleID: "R9"}); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Commit(Swap{"R0", new0}); err != nil {
		t.Fatal(err)
	}
	if got := onlyNames(t, k, c); got != "R0.2 " {
		t.Errorf("%q judge the event, want R0.2", got)
	}
}

func TestOneRuleTwiceInACommit(t *testing.T) {
	k := loadForTest(t, Config{})
	r := parseRule(t, ruleText("R", 1, "  s: {user.id: 0}"))
	if _, err := k.Commit(Swap{"R", r}, Swap{"R", nil}); err == nil {
		t.Fatal("a rule twice in one commit was accepted")
	}
	if n := k.Usage().Rules; n != 0 {
		t.Errorf("%d rules live, want none", n)
	}
}

// TestSpill lets more clauses survive than a record can name: the event is then to be
// judged by every rule that was live at its epoch, and by no other.
func TestSpill(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	const n = 100
	var swaps []Swap
	for i := range n {
		id := fmt.Sprintf("R%03d", i)
		swaps = append(swaps, Swap{id, parseRule(t, ruleText(id, 1, "  s: {process.name: 'true'}"))})
	}
	if _, err := k.Commit(swaps...); err != nil {
		t.Fatal(err)
	}
	mustRun(t, in(cgroup, trueCommand()))
	if _, err := k.Commit(Swap{RuleID: "R000"}, Swap{"R001", parseRule(t, ruleText("R001", 2, "  s: {user.id: 77}"))}); err != nil {
		t.Fatal(err)
	}
	counters, err := k.Counters()
	if err != nil {
		t.Fatal(err)
	}
	all := drainMatches(t, k)
	if len(all) != 1 || counters.Total().Spills != 1 {
		t.Fatalf("%d matches and %d spills, want one of each", len(all), counters.Total().Spills)
	}
	if got := len(all[0].Rules); got != n {
		t.Fatalf("%d rules are to judge the event, want %d", got, n)
	}
	for _, r := range all[0].Rules {
		if r.Version != 1 || !r.Match(all[0].Event) {
			t.Errorf("rule %s version %d was not what was live, or does not match", r.ID, r.Version)
		}
	}
}

// TestVersionsOutliveTheirRecords reads a record only after its rule has been
// replaced and reclaimed many times over.
func TestVersionsOutliveTheirRecords(t *testing.T) {
	k, cgroup := openForTest(t, Config{Slots: 64})
	commit := func(version int) {
		t.Helper()
		r := parseRule(t, ruleText("R", version, "  s: {process.name: 'true'}"))
		if _, err := k.Commit(Swap{"R", r}); err != nil {
			t.Fatal(err)
		}
	}
	commit(1)
	mustRun(t, in(cgroup, trueCommand()))
	for version := 2; version < 200; version++ { // more than there are slots
		commit(version)
	}
	mustRun(t, in(cgroup, trueCommand()))
	k.writer.Lock()
	err := k.reclaimNow()
	k.writer.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	all := drainMatches(t, k)
	if len(all) != 2 {
		t.Fatalf("%d matches, want 2", len(all))
	}
	for i, want := range []int{1, 199} {
		if rules := all[i].Rules; len(rules) != 1 || rules[0].Version != want {
			t.Errorf("match %d is by %d rules, the first version %d; want version %d", i, len(rules), rules[0].Version, want)
		}
	}
	if n := len(k.versions.byID); n != 1 {
		// The reader has passed the death of all but the last.
		t.Errorf("%d versions are kept after the ring was read", n)
	}
}

// TestRoomBeingMadeIsWorthWaitingFor: the reclaimer gives way to commits while it clears dead slots. One
// that finds no slot free then must wait for the rest, and not be refused.
func TestRoomBeingMadeIsWorthWaitingFor(t *testing.T) {
	k := loadForTest(t, Config{})
	cleared, wrong := make(chan struct{}), 0
	steps := 0
	for _, w := range k.memory {
		w.step = func() { // with the writer's lock held
			if k.graces != 1 {
				return
			}
			if steps++; steps == 1 {
				close(cleared)
			}
			if !k.worthWaiting(errNoSlot) {
				wrong++
			}
		}
	}
	for n := 1; n <= 2; n++ {
		if _, err := k.Commit(Swap{"A", parseRule(t, ruleText("A", n, "  s: {user.id: 0}"))}); err != nil {
			t.Fatal(err)
		}
	}
	<-cleared
	k.Stop() // the reclaimer has ended
	if wrong > 0 {
		t.Errorf("at %d of %d steps a commit would have been refused", wrong, steps)
	}
}
