package rules_test

import (
	"fmt"
	"testing"

	"bittern/internal/rules"
	"bittern/internal/rules/rulestest"
)

// TestMixedCorpus expects rules without problems, and no id twice.
func TestMixedCorpus(t *testing.T) {
	seen := make(map[string]bool)
	for i, text := range rulestest.MixedCorpus(4096) {
		name := fmt.Sprintf("c%04d.yml", i)
		f := rules.Parse(name, []byte(text), rules.Options{})
		if len(f.Documents) != 1 || f.Documents[0].Rule == nil || len(f.Documents[0].Problems) > 0 {
			t.Fatalf("%s is not right:\n%s", name, text)
		}
		id := f.Documents[0].Rule.ID
		if seen[id] {
			t.Fatalf("%s is there twice", id)
		}
		seen[id] = true
	}
}
