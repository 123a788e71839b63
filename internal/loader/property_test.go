package loader

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"bittern/internal/event"
	"bittern/internal/rules"
	"bittern/internal/rules/rulestest"
)

// TestKernelAgreesWithMatcher generates rules and events and holds the real engine
// against the exact matcher: what a rule matches the kernel lets pass, always; where
// the plan is exact, and where the kernel does what the plan says, both ways. Rules
// come and go all the time, in tables small enough that everything is reused.
func TestKernelAgreesWithMatcher(t *testing.T) {
	for _, class := range event.Classes() {
		// Among many rules one nearly always asks for every event; a rule alone shows what is
		// left out when nothing hits.
		t.Run(class.String(), func(t *testing.T) { agree(t, class, 12) })
		t.Run(class.String()+" alone", func(t *testing.T) { agree(t, class, 1) })
	}
}

func agree(t *testing.T, class event.Class, most int) {
	k := loadForTest(t, Config{Slots: 1024, Keys: 1024, Cells: 8192})
	c := newCourt(t, k)
	defer pin(t, 0)()
	rounds := 100
	if testing.Short() {
		rounds = 20
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	g := rulestest.New(seed)
	live := make(map[string]*rules.Rule)
	rnd := rand.New(rand.NewPCG(seed, 1))
	hits := 0
	for round := range rounds {
		var swaps []Swap
		for i := range most {
			id := fmt.Sprintf("R%d", i)
			switch rnd.IntN(4) {
			case 0:
				swaps = append(swaps, Swap{RuleID: id})
				delete(live, id)
			case 1, 2:
				r := rulestest.Parse(t, g.RuleFor(id, round+1, class))
				swaps = append(swaps, Swap{RuleID: id, New: r})
				live[id] = r
			}
		}
		epoch, err := k.Commit(swaps...)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			ev := g.EventFor(class)
			raw := c.file(0, ev)
			judgedAt, ids := c.judge(t, c.objects.Judge, 0)
			if judgedAt != epoch {
				t.Fatalf("judged by epoch %d, want %d", judgedAt, epoch)
			}
			if len(ids) == len(c.trial(0).Versions) {
				continue // a spill, which names no more
			}
			passed, unknown := k.versions.resolve(ids)
			if unknown > 0 {
				t.Fatalf("survivors %v have %d unknown versions", ids, unknown)
			}
			hits += compare(t, asCaptured(t, raw, ev), live, passed)
		}
	}
	if hits == 0 {
		t.Error("no rule matched any event: the generators are of no use")
	}
	t.Logf("%d matches, %+v", hits, k.Usage())
}

// compare returns how many rules matched.
func compare(t *testing.T, ev *event.Event, live map[string]*rules.Rule, passed []*rules.Rule) int {
	t.Helper()
	hits := 0
	for id, r := range live {
		plan := r.Plans()[0]
		match, kernel := r.Match(ev), slices.Contains(passed, r)
		if match {
			hits++
		}
		switch {
		case match && !kernel:
			t.Errorf("unsound: rule %s matches and the kernel drops the event", id)
		case plan.Exact && kernel != match:
			t.Errorf("not exact: rule %s: kernel %v, matcher %v", id, kernel, match)
		case plan.Passes(ev) != kernel:
			t.Errorf("rule %s: the plan says %v, the kernel %v", id, !kernel, kernel)
		default:
			continue
		}
		t.Fatalf("%s\nevent %q", plan, fmt.Sprintf("%+v", *ev))
	}
	for _, r := range passed {
		if live[r.ID] != r {
			t.Fatalf("rule %s version %d passed, which is not live", r.ID, r.Version)
		}
	}
	return hits
}
