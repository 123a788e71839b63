package rules_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/rules"
)

// Each testdata/plans/*.yml has a .txt beside it with the plans of its rules.
func TestPlansGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/plans/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding rule files: %v, %d found", err, len(files))
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			file := rules.Parse(filepath.Base(path), data, rules.Options{})
			if problems := file.AllProblems(); len(problems) > 0 {
				t.Fatal(problems)
			}
			var b strings.Builder
			for _, doc := range file.Documents {
				fmt.Fprintf(&b, "%s %s\n", doc.RuleID, doc.Rule.Name)
				for _, plan := range doc.Rule.Plans() {
					b.WriteString(plan.String() + "\n")
				}
			}
			golden := strings.TrimSuffix(path, ".yml") + ".txt"
			if os.Getenv("BITTERN_UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("%s (-want +got; BITTERN_UPDATE_GOLDEN=1 accepts):\n%s", golden, diff)
			}
		})
	}
}
