package fsstore

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bittern/internal/rules"
)

var (
	setNames = []string{"a.yml", "b.yml", "c.yml"}
	setIDs   = []string{"R1", "R2", "R3"}
)

// TestSetInvariants makes random edits and checks, after each, what must hold
// whatever the edits were.
func TestSetInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSet()
		followed := map[string]rules.Hash{} // what a subscriber takes to be live
		for range rapid.IntRange(1, 20).Draw(t, "batches") {
			announced := map[string]bool{}
			for _, c := range s.apply(linked{updates: drawBatch(t, s)}) {
				if c.Kind == rules.Rejected {
					if !c.Problems.Failed() {
						t.Fatalf("%q is rejected without a reason", c.RuleID)
					}
					continue
				}
				if announced[c.RuleID] {
					t.Fatalf("%s is announced twice", c.RuleID)
				}
				announced[c.RuleID] = true
				h, live := followed[c.RuleID]
				switch {
				case c.Kind == rules.Definition && live && h == c.Rule.Hash:
					t.Fatalf("%s is announced without being new", c.RuleID)
				case c.Kind == rules.Definition:
					followed[c.RuleID] = c.Rule.Hash
				case !live:
					t.Fatalf("%s is deleted without being live", c.RuleID)
				default:
					delete(followed, c.RuleID)
				}
			}
			checkSet(t, s, followed)
		}
	})
}

func drawBatch(t *rapid.T, s *set) []update {
	names := rapid.Permutation(setNames).Draw(t, "names")[:rapid.IntRange(1, len(setNames)).Draw(t, "dirty")]
	var batch []update
	for _, name := range names {
		u := update{name: name, path: name, kind: rapid.SampledFrom([]updateKind{judge, judge, judge, confirm, wait, refuse, miss, drop}).Draw(t, "kind")}
		if u.kind == confirm && s.sources[name] != nil && !s.sources[name].judged {
			u.kind = wait // the store confirms only what it has judged, or waits for
		}
		switch u.kind {
		case judge:
			u.sum = digest{byte(rapid.Uint8().Draw(t, "sum"))}
			u.file = drawFile(t, name)
			if from := rapid.SampledFrom(setNames).Draw(t, "from"); rapid.Bool().Draw(t, "renamed") && !slices.Contains(names, from) {
				u.from = from
			}
		case refuse:
			u.problem = &rules.Problem{Message: "unreadable"}
		}
		batch = append(batch, u)
	}
	return batch
}

func drawFile(t *rapid.T, name string) *rules.File {
	if rapid.IntRange(0, 9).Draw(t, "blank") == 0 {
		return nil
	}
	f := &rules.File{Path: name, Complete: rapid.IntRange(0, 4).Draw(t, "complete") > 0}
	if !f.Complete {
		f.Problems = rules.Problems{{Message: "cut"}}
	}
	for _, id := range rapid.SliceOfN(rapid.SampledFrom(append(setIDs, "")), 0, 3).Draw(t, "ids") {
		d := rules.Document{RuleID: id, Problems: rules.Problems{{RuleID: id, Message: "bad"}}}
		if id != "" && rapid.IntRange(0, 3).Draw(t, "good") > 0 {
			d.Problems = nil
			d.Rule = &rules.Rule{ID: id, Hash: rules.Hash{byte(rapid.IntRange(1, 3).Draw(t, "version"))}}
		}
		f.Documents = append(f.Documents, d)
	}
	return f
}

func checkSet(t *rapid.T, s *set, followed map[string]rules.Hash) {
	live := map[string]rules.Hash{}
	for id, l := range s.live {
		live[id] = l.rule.Hash
		if s.sources[l.owner.name] != l.owner {
			t.Fatalf("%s is owned by %s, which is gone", id, l.owner.name)
		}
		if _, owned := l.owner.owned[id]; !owned {
			t.Fatalf("%s does not know that it owns %s", l.owner.name, id)
		}
		if c, ok := l.owner.claims[id]; ok && c.rule != l.rule {
			t.Fatalf("%s is live in another version than %s has", id, l.owner.name)
		} else if !ok && !l.owner.holds(id) {
			t.Fatalf("%s is live, but %s neither has nor holds it", id, l.owner.name)
		}
	}
	if !maps.Equal(live, followed) {
		t.Fatalf("changes lead to %v, live are %v", followed, live)
	}
	claims := 0
	for _, src := range s.sources {
		for id := range src.owned {
			if s.live[id] == nil || s.live[id].owner != src {
				t.Fatalf("%s takes itself for the owner of %s", src.name, id)
			}
		}
		for id := range src.claims {
			claims++
			if !slices.Contains(s.claims[id], src) {
				t.Fatalf("the index lacks that %s claims %s", src.name, id)
			}
			if s.live[id] == nil && !src.missing {
				t.Fatalf("%s claims %s, which is not live", src.name, id)
			}
		}
	}
	for _, claimants := range s.claims {
		claims -= len(claimants)
	}
	if claims != 0 {
		t.Fatalf("the index has %d claims too many", -claims)
	}
}
