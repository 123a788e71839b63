package metrics

import (
	"os"
	"strings"
	"testing"
)

// TestDocs compares docs/metrics.md with what there is.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	families, err := counted(t, counts{}).registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, f := range families {
		name := f.GetName()
		if !strings.HasPrefix(name, namespace+"_") {
			continue
		}
		known[name] = true
		if !strings.Contains(string(text), "| `"+name+"` |") {
			t.Errorf("docs/metrics.md does not have %s", name)
		}
	}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "| `"), "`")
		if strings.HasPrefix(line, "| `"+namespace+"_") && !known[name] {
			t.Errorf("docs/metrics.md has %s, which there is not", name)
		}
	}
}
