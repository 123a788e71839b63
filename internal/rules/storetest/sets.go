package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"bittern/internal/rules"
)

// setChecks are those that a store has to pass about edits that belong together.
var setChecks = map[string]func(t *testing.T, b Backend){
	"each change is its own, and says to which set it belongs": marked,
	"nothing of one is live while a part is wrong":             refused,
	"two definitions of a rule are wrong":                      ambiguous,
	"rules move, are made and deleted within one":              moved,
	"what was wrong before does not stand in its way": func(t *testing.T, b Backend) {
		sub := b.Changes()
		b.Put(t, "bad.yml", Join(Text("R1", 1), Text("R2", 1)))
		Expect(t, sub, "definition R1 v1", "definition R2 v1")
		b.Put(t, "bad.yml", Join(Text("R1", 1), BadText("R2")))
		b.Put(t, "twin.yml", Text("R1", 1))
		Expect(t, sub, "rejected R2", "rejected R1")
		b.Together(t, func() {
			b.Put(t, "c.yml", Text("R3", 1))
			b.Put(t, "d.yml", Text("R4", 1))
		})
		oneSet(t, Expect(t, sub, "definition R3 v1", "definition R4 v1"))
		Quiet(t, b, sub)
		WantProblem(t, b, "bad.yml", "needle-(99", "R2")
		WantProblem(t, b, "twin.yml", "already defined")
	},
	"states are not held": func(t *testing.T, b Backend) {
		sub := b.Changes()
		b.Put(t, "a.yml", Join(Text("R1", 1), Text("R2", 1)))
		Expect(t, sub, "definition R1 v1", "definition R2 v1")
		b.Together(t, func() {
			b.Put(t, "a.yml", Join(Text("R1", 2), Text("R2", 2)))
			set(t, b, "R1", disabled, "alice")
			Expect(t, sub, "state R1 disabled by alice")
			WantLive(t, b, "R1v1 R2v1")
		})
		all := Expect(t, sub, "definition R1 v2", "definition R2 v2")
		oneSet(t, all)
		if all[0].State.State != rules.Disabled || all[1].State.State != rules.Enabled {
			t.Errorf("states are %+v and %+v", all[0].State, all[1].State)
		}
		Quiet(t, b, sub)
	},
	"a snapshot has all of it or nothing": whole,
}

// oneSet checks that changes are all of one set, and returns that.
func oneSet(t testing.TB, changes []rules.Change) rules.ChangeSet {
	t.Helper()
	set := changes[0].Set
	if set.ID == 0 || !set.Whole || set.Size != len(changes) {
		t.Errorf("%d changes are of set %+v", len(changes), set)
	}
	for _, c := range changes {
		if c.Set != set {
			t.Errorf("%s is of set %+v, not of %+v", Show(c), c.Set, set)
		}
	}
	return set
}

func marked(t *testing.T, b Backend) {
	sub := b.Changes()
	b.Put(t, "a.yml", Text("R1", 1))
	if c := Expect(t, sub, "definition R1 v1")[0]; c.Set != (rules.ChangeSet{}) {
		t.Errorf("an edit of its own is of set %+v", c.Set)
	}
	seen := map[uint64]bool{}
	for version := 2; version < 6; version++ {
		var want []string
		b.Together(t, func() {
			for i := 1; i <= version; i++ {
				id := fmt.Sprintf("R%d", i)
				b.Put(t, string(rune('a'+i-1))+".yml", Text(id, version))
				want = append(want, fmt.Sprintf("definition %s v%d", id, version))
			}
			b.Put(t, "zz.yml", Text("GONE", 1))
			b.Remove(t, "zz.yml")
		})
		seen[oneSet(t, Expect(t, sub, want...)).ID] = true
		Quiet(t, b, sub)
	}
	if len(seen) != 4 {
		t.Errorf("four sets have the ids %v", seen)
	}
	b.Together(t, func() {
		b.Put(t, "a.yml", Text("R1", 9))
		b.Put(t, "a.yml", Text("R1", 5)) // what it is
	})
	b.Together(t, func() {})
	Quiet(t, b, sub)
}

func refused(t *testing.T, b Backend) {
	sub := b.Changes()
	b.Put(t, "a.yml", Text("R1", 1))
	b.Put(t, "b.yml", Text("R2", 1))
	b.Put(t, "c.yml", Text("R3", 1))
	Expect(t, sub, "definition R1 v1", "definition R2 v1", "definition R3 v1")
	b.Together(t, func() {
		b.Put(t, "a.yml", Text("R1", 2))
		b.Put(t, "b.yml", BadText("R2"))
		b.Put(t, "d.yml", Text("R4", 1))
		b.Remove(t, "c.yml")
	})
	rejected := Expect(t, sub, "rejected R2", "rejected")
	if text := rejected[1].Problems.Error(); !strings.Contains(text, "a set of 4 files waits") || !strings.Contains(text, "b.yml is wrong") {
		t.Errorf("the set is rejected since %q", text)
	}
	WantLive(t, b, "R1v1 R2v1 R3v1")
	WantProblem(t, b, "b.yml", "needle-(99", "R2")
	WantProblem(t, b, "a.yml", "waits, with its set of 4 files: b.yml is wrong", "R1")
	WantProblem(t, b, "c.yml", "waits", "R3")
	WantProblem(t, b, "d.yml", "waits")

	// What is edited now is part of it, and does not make it right.
	b.Put(t, "e.yml", Text("R5", 1))
	text := Expect(t, sub, "rejected R2", "rejected")[1].Problems.Error()
	if !strings.Contains(text, "a set of 5 files waits") {
		t.Errorf("the set is rejected since %q", text)
	}
	b.Together(t, func() {
		b.Put(t, "b.yml", Text("R2", 2))
		b.Put(t, "d.yml", CutText)
	})
	Expect(t, sub, "rejected", "rejected")
	WantLive(t, b, "R1v1 R2v1 R3v1")
	WantProblem(t, b, "b.yml", "waits, with its set of 5 files: d.yml is wrong", "R2")

	b.Put(t, "d.yml", Text("R4", 2))
	all := []string{}
	changes := []rules.Change{}
	for range 5 {
		c := Next(t, sub)
		changes, all = append(changes, c), append(all, Show(c))
	}
	oneSet(t, changes)
	slices.Sort(all)
	want := []string{"definition R1 v2", "definition R2 v2", "definition R4 v2", "definition R5 v1", "deleted R3"}
	if !slices.Equal(all, want) {
		t.Errorf("changes are %q, want %q", all, want)
	}
	WantLive(t, b, "R1v2 R2v2 R4v2 R5v1")
	Quiet(t, b, sub)
	if got := b.Problems(); len(got) > 0 {
		t.Errorf("problems remain: %+v", got)
	}
}

func ambiguous(t *testing.T, b Backend) {
	sub := b.Changes()
	b.Put(t, "a.yml", Text("R1", 1))
	Expect(t, sub, "definition R1 v1")
	for _, c := range []struct{ name, text, problem string }{
		{"b.yml", Join(Text("R2", 1), Text("R1", 2)), "already defined in"}, // as one that is not of the set
		{"b.yml", Join(Text("R2", 1), Text("R2", 2)), "R2"},
		{"b.yml", Text("R3", 1), "already defined in"}, // as another of the set
	} {
		b.Together(t, func() {
			b.Put(t, c.name, c.text)
			b.Put(t, "c.yml", Text("R3", 1))
		})
		for Show(Next(t, sub)) != "rejected" {
		}
		WantLive(t, b, "R1v1")
		if problems := b.Problems(); !strings.Contains(fmt.Sprint(problems), c.problem) {
			t.Errorf("problems are %+v, want %q", problems, c.problem)
		}
	}
	b.Remove(t, "c.yml")
	oneOf(t, sub, "definition R3 v1")
	WantLive(t, b, "R1v1 R3v1")
	Quiet(t, b, sub)
}

// oneOf receives changes until the one that is wanted, and no others than rejections.
func oneOf(t testing.TB, sub *rules.Subscription, want string) {
	t.Helper()
	for got := ""; got != want; {
		c := Next(t, sub)
		if got = Show(c); got != want && c.Kind != rules.Rejected {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}

func moved(t *testing.T, b Backend) {
	sub := b.Changes()
	b.Put(t, "a.yml", Join(Text("R1", 1), Text("R2", 1)))
	b.Put(t, "b.yml", Text("R3", 1))
	Expect(t, sub, "definition R1 v1", "definition R2 v1", "definition R3 v1")
	b.Together(t, func() {
		b.Rename(t, "a.yml", "c.yml")
		b.Put(t, "b.yml", Join(Text("R3", 2), Text("R2", 2)))
		b.Put(t, "c.yml", Text("R4", 1))
	})
	var got []string
	var changes []rules.Change
	for range 4 {
		c := Next(t, sub)
		changes, got = append(changes, c), append(got, Show(c))
	}
	oneSet(t, changes)
	slices.Sort(got)
	if want := []string{"definition R2 v2", "definition R3 v2", "definition R4 v1", "deleted R1"}; !slices.Equal(got, want) {
		t.Errorf("changes are %q, want %q", got, want)
	}
	b.Together(t, func() { b.Rename(t, "c.yml", "d.yml") })
	Quiet(t, b, sub)
	WantLive(t, b, "R2v2 R3v2 R4v1")
}

// whole looks at the rules again and again while sets change them.
func whole(t *testing.T, b Backend) {
	const sets = 20
	sub := b.Changes()
	b.Put(t, "a.yml", Text("R1", 1))
	Expect(t, sub, "definition R1 v1")
	b.Put(t, "b.yml", Text("R2", 1))
	Expect(t, sub, "definition R2 v1")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			loaded, after := b.Subscribe()
			if loaded[0].Version != loaded[1].Version {
				t.Errorf("live are %q", Live(loaded))
			}
			if c, ok := after.TryNext(); ok && c.RuleID != "R1" {
				t.Errorf("after a snapshot comes %s, the half of a set", Show(c))
			}
			after.Close()
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for i := range sets {
		b.Together(t, func() {
			b.Put(t, "a.yml", Text("R1", i+2))
			b.Put(t, "b.yml", Text("R2", i+2))
		})
		oneSet(t, Expect(t, sub, fmt.Sprintf("definition R1 v%d", i+2), fmt.Sprintf("definition R2 v%d", i+2)))
	}
	close(stop)
	<-stopped
	Quiet(t, b, sub)
}
