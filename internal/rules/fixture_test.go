package rules

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the messages expected of the bad fixtures")

// fakeCatalogue stands in for ATT&CK in the fixtures.
type fakeCatalogue struct{}

func (fakeCatalogue) Check(id string) (replacement string, status AttackStatus) {
	switch id {
	case "TA9999", "T9999", "T1059.999":
		return "", AttackUnknown
	case "T1111":
		return "T1112", AttackRevoked
	case "T2222.001":
		return "T2223.004", AttackDeprecated
	case "T3333":
		return "", AttackDeprecated
	}
	return "", AttackKnown
}

func parseFixture(t *testing.T, path string) *File {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(filepath.Base(path), "list_file_") {
		return ParseList("tools", filepath.Base(path), data, Options{})
	}
	return Parse(filepath.Base(path), data, Options{Attack: fakeCatalogue{}})
}

func fixtures(t *testing.T, pattern string, least int) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(paths) < least {
		t.Fatalf("have %d fixtures %s, want at least %d (%v)", len(paths), pattern, least, err)
	}
	return paths
}

func TestGoodFixtures(t *testing.T) {
	for _, path := range fixtures(t, "*.good.yml", 15) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f := parseFixture(t, path)
			if problems := f.AllProblems(); len(problems) > 0 {
				t.Fatalf("problems:\n%s", problems.Error())
			}
			if !f.Complete {
				t.Error("file is not complete")
			}
			for _, d := range f.Documents {
				if d.Rule == nil || d.RuleID != d.Rule.ID {
					t.Fatalf("document %+v has no rule of its id", d)
				}
				if problems := d.Rule.RunTests(); len(problems) > 0 {
					t.Errorf("tests of rule %s:\n%s", d.RuleID, problems.Error())
				}
			}
		})
	}
}

func TestBadFixtures(t *testing.T) {
	for _, path := range fixtures(t, "*.bad.yml", 40) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f := parseFixture(t, path)
			problems := f.AllProblems()
			if !problems.Failed() {
				t.Error("no error was reported")
			}
			for _, d := range f.Documents {
				if (d.Rule == nil) != d.Problems.Failed() {
					t.Errorf("document of rule %q: have a rule: %v; problems: %q", d.RuleID, d.Rule != nil, d.Problems)
				}
			}
			golden := strings.TrimSuffix(path, ".yml") + ".txt"
			have := problems.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(have), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), have); diff != "" {
				t.Errorf("messages differ (-want +have):\n%s", diff)
			}
		})
	}
}

// Messages that no fixture can bring about.
var exempt = map[string]string{
	"file has more than %d nodes": "the file would be large; see TestLimits",
}

// TestEveryMessageHasAFixture finds the messages in the source, and looks for
// each among those expected of the fixtures.
func TestEveryMessageHasAFixture(t *testing.T) {
	var expected strings.Builder
	// Messages about states are expected in the source of their test.
	for _, path := range append(fixtures(t, "*.bad.txt", 40), "state_test.go") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		expected.Write(text)
	}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	messages := 0
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), source, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			format, ok := messageOf(call)
			if !ok {
				return true
			}
			messages++
			if exempt[format] == "" && !formatPattern(format).MatchString(expected.String()) {
				t.Errorf("%s: no fixture gives the message %q", source, format)
			}
			return true
		})
	}
	if messages < 40 {
		t.Errorf("found only %d messages in the source", messages)
	}
}

// messageOf returns the format of a call that reports a problem.
func messageOf(call *ast.CallExpr) (string, bool) {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) < 3 {
		return "", false
	}
	switch selector.Sel.Name {
	case "errorf", "errorAt", "warnf", "report":
	default:
		return "", false
	}
	literal, ok := call.Args[2].(*ast.BasicLit)
	if !ok {
		return "", false
	}
	format, err := strconv.Unquote(literal.Value)
	return format, err == nil
}

func formatPattern(format string) *regexp.Regexp {
	verb := regexp.MustCompile(`%[a-zA-Z]`)
	parts := verb.Split(format, -1)
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(`(?m):\d+: (warning: )?` + strings.Join(parts, `.*`))
}
