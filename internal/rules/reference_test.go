package rules

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bittern/internal/event"
)

// The reference for users names every field and its values, every key, modifier and limit.
func TestReference(t *testing.T) {
	text, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	reference := string(text)
	row := func(name string) string {
		for line := range strings.Lines(reference) {
			if strings.HasPrefix(line, "|") && strings.Contains(line, "`"+name+"`") {
				return line
			}
		}
		return ""
	}
	for _, info := range event.Fields() {
		kind := info.Kind.String()
		if info.Many {
			kind += ", many"
		}
		if line := row(info.Name); !strings.Contains(line, "| "+carriersInReference(info)+" | "+kind+" |") || !strings.Contains(line, info.Alias) {
			t.Errorf("field %s (%s) has the row %q", info.Name, kind, line)
		}
		for _, value := range info.Values {
			if !strings.Contains(reference, "`"+value+"`") {
				t.Errorf("value %s of %s is missing", value, info.Name)
			}
		}
	}
	for _, name := range slices.Concat(keys, modifiers) {
		if row(name) == "" {
			t.Errorf("%s is not in a table", name)
		}
	}
	for _, c := range event.Classes() {
		doc := strings.ToLower(c.Info().Doc[:1]) + strings.TrimSuffix(c.Info().Doc[1:], ".")
		if line := row(c.String()); !strings.Contains(line, "| "+doc+" |") || !strings.Contains(line, c.Info().Alias) {
			t.Errorf("event class %s (%s) has the row %q", c, doc, line)
		}
	}
	for _, limit := range []string{
		fmt.Sprintf("file | %d MiB, %s documents, %s YAML nodes", DefaultMaxBytes>>20, thousands(maxDocuments), thousands(maxNodes)),
		fmt.Sprintf("%s entries, nested %d deep", thousands(maxList), maxDepth),
		fmt.Sprintf("shared list | %s values; %s YAML nodes", thousands(maxListValues), thousands(maxNodes)),
		fmt.Sprintf("value or pattern to match, condition | %d KiB", min(maxValue, maxCondition)>>10),
		fmt.Sprintf("other text | %d KiB; `name` %d bytes; `rule_id` and names of selections %d bytes", maxText>>10, maxName, maxID),
		fmt.Sprintf("%s instructions", thousands(maxInstructions)),
		fmt.Sprintf("parentheses in a condition | %d deep", maxParentheses),
		fmt.Sprintf("problems reported | %d for each rule", maxProblems),
	} {
		if !strings.Contains(reference, limit) {
			t.Errorf("limit %q is missing", limit)
		}
	}
}

// The examples of the reference that are whole rules or matches are good.
func TestReferenceExamples(t *testing.T) {
	text, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(examples) != 8 {
		t.Fatalf("have %d examples", len(examples))
	}
	example := func(i int) string { return examples[i][1] }
	whole, match, exceptions, list, lists, uses, addresses, tests := example(0), example(1), example(2), example(3), example(4), example(5), example(6), example(7)
	if f := ParseList("download_tools", "docs.yml", []byte(list), Options{}); len(f.Problems) > 0 {
		t.Error(f.Problems)
	}
	connect := strings.Replace(head, "process_exec", "network_connect", 1)
	for _, rule := range []string{
		whole, head + match, connect + addresses, oneRule + tests, lists + "---\n" + head + uses,
		"lists: {build_tools: [/x]}\n---\n" + oneRule + exceptions,
	} {
		if problems := Parse("docs.yml", []byte(rule), Options{}).AllProblems(); len(problems) > 0 {
			t.Errorf("%s\n%s", rule, problems.Error())
		}
	}
}

// carriersInReference is the field's entry in the column of classes.
func carriersInReference(info event.FieldInfo) string {
	if len(info.Classes) == len(event.Classes()) {
		return "all"
	}
	var names []string
	for _, c := range info.Classes {
		names = append(names, "`"+c.String()+"`")
	}
	return strings.Join(names, ", ")
}

// thousands writes a number of up to six digits with a comma.
func thousands(n int) string { return fmt.Sprintf("%d,%03d", n/1000, n%1000) }
