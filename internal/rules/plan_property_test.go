package rules_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"bittern/internal/event"
	"bittern/internal/rules"
	"bittern/internal/rules/rulestest"
)

// The promise of a plan: whatever the rule matches passes; if Exact, nothing
// else does.
func TestPlanIsSound(t *testing.T) {
	t.Parallel()
	for _, class := range event.Classes() {
		t.Run(class.String(), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) { checkSound(t, class) })
		})
	}
}

func checkSound(t *rapid.T, class event.Class) {
	g := rulestest.New(rapid.Uint64().Draw(t, "seed"))
	text := g.RuleFor("R1", 1, class)
	rule := rulestest.Parse(t, text)
	plan := rule.Plans()[0]
	checkShape(t, plan)
	for range 40 {
		ev := g.EventFor(class)
		match, pass := rule.Match(ev), plan.Passes(ev)
		if match && !pass {
			t.Fatalf("the rule matches, but the plan does not pass %+v\n%s\n%s", ev, text, plan)
		}
		if plan.Exact && pass && !match {
			t.Fatalf("the plan is marked exact and passes, but the rule does not match %+v\n%s\n%s", ev, text, plan)
		}
	}
}

func TestPlanIsDeterministic(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		class := rapid.SampledFrom(event.Classes()).Draw(t, "class")
		text := rulestest.New(rapid.Uint64().Draw(t, "seed")).RuleFor("R1", 1, class)
		first, second := rulestest.Parse(t, text).Plans(), rulestest.Parse(t, text).Plans()
		if diff := cmp.Diff(first, second, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Fatalf("the same rule gave two plans: %s", diff)
		}
	})
}

// The generator is of use only if both outcomes occur, for plans of all sorts.
func TestGeneratorHits(t *testing.T) {
	t.Parallel()
	for _, class := range event.Classes() {
		t.Run(class.String(), func(t *testing.T) {
			t.Parallel()
			checkGenerator(t, class)
		})
	}
}

func checkGenerator(t *testing.T, class event.Class) {
	var matched, missed, exact, narrowed, saved int
	const total = 4000
	for seed := range uint64(total) {
		g := rulestest.New(seed)
		rule := rulestest.Parse(t, g.RuleFor("R1", 1, class))
		plan := rule.Plans()[0]
		if plan.Exact {
			exact++
		}
		if plan.Narrowed() {
			narrowed++
		}
		ev := g.EventFor(class)
		if rule.Match(ev) {
			matched++
		} else {
			missed++
			if !plan.Passes(ev) {
				saved++
			}
		}
	}
	t.Logf("of %d: %d match, %d exact, %d narrowed; of %d misses the plan holds back %d", total, matched, exact, narrowed, missed, saved)
	for name, n := range map[string]int{"matched": matched, "missed": missed, "exact": exact, "narrowed": narrowed, "held back": saved} {
		if n < total/20 {
			t.Errorf("%s: %d of %d, too few for the property tests to mean anything", name, n, total)
		}
	}
}

// checkShape checks what the loader relies on.
func checkShape(t *rapid.T, p *rules.Plan) {
	if p.Exact != (len(p.Notes) == 0) {
		t.Fatalf("exact is %v with %d notes", p.Exact, len(p.Notes))
	}
	if len(p.Clauses) > 64 {
		t.Fatalf("%d clauses", len(p.Clauses))
	}
	for _, c := range p.Clauses {
		if len(c.Groups) > rules.MaxGroups {
			t.Fatalf("%d groups", len(c.Groups))
		}
		for _, g := range append(c.Groups[:len(c.Groups):len(c.Groups)], c.Not) {
			seen := map[rules.Key]bool{}
			for _, k := range g {
				if seen[k] {
					t.Fatalf("key twice: %v", k)
				}
				seen[k] = true
				checkKey(t, k)
			}
		}
		for _, g := range c.Groups {
			if len(g) == 0 {
				t.Fatalf("empty group in\n%s", p)
			}
		}
	}
}

func checkKey(t *rapid.T, k rules.Key) {
	if !rules.KernelField(k.Field) {
		t.Fatalf("the kernel does not know %s", k.Field)
	}
	info := k.Field.Info()
	if byNumber := info.Kind != event.String || info.Values != nil; byNumber != (k.Kind == rules.NumberEquals) {
		t.Fatalf("key of kind %d for %s", k.Kind, k.Field)
	}
	if info.Values != nil && (k.Number == 0 || k.Number > uint64(len(info.Values))) {
		t.Fatalf("%d is no code of %s", k.Number, k.Field)
	}
	switch n := len(k.Text); k.Kind {
	case rules.Gram:
		if n < 2 || n > 4 || !k.Fold {
			t.Fatalf("bad gram %+v", k)
		}
	case rules.Prefix, rules.Suffix:
		if n == 0 || n > rules.MaxKeyBytes {
			t.Fatalf("bad length of %+v", k)
		}
	case rules.Equals:
		if n > rules.MaxKeyBytes {
			t.Fatalf("bad length of %+v", k)
		}
	}
}
