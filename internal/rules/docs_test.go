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
	if len(examples) != 9 {
		t.Fatalf("have %d examples", len(examples))
	}
	example := func(i int) string { return examples[i][1] }
	whole, match, exceptions, list, lists, uses := example(0), example(1), example(2), example(3), example(4), example(5)
	addresses, limit, tests := example(6), example(7), example(8)
	if f := ParseList("download_tools", "docs.yml", []byte(list), Options{}); len(f.Problems) > 0 {
		t.Error(f.Problems)
	}
	connect := strings.Replace(head, "process_exec", "network_connect", 1)
	for _, rule := range []string{
		whole, head + match, connect + addresses, oneRule + limit, oneRule + tests, lists + "---\n" + head + uses,
		"lists: {build_tools: [/x]}\n---\n" + oneRule + exceptions,
	} {
		if problems := Parse("docs.yml", []byte(rule), Options{}).AllProblems(); len(problems) > 0 {
			t.Errorf("%s\n%s", rule, problems.Error())
		}
	}
}
