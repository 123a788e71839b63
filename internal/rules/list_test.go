package rules_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bittern/internal/event"
	"bittern/internal/rules"
	"bittern/internal/rules/rulestest"
)

var (
	listLine = regexp.MustCompile(`(?m)^  (R1-\d+): \[(.*)\]$`)
	listUse  = regexp.MustCompile(`\{list: (R1-\d+)\}`)
)

// inlined returns the text of a generated rule with its lists written out.
func inlined(text string) string {
	lists, rule, found := strings.Cut(text, "---\n")
	if !found {
		return text
	}
	values := map[string]string{}
	for _, m := range listLine.FindAllStringSubmatch(lists, -1) {
		values[m[1]] = m[2]
	}
	rule = regexp.MustCompile(`: (\{list: R1-\d+\})`).ReplaceAllString(rule, ": [$1]")
	return listUse.ReplaceAllStringFunc(rule, func(use string) string { return values[listUse.FindStringSubmatch(use)[1]] })
}

// A list means what its values mean where it stands, and a rule read again from its Document is
// the same.
func TestListsMeanTheirValues(t *testing.T) {
	t.Parallel()
	shared, matches := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		class := rapid.SampledFrom(event.Classes()).Draw(t, "class")
		g := rulestest.New(rapid.Uint64().Draw(t, "seed"))
		text := g.RuleFor("R1", 1, class)
		rule, plain := rulestest.Parse(t, text), rulestest.Parse(t, inlined(text))
		again := rulestest.Parse(t, string(rule.Document()))
		if again.Hash != rule.Hash {
			t.Fatalf("the document gives another rule:\n%s\n%s", text, rule.Document())
		}
		if len(rule.Uses()) > 0 {
			shared++
		}
		for range 40 {
			ev := g.EventFor(class)
			want := plain.Match(ev)
			if want {
				matches++
			}
			if have := rule.Match(ev); have != want || again.Match(ev) != want {
				t.Fatalf("with lists %v, again %v, without %v: %+v\n%s", have, again.Match(ev), want, ev, text)
			}
		}
	})
	if shared == 0 || matches == 0 {
		t.Errorf("%d rules had lists, %d events matched", shared, matches)
	}
}

const listRule = `rule_id: R1
rule_version: 1
name: example
applies_to: [process_exec]
emits: [{tactic: TA0011, technique_id: T1105, confidence: 0.5}]
match: {s: {process.executable: {list: tools}}}
`

// with parses a rule with the file of a list.
func with(t *testing.T, list, rule string) *rules.Rule {
	t.Helper()
	lists := rules.ParseList("tools", "lists/tools.yml", []byte(list), rules.Options{})
	if lists.Problems.Failed() {
		t.Fatal(lists.Problems)
	}
	f := rules.Parse("r.yml", []byte(rule), rules.Options{Lists: rules.Lists{"tools": lists.Lists[0]}})
	if f.AllProblems().Failed() {
		t.Fatal(f.AllProblems())
	}
	return f.Documents[0].Rule
}

func TestHashCoversLists(t *testing.T) {
	base := with(t, "[/a, /b]", listRule)
	for _, same := range []string{"[/b, /a]", "- /a # why\n- '/b'\n- /a\n", "description: x\nvalues: [/a, /b]"} {
		if with(t, same, listRule).Hash != base.Hash {
			t.Errorf("%s is another list", same)
		}
	}
	for _, other := range []string{"[/a]", "[/a, /b, /c]", "['/a, /b']", "[/a, /c]"} {
		r := with(t, other, listRule)
		if r.Hash == base.Hash || !r.SameText(base) {
			t.Errorf("%s: the hash is the same: %v, the text is the same: %v", other, r.Hash == base.Hash, r.SameText(base))
		}
	}
	if with(t, "[/a, /b]", listRule+"author: x\n").SameText(base) {
		t.Error("the text of another rule is the same")
	}
	own := with(t, "[/z]", "lists: {tools: [/a, /b]}\n---\n"+listRule)
	if own.Hash == base.Hash {
		t.Error("a list of the file hides the one of the directory")
	}
}

// Values that YAML takes for something else, or needs escapes for, are the same in a Document.
func TestDocumentKeepsValues(t *testing.T) {
	list := "- 2026-01-31\n- '5'\n- 'true'\n- '<<'\n- '~'\n- ''\n- \"a\\N\\L\\tb\\e\"\n- \"\\U0001f600 \\\\ '\"\n- '- x: y # z'\n- '---'\n"
	rule := with(t, list, listRule)
	again := rulestest.Parse(t, string(rule.Document()))
	if again.Hash != rule.Hash {
		t.Errorf("another rule:\n%s", rule.Document())
	}
	numbers := strings.Replace(listRule, "process.executable", "user.id", 1)
	rule = with(t, "- 5\n- '6'\n", numbers)
	if again := rulestest.Parse(t, string(rule.Document())); again.Hash != rule.Hash {
		t.Errorf("another rule:\n%s", rule.Document())
	}
}

// longList is a list file of n values.
func longList(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "- /tool-%05d\n", i)
	}
	return b.String()
}

func TestLongLists(t *testing.T) {
	rule := with(t, longList(16384), strings.Replace(listRule, "executable:", "executable|endswith:", 1))
	plan := rule.Plans()[0]
	if !plan.Exact || len(plan.Clauses) != 1 || len(plan.Clauses[0].Groups[0]) != 16384 {
		t.Errorf("exact: %v, %d clauses", plan.Exact, len(plan.Clauses))
	}
	for _, name := range []string{"/usr/bin/tool-00000", "/x/tool-16383", "/x/tool-16384", "/x/tool-1638"} {
		ev := event.Blank(event.ProcessExec)
		if err := ev.Set(event.ProcessExecutable, name); err != nil {
			t.Fatal(err)
		}
		want := name < "/x/tool-16384" && len(name) > len("/x/tool-1638")
		if rule.Match(&ev) != want || plan.Passes(&ev) != want {
			t.Errorf("%s: matches %v, passes %v", name, rule.Match(&ev), plan.Passes(&ev))
		}
	}
	if text := plan.String(); len(text) > 10_000 {
		t.Errorf("the plan is printed in %d bytes", len(text))
	}
}

// BenchmarkList reads a list of 10,000 values, and compiles four rules that use it.
func BenchmarkList(b *testing.B) {
	data := []byte(longList(10_000))
	for _, how := range []string{"", "|startswith", "|endswith", "|contains"} {
		text := []byte(strings.Replace(listRule, "executable:", "executable"+how+":", 1))
		b.Run("rules"+strings.Replace(how, "|", " ", 1), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				list := rules.ParseList("tools", "tools.yml", data, rules.Options{}).Lists[0]
				for range 4 {
					rules.Parse("r.yml", text, rules.Options{Lists: rules.Lists{"tools": list}})
				}
			}
		})
	}
	b.Run("list alone", func(b *testing.B) {
		for b.Loop() {
			rules.ParseList("tools", "tools.yml", data, rules.Options{})
		}
	})
}
