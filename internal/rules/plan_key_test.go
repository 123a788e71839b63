package rules

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"bittern/internal/event"
)

// randomKey is over so few letters that keys often imply each other.
func randomKey(rnd *rand.Rand) Key {
	text := randomText(rnd, 5)
	k := Key{Field: exe, Kind: KeyKind(1 + rnd.IntN(4)), Fold: rnd.IntN(2) == 0, Text: text}
	if rnd.IntN(8) == 0 {
		k.Field = dir
	}
	if rnd.IntN(8) == 0 {
		return Key{Field: uid, Kind: NumberEquals, Number: rnd.Uint64N(3)}
	}
	switch {
	case k.Kind == Gram && len(text) < minGram:
		k.Text = "aB"
	case k.Kind == Gram && len(text) > maxGram:
		k.Text = text[:maxGram]
	case k.Kind != Equals && text == "":
		k.Text = "b"
	}
	return stringKey(k)
}

func randomText(rnd *rand.Rand, most int) string {
	b := make([]byte, rnd.IntN(most+1))
	for i := range b {
		b[i] = "aAb/"[rnd.IntN(4)]
	}
	return string(b)
}

func randomTextEvent(rnd *rand.Rand) *event.Event {
	ev := &event.Event{Class: event.ProcessExec}
	ev.Process.Executable = randomText(rnd, 6)
	ev.Process.Invoked = randomText(rnd, 6)
	ev.Process.WorkingDirectory = randomText(rnd, 6)
	ev.User.ID = rnd.Uint32N(3)
	return ev
}

// What a key set says about implication must hold for every event; and leaving
// out implied keys must not change what a group is hit by.
func TestKeySetCovers(t *testing.T) {
	t.Parallel()
	implied := 0
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		for range 20 { // a short run checks few times, and some key must imply another
			keys := make([]Key, 1+rnd.IntN(4))
			for i := range keys {
				keys[i] = randomKey(rnd)
			}
			k := randomKey(rnd)
			set := newKeySet(keys)
			covered := set.covers(k)
			if covered {
				implied++
			}
			group := normalGroup(append([]Key(nil), keys...))
			for range 50 {
				ev := randomTextEvent(rnd)
				hit := anyHit(keys, ev)
				if covered && k.Hits(ev) && !hit {
					t.Fatalf("%+v is said to imply one of %+v, but not for %+v", k, keys, ev)
				}
				if hit != anyHit(group, ev) {
					t.Fatalf("%+v became %+v, which differ for %+v", keys, group, ev)
				}
			}
		}
	})
	if implied == 0 {
		t.Error("no key implied another")
	}
}

func anyHit(keys []Key, ev *event.Event) bool {
	for _, k := range keys {
		if k.Hits(ev) {
			return true
		}
	}
	return false
}

// Drafts are rewritten in many ways, all of which must keep what they mean:
// covers are compared with the plain evaluation of what they were made from.
func TestCoverAlgebra(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		match := randomExpr(rnd, 4)
		p := buildPlan(event.ProcessExec, match)
		if !p.Exact {
			t.Skip("too many groups, for once")
		}
		for range 50 {
			ev := randomTextEvent(rnd)
			if match.eval(ev) != p.Passes(ev) {
				t.Fatalf("match %v for %+v\n%s", match.eval(ev), ev, p)
			}
		}
	})
}

// What passes one of the drafts passes what they collapse to.
func TestCollapse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var drafts []draft
		for range 2 + rnd.IntN(3) {
			var d draft
			for range rnd.IntN(4) {
				d.groups = append(d.groups, newGroup(normalGroup([]Key{randomKey(rnd), randomKey(rnd)}), &literal{}))
			}
			if rnd.IntN(2) == 0 {
				d.not = newGroup(normalGroup([]Key{randomKey(rnd)}), &literal{})
			}
			if d, ok := d.normalise(); ok {
				drafts = append(drafts, d)
			}
		}
		if len(drafts) == 0 {
			return
		}
		one := collapse(drafts, "reason").clause(event.ProcessExec)
		for range 50 {
			ev := randomTextEvent(rnd)
			for _, d := range drafts {
				if d.clause(event.ProcessExec).passes(ev) && !one.passes(ev) {
					t.Fatalf("%+v passes %+v, but not %+v", ev, d.clause(event.ProcessExec), one)
				}
			}
		}
	})
}

// randomExpr is made of literals that keys decide.
func randomExpr(rnd *rand.Rand, depth int) expr {
	if depth == 0 || rnd.IntN(5) == 0 {
		k := randomKey(rnd)
		l := &literal{field: k.Field, fold: k.Fold, text: k.Text, number: k.Number}
		l.op = map[KeyKind]operator{Equals: opEquals, Prefix: opStartsWith, Suffix: opEndsWith, Gram: opContains, NumberEquals: opNumber}[k.Kind]
		return l
	}
	operands := make([]expr, rnd.IntN(4))
	for i := range operands {
		operands[i] = randomExpr(rnd, depth-1)
	}
	switch rnd.IntN(3) {
	case 0:
		return conjunction(operands)
	case 1:
		return disjunction(operands)
	}
	return negation{randomExpr(rnd, depth-1)}
}
