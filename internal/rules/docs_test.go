package rules

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The examples of docs/rules.md that are whole rules or matches are good.
func TestDocumentedExamples(t *testing.T) {
	text, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(examples) != 5 {
		t.Fatalf("have %d examples", len(examples))
	}
	whole, match, addresses, limit, tests := examples[0][1], examples[1][1], examples[2][1], examples[3][1], examples[4][1]
	connect := strings.Replace(head, "process_exec", "network_connect", 1)
	for _, rule := range []string{whole, head + match, connect + addresses, oneRule + limit, oneRule + tests} {
		if problems := Parse("docs.yml", []byte(rule), Options{}).AllProblems(); len(problems) > 0 {
			t.Errorf("%s\n%s", rule, problems.Error())
		}
	}
}
