package rules

import (
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
	"pgregory.net/rapid"
)

// A list that is read without the YAML parser is the same as by it.
func TestPlainListIsAsParsed(t *testing.T) {
	values := []string{
		"/usr/bin/curl", "evil.example", "2001:db8::1", "::1", "10.0.0.1", "10.0.0.0/8", "1", "01", "1_000", "0x1f", "0o7", "1e3", "1.5", ".5", ".inf", "true",
		"True", "no", "null", "~", "y", "2026-01-31", "1:30", "a:", ":a", "a b", "a #b", "a#b", "- a", "-", "", "'q'", "\"q\"", "[a]", "{a: b}", "*a", "&a", "!a", "%a",
		"a: b", "a=b", "=", "<<", "a\tb", "é", "...", "---", "x-y", "-x", "_", "|", ">", "a\r", "@a", "`a",
	}
	plain := 0
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		for range rapid.IntRange(0, 5).Draw(t, "lines") {
			text.WriteString(rapid.SampledFrom([]string{"- ", "- ", "- ", "- ", "-  ", " - ", "", "# ", "-"}).Draw(t, "before"))
			text.WriteString(rapid.SampledFrom(values).Draw(t, "value"))
			text.WriteString(rapid.SampledFrom([]string{"\n", "\n", "\n", "\n\n", " \n", ""}).Draw(t, "after"))
		}
		have := plainList([]byte(text.String()))
		if have == nil {
			return
		}
		plain++
		nodes, problem := splitDocuments("x", []byte(text.String()))
		if problem != nil || len(nodes) != 1 {
			t.Fatalf("%q is no list: %v", text.String(), problem)
		}
		if want := nodes[0]; !sameTree(want, have) {
			t.Fatalf("%q: have %+v, want %+v", text.String(), have, want)
		}
	})
	if plain == 0 {
		t.Error("no list was plain")
	}
}

func sameTree(a, b *yaml.Node) bool {
	if a.Kind != b.Kind || a.ShortTag() != b.ShortTag() || a.Value != b.Value || a.Line != b.Line || a.Column != b.Column ||
		a.Style != b.Style || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !sameTree(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}
