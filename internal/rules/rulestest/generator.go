// Package rulestest makes random rules and random events for tests that compare
// two ways of deciding the same thing. Both are made of one small vocabulary, so
// that events often hit rules, and often miss them by one byte.
package rulestest

import (
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// Generator makes rules and events; the same seed makes the same ones. It is for
// one goroutine.
type Generator struct{ rnd *rand.Rand }

// New returns a generator.
func New(seed uint64) *Generator {
	return &Generator{rnd: rand.New(rand.NewPCG(seed, 0))}
}

// Rules draws n rules, with the ids R0, R1, ... They are read by rules.Parse.
func Rules(t *rapid.T, n int) []*rules.Rule {
	g := New(rapid.Uint64().Draw(t, "seed of rules"))
	out := make([]*rules.Rule, n)
	for i := range out {
		out[i] = Parse(t, g.Rule("R"+itoa(i), 1))
	}
	return out
}

// Events draws one event.
func Events(t *rapid.T) *event.Event {
	return New(rapid.Uint64().Draw(t, "seed of event")).Event()
}

// fataler is what *testing.T and *rapid.T have in common here.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

var (
	_ fataler = (*testing.T)(nil)
	_ fataler = (*rapid.T)(nil)
)

// Parse returns the one rule of a rule file, and ends the test if it has a
// problem.
func Parse(t fataler, text string) *rules.Rule {
	t.Helper()
	file := rules.Parse("random.yml", []byte(text), rules.Options{})
	if problems := file.AllProblems(); problems.Failed() || len(file.Documents) != 1 {
		t.Fatalf("parsing a generated rule: %v\n%s", problems, text)
	}
	return file.Documents[0].Rule
}

// oneIn reports true once in n times.
func (g *Generator) oneIn(n int) bool { return g.rnd.IntN(n) == 0 }

// between returns a number from low to high, both included.
func (g *Generator) between(low, high int) int { return low + g.rnd.IntN(high-low+1) }

func pick[T any](g *Generator, from []T) T { return from[g.rnd.IntN(len(from))] }

// swapCase changes the case of some ASCII letters.
func (g *Generator) swapCase(s string) string {
	b := []byte(s)
	for i, c := range b {
		if lower := c | 0x20; 'a' <= lower && lower <= 'z' && g.oneIn(2) {
			b[i] ^= 0x20
		}
	}
	return string(b)
}

// cut returns a part of s between two rune boundaries. It may be empty.
func (g *Generator) cut(s string) (before, part, after string) {
	runes := []rune(s)
	from := g.between(0, len(runes))
	to := g.between(from, len(runes))
	return string(runes[:from]), string(runes[from:to]), string(runes[to:])
}

// longText returns n bytes; texts of different lengths start and end alike.
func longText(n int) string {
	const unit = "/long-Part.0"
	head := strings.Repeat(unit, n/len(unit)/2)
	return head + unit[:n%len(unit)] + strings.Repeat(unit, n/len(unit)-n/len(unit)/2)
}
