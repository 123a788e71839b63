package rules

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/event"
)

const oneRule = head + "match: {field: command_text, pattern: curl}\n"

func TestShortForm(t *testing.T) {
	f := Parse("r.yml", []byte(`# a comment
rule_id: R0012
rule_version: 3
name: ingress_tool_transfer
description: fetches something
applies_to: [command]
match:
  field: command_text
  pattern: '(?i)\b(wget|curl)\s+.*https?://'
emits:
  - tactic: TA0011
    technique_id: T1105
    sub_technique_id: T1059.004
    confidence: 0.85
evidence_fields: [command_text, user.id]
severity: high
date: 2026-01-31
tags: [a, b]
x-mine: 1
`), Options{})
	if problems := f.AllProblems(); len(problems) > 0 {
		t.Fatal(problems)
	}
	have := *f.Documents[0].Rule
	if !have.Match(execOf("Curl -O http://198.51.100.7/x")) || have.Match(execOf("curl --version")) {
		t.Error("the pattern does not match as it should")
	}
	if len(have.Plans()) != 1 || have.Plans()[0].Class != event.ProcessExec {
		t.Errorf("have plans %v", have.Plans())
	}
	have.match, have.plans, have.Hash, have.own, have.text = nil, nil, Hash{}, Hash{}, nil
	want := Rule{
		ID: "R0012", Version: 3, Name: "ingress_tool_transfer", Description: "fetches something",
		AppliesTo:      []event.Class{event.ProcessExec},
		Emits:          []Emit{{"TA0011", "T1105", "T1059.004", 0.85}},
		EvidenceFields: []event.Field{event.ProcessCommandLine, event.UserID},
		Metadata:       Metadata{Severity: High, Date: "2026-01-31", Tags: []string{"a", "b"}},
		Pos:            Position{"r.yml", 2, 1},
	}
	if diff := cmp.Diff(fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", have)); diff != "" {
		t.Error(diff)
	}
}

func TestHash(t *testing.T) {
	hash := func(text string) Hash {
		t.Helper()
		f := Parse("any.yml", []byte(text), Options{})
		if problems := f.AllProblems(); len(problems) > 0 {
			t.Fatal(problems)
		}
		return f.Documents[0].Rule.Hash
	}
	base := hash(oneRule)
	for what, text := range map[string]string{
		"comments":     "# c\n" + strings.ReplaceAll(oneRule, "\n", " # c\n"),
		"quotes":       strings.Replace(oneRule, "name: example", "name: 'example'", 1),
		"line ends":    strings.ReplaceAll(oneRule, "\n", "\r\n"),
		"layout":       strings.Replace(oneRule, "[process_exec]", "\n   -  process_exec", 1),
		"block values": strings.Replace(oneRule, "{field: command_text, pattern: curl}", "\n  field: command_text\n  pattern: curl", 1),
	} {
		if hash(text) != base {
			t.Errorf("%s change the hash", what)
		}
	}
	for what, text := range map[string]string{
		"the version": strings.Replace(oneRule, "rule_version: 1", "rule_version: 2", 1),
		"a pattern":   strings.Replace(oneRule, "curl", "curk", 1),
		"an own key":  oneRule + "x-mine: 1\n",
	} {
		if hash(text) == base {
			t.Errorf("%s does not change the hash", what)
		}
	}
	if hash(oneRule+"x-mine: 1\n") == hash(oneRule+"x-mine: '1'\n") {
		t.Error("a number and a string have the same hash")
	}
}

// What is good in a file is usable whatever is wrong beside it.
func TestDocumentsAreIndependent(t *testing.T) {
	second := strings.Replace(oneRule, "R1", "R2", 1)
	tests := []struct {
		name, text string
		ids        []string // with "!" if the rule is refused
		complete   bool
	}{
		{"both good", oneRule + "---\n" + second, []string{"R1", "R2"}, true},
		{"first bad", strings.Replace(oneRule, "name", "nam", 1) + "---\n" + second, []string{"R1!", "R2"}, true},
		{"second bad", oneRule + "---\nrule_id: R2\n", []string{"R1", "R2!"}, true},
		{"same id", oneRule + "---\n" + oneRule, []string{"R1", "R1!"}, true},
		{"bad one has the id first", "rule_id: R1\n---\n" + oneRule, []string{"R1!", "R1!"}, true},
		{"syntax error", oneRule + "---\nrule_id: R2\n\tname: x", []string{"R1"}, false},
		{"id of another form", "rule_id: R-1\n---\nrule_id: 12\n---\nrule_id: [a]\n---\n- a\n", []string{"!", "12!", "!", "!"}, true},
		{"empty", "", nil, true},
		{"empty documents", "---\n---\n# c\n---\nnull\n", nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := Parse("r.yml", []byte(tt.text), Options{})
			var ids []string
			for _, d := range f.Documents {
				id := d.RuleID
				if d.Rule == nil {
					id += "!"
				}
				ids = append(ids, id)
				for _, p := range d.Problems {
					if p.RuleID != d.RuleID {
						t.Errorf("problem %v is of rule %q, not %q", p, p.RuleID, d.RuleID)
					}
				}
			}
			if diff := cmp.Diff(tt.ids, ids); diff != "" || f.Complete != tt.complete {
				t.Errorf("complete: %v; documents (-want +have):\n%s", f.Complete, diff)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	tests := []struct {
		name, text string
		opts       Options
		want       string
	}{
		{"size", oneRule, Options{MaxBytes: 10}, "r.yml: file has 177 bytes, the limit is 10 (split it into several files)"},
		{"default size", strings.Repeat("#", DefaultMaxBytes+1), Options{}, "r.yml: file has 1048577 bytes, the limit is 1048576 (split it into several files)"},
		{"documents", strings.Repeat("--- x\n", maxDocuments+1), Options{}, "r.yml:1025:5: file has more than 1024 documents (split it into several files)"},
		{"nodes", strings.Repeat("--- {x-a: ["+strings.Repeat("1,", 4000)+"]}\n", 30), Options{}, "r.yml:25:7862: file has more than 100000 nodes (split it into several files)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := Parse("r.yml", []byte(tt.text), tt.opts)
			if f.Complete {
				t.Error("the file is said to be complete")
			}
			for _, p := range f.AllProblems() {
				if p.Error() == tt.want {
					return
				}
			}
			t.Errorf("have no problem %q but\n%s", tt.want, f.AllProblems()[0])
		})
	}
}

func TestManyProblemsAreClipped(t *testing.T) {
	var b strings.Builder
	b.WriteString(oneRule)
	for i := range 150 {
		fmt.Fprintf(&b, "k%d: 1\n", i)
	}
	problems := Parse("r.yml", []byte(b.String()), Options{}).AllProblems()
	last := problems[len(problems)-1]
	if len(problems) != maxProblems+1 || last.Message != "there are 50 more problems" || last.Warning {
		t.Errorf("have %d problems, the last is %v", len(problems), last)
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"contains", "startswith", "process.executable", "re", "all"}
	for unknown, want := range map[string]string{
		"contain": "contains", "contians": "contains", "startwith": "startswith", "Contains": "contains",
		"executable": "process.executable", "ra": "re", "xyz": "", "": "", strings.Repeat("contains", 10): "",
	} {
		if have := closest(unknown, known); have != want {
			t.Errorf("%q: have %q, want %q", unknown, have, want)
		}
	}
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "ab", 2}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "xbc", 1}, {"abcd", "acd", 1}, {"kitten", "sitting", 3}} {
		if have := editDistance(tt.a, tt.b); have != tt.want {
			t.Errorf("%q to %q: have %d, want %d", tt.a, tt.b, have, tt.want)
		}
	}
}

// The YAML library panics on some malformed input; any other panic stands in
// for it here.
func TestPanicsOfTheLibraryAreProblems(t *testing.T) {
	_, err := nextDocument(nil)
	if err == nil {
		t.Fatal("no error")
	}
	p := syntaxProblem("r.yml", nil, err)
	if !strings.HasPrefix(p.Error(), "r.yml:1: yaml syntax error: malformed input: ") {
		t.Errorf("have %q", p.Error())
	}
}

// Large files are not parsed again and again to locate an error.
func TestLargeFilesKeepTheLibrarysLine(t *testing.T) {
	filler := strings.Repeat("# filler\n", maxLocate/9+1)
	for _, tt := range []struct {
		filler string
		line   int
	}{{"", 4}, {filler, strings.Count(filler, "\n") + 2}} { // with filler: where the block starts
		f := Parse("r.yml", []byte(tt.filler+"a:\n  b:\n    c: 1\n   d: 2\n"), Options{})
		if p := f.AllProblems()[0]; p.Message != "yaml syntax error: did not find expected key" || p.Pos.Line != tt.line {
			t.Errorf("have %v, want line %d", p, tt.line)
		}
	}
}

func TestClip(t *testing.T) {
	for text, want := range map[string]string{
		"short":                       "short",
		strings.Repeat("a", 61):       strings.Repeat("a", 60) + "...",
		"a" + strings.Repeat("é", 40): "a" + strings.Repeat("é", 29) + "...",
	} {
		if have := clip(text); have != want {
			t.Errorf("%q: have %q, want %q", text, have, want)
		}
	}
}
