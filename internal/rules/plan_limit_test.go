package rules

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"bittern/internal/event"
)

// pair is (executable ends with a and user id is n), which stays a clause of
// its own beside others like it.
func pair(n int) expr {
	return conjunction{
		textLiteral(exe, opEndsWith, fmt.Sprintf("/tool%d", n)),
		numberLiteral(uid, uint64(n)),
	}
}

// checkPairs tries events that satisfy a few pairs, and others.
func checkPairs(t *testing.T, match expr, p *Plan) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		ev := &event.Event{Class: event.ProcessExec}
		n := rnd.IntN(120)
		ev.Process.Executable = fmt.Sprintf("/bin/tool%d", n)
		ev.Process.Invoked = fmt.Sprintf("/bin/tool%d", rnd.IntN(120))
		ev.User.ID = uint32(n)
		if rnd.IntN(3) == 0 {
			ev.User.ID = rnd.Uint32N(120)
		}
		ev.Process.PID = rnd.Uint32N(4)
		if match.eval(ev) && !p.Passes(ev) {
			t.Fatalf("not sound for %+v\n%s", ev, p)
		}
	}
}

func TestTooManyAlternatives(t *testing.T) {
	t.Parallel()
	for n, wantExact := range map[int]bool{maxClauses: true, maxClauses + 1: false, 100: false} {
		var match disjunction
		for i := range n {
			match = append(match, pair(i))
		}
		p := buildPlan(event.ProcessExec, match)
		if len(p.Clauses) != maxClauses || p.Exact != wantExact || p.Exact != (len(p.Notes) == 0) {
			t.Errorf("%d alternatives: %d clauses, exact %v, %d notes", n, len(p.Clauses), p.Exact, len(p.Notes))
		}
		if !p.Narrowed() {
			t.Errorf("%d alternatives: not narrowed", n)
		}
		checkPairs(t, match, p)
	}
}

func TestTooManyCombinations(t *testing.T) {
	t.Parallel()
	// Four times eight alternatives are 4,096 combinations, none implying another.
	var match conjunction
	for i := range 4 {
		var either disjunction
		for j := range 8 {
			either = append(either, conjunction{
				textLiteral(exe, opStartsWith, fmt.Sprintf("/bin/tool%d", (i+j)%9)),
				numberLiteral([]event.Field{uid, event.ProcessPID, event.ProcessParentPID, event.GroupID}[i], uint64(j)),
			})
		}
		match = append(match, either)
	}
	p := buildPlan(event.ProcessExec, match)
	if len(p.Clauses) == 0 || len(p.Clauses) > maxClauses || p.Exact || !p.Narrowed() {
		t.Errorf("%d clauses, exact %v, narrowed %v", len(p.Clauses), p.Exact, p.Narrowed())
	}
	if !strings.Contains(p.String(), reasonCombinations) {
		t.Errorf("no note says why:\n%s", p)
	}
	checkPairs(t, match, p)
}

// Alternatives that only exclude have nothing in common when there are too many
// of them: the plan must not claim to be exact.
func TestTooManyNegatedAlternatives(t *testing.T) {
	t.Parallel()
	var match disjunction
	for i := range 100 {
		match = append(match, negation{numberLiteral(uid, uint64(i))})
	}
	p := buildPlan(event.ProcessExec, match)
	if p.Exact || p.Narrowed() || len(p.Notes) == 0 {
		t.Errorf("exact %v, narrowed %v, %d notes", p.Exact, p.Narrowed(), len(p.Notes))
	}
	checkPairs(t, match, p)
}

func TestTooManyGroups(t *testing.T) {
	t.Parallel()
	for n, wantExact := range map[int]bool{MaxGroups: true, MaxGroups + 1: false, 100: false} {
		var match conjunction
		for i := range n {
			match = append(match, foldLiteral(line, opContains, fmt.Sprintf("%03dx", i)))
		}
		p := buildPlan(event.ProcessExec, match)
		if len(p.Clauses) != 1 || len(p.Clauses[0].Groups) != MaxGroups || p.Exact != wantExact {
			t.Fatalf("%d groups, exact %v of %d\n%s", len(p.Clauses[0].Groups), p.Exact, n, p)
		}
		if want := max(0, n-MaxGroups); len(p.Notes) != want {
			t.Errorf("%d literals: %d notes, want %d", n, len(p.Notes), want)
		}
	}
}

// A list of more keys than a group holds is split, and stays exact.
func TestManyKeys(t *testing.T) {
	t.Parallel()
	var match disjunction
	for i := range 2*maxGroupKeys + 1 {
		match = append(match, textLiteral(exe, opEquals, fmt.Sprintf("/opt/%d", i)))
	}
	start := time.Now()
	p := buildPlan(event.ProcessExec, match)
	t.Logf("planning %d alternatives took %v", len(match), time.Since(start))
	if len(p.Clauses) != 3 || !p.Exact {
		t.Fatalf("%d clauses, exact %v", len(p.Clauses), p.Exact)
	}
	keys := 0
	for _, c := range p.Clauses {
		if len(c.Groups) != 1 || len(c.Groups[0]) > maxGroupKeys {
			t.Errorf("%d groups, the first with %d keys", len(c.Groups), len(c.Groups[0]))
		}
		keys += len(c.Groups[0])
	}
	if keys != len(match) {
		t.Errorf("%d keys for %d values", keys, len(match))
	}
	not := buildPlan(event.ProcessExec, negation{match})
	if !not.Exact || len(not.Clauses) != 1 || len(not.Clauses[0].Not) != len(match) {
		t.Errorf("negated: exact %v, %d clauses", not.Exact, len(not.Clauses))
	}
}

// Whatever a rule file holds must be planned in no time: one goroutine compiles
// all of them.
func BenchmarkPlanWorst(b *testing.B) {
	regexpOf := func(pattern string) expr {
		re, tree, err := compileRegexp(pattern, false)
		if err != nil {
			b.Fatal(err)
		}
		return &literal{field: line, op: opRegexp, re: re, syntax: tree}
	}
	var words []string
	var contains, contained, pairs disjunction
	for i := range 4096 {
		words = append(words, fmt.Sprintf("w%dx", i*7919%4096))
		contains = append(contains, foldLiteral(line, opContains, fmt.Sprintf("long text no. %d", i)))
		contained = append(contained, textLiteral(exe, opEndsWith, strings.Repeat("/x", i%60)+fmt.Sprint(i)))
		pairs = append(pairs, pair(i))
	}
	var all conjunction
	for _, e := range contains {
		all = append(all, e)
	}
	var product conjunction
	for i := range 100 {
		product = append(product, pairs[3*i:3*i+3])
	}
	for _, test := range []struct {
		name  string
		match expr
	}{
		{"product of alternatives", product},
		{"regexp alternation", regexpOf(strings.Join(words[:600], "|"))},
		{"regexp alternations", regexpOf("(?:" + strings.Join(words[:300], "|") + ").*(?:" + strings.Join(words[300:600], "|") + ")")},
		{"regexp options", regexpOf("(?:[ab]?c){500}")},
		{"regexp text", regexpOf("(?i)" + strings.Repeat("abcdefgh", 250))},
		{"any of 4096 texts", contains},
		{"none of 4096 texts", negation{contains}},
		{"all of 4096 texts", all},
		{"any of 4096 tails", contained},
		{"none of 4096 tails", negation{contained}},
		{"any of 4096 pairs", pairs},
		{"none of 4096 pairs", negation{pairs}},
	} {
		b.Run(test.name, func(b *testing.B) {
			for b.Loop() {
				buildPlan(event.ProcessExec, test.match)
			}
		})
	}
}
