package rules

import "testing"

// Each entry of the tables says what it is, once.
func TestKeyTables(t *testing.T) {
	for name, keys := range map[string][]KeyInfo{"a rule": Keys(), "emits": EmitKeys(), "exceptions": ExceptionKeys(), "limit": LimitKeys(), "match": MatchKeys(), "tests": TestKeys()} {
		seen := make(map[string]bool)
		for _, k := range keys {
			if seen[k.Name] || k.Type == "" || k.Doc == "" || (k.Type == TypeText || k.Type == TypeTexts) && k.Most == 0 {
				t.Errorf("key of %s: %+v", name, k)
			}
			seen[k.Name] = true
		}
	}
	for _, m := range Modifiers() {
		if m.Doc == "" {
			t.Errorf("modifier %s is not described", m.Name)
		}
	}
}
