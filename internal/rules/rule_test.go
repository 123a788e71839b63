package rules

import (
	"fmt"
	"strings"
	"testing"

	"bittern/internal/event"
)

const head = `rule_id: R1
rule_version: 1
name: example
applies_to: [process_exec]
emits: [{tactic: TA0011, technique_id: T1105, confidence: 0.5}]
`

// ruleOf parses a rule for process_exec with the given match, written in YAML.
func ruleOf(t testing.TB, match string) *Rule {
	t.Helper()
	return ruleFor(t, event.ProcessExec, match)
}

// ruleFor is ruleOf for another class.
func ruleFor(t testing.TB, class event.Class, match string) *Rule {
	t.Helper()
	f := Parse("test.yml", []byte(strings.Replace(head, "process_exec", class.String(), 1)+"match:\n"+match+"\n"), Options{})
	if problems := f.AllProblems(); len(problems) > 0 || len(f.Documents) != 1 {
		t.Fatalf("%s:\n%s", match, problems.Error())
	}
	return f.Documents[0].Rule
}

func execOf(commandLine string) *event.Event {
	ev := &event.Event{Class: event.ProcessExec}
	// The field takes any string.
	_ = ev.Set(event.ProcessCommandLine, commandLine)
	return ev
}

// Each selection holds if its letter is in the command line. All 16 events are
// tried, and the rule must match just those for which the function says so.
func TestConditions(t *testing.T) {
	type letters struct{ a, b, ab, c bool }
	tests := []struct {
		condition string
		want      func(l letters) bool
	}{
		{"xa or xb or yab or yc", func(l letters) bool { return l.a || l.b || l.ab || l.c }},
		{"xa or xb and yab or yc", func(l letters) bool { return l.a || l.b && l.ab || l.c }},
		{"xa and xb or yab and yc", func(l letters) bool { return l.a && l.b || l.ab && l.c }},
		{"(xa or xb) and (yab or yc)", func(l letters) bool { return (l.a || l.b) && (l.ab || l.c) }},
		{"not xa and xb or not (yab and yc)", func(l letters) bool { return !l.a && l.b || !(l.ab && l.c) }},
		{"not xa or xb and yab and yc", func(l letters) bool { return !l.a || l.b && l.ab && l.c }},
		{"not not xa and not(xb)and(yab)or yc", func(l letters) bool { return l.a && !l.b && l.ab || l.c }},
		{"not not not xa or all of them", func(l letters) bool { return !l.a || l.b && l.ab && l.c }},
		{"1 of them", func(l letters) bool { return l.a || l.b || l.ab || l.c }},
		{"all of them", func(l letters) bool { return l.a && l.b && l.ab && l.c }},
		{"any of x* and all of y*", func(l letters) bool { return (l.a || l.b) && l.ab && l.c }},
		{"1 of *b and 1 of y* and 1 of xa", func(l letters) bool { return (l.b || l.ab) && (l.ab || l.c) && l.a }},
		{"not 1 of x* and 1 of y*", func(l letters) bool { return !(l.a || l.b) && (l.ab || l.c) }},
		{"not all of x* or 1 of *a* and yc", func(l letters) bool { return !(l.a && l.b) || (l.a || l.ab) && l.c }},
		{"( ( xa ) )\tor (xb and (yab or (yc)))", func(l letters) bool { return l.a || l.b && (l.ab || l.c) }},
	}
	for _, tt := range tests {
		condition := tt.condition
		// Selections that the condition leaves out would be errors.
		if !strings.Contains(condition, "them") {
			condition += " or (1 of them and not 1 of them)"
		}
		rule := ruleOf(t, `
  xa: {process.command_line|contains: A}
  xb: {process.command_line|contains: B}
  yab: {process.command_line|contains: D}
  yc: {process.command_line|contains: C}
  condition: "`+condition+`"`)
		for bits := range 16 {
			l := letters{bits&1 != 0, bits&2 != 0, bits&4 != 0, bits&8 != 0}
			line := ""
			for i, letter := range "ABDC" {
				if bits>>i&1 != 0 {
					line += string(letter)
				}
			}
			if have := rule.Match(execOf(line)); have != tt.want(l) {
				t.Errorf("%s on %q: have %v", tt.condition, line, have)
			}
		}
	}
}

func TestValues(t *testing.T) {
	tests := []struct {
		key, value string
		match      []string
		not        []string
	}{
		{"", "abc", []string{"abc"}, []string{"ABC", "abcd", "xabc", ""}},
		{"", "''", []string{""}, []string{" "}},
		{"|cased", "aBc", []string{"aBc"}, []string{"abc"}},
		{"|nocase", "aBc", []string{"abc", "ABC"}, []string{"ab"}},
		{"|nocase", "task", []string{"TASK"}, []string{"ta\u017fk", "tas\u212a"}},
		{"|nocase", "é", []string{"é"}, []string{"É"}},
		{"|contains", "b c", []string{"a b c d", "b c"}, []string{"b  c", "B c"}},
		{"|contains|nocase", "B c", []string{"a b C d"}, []string{"b  c"}},
		{"|startswith", "a b", []string{"a bc"}, []string{" a b"}},
		{"|startswith|nocase", "A b", []string{"a Bc"}, []string{"a"}},
		{"|endswith", "b", []string{"ab", "b"}, []string{"ba", "B"}},
		{"|nocase|endswith", "b", []string{"aB"}, []string{"ba"}},
		{"", "[a, b*]", []string{"a", "b", "bcd"}, []string{"ab", "c"}},
		{"|contains|all", "[a, b]", []string{"ab", "b a"}, []string{"a", "b", ""}},
		{"|all|re", "[^a, b$]", []string{"ab", "a b"}, []string{"ba", "a"}},
		{"|all", "[a*, '*b']", []string{"ab", "acb"}, []string{"a", "b"}},
		{"", "'a*b?c'", []string{"abxc", "a--b-c"}, []string{"abc", "abxcd"}},
		{"|nocase", "'A*b?C'", []string{"aBxc"}, []string{"abc"}},
		{"|contains", "'a*b?c'", []string{"-abxc-"}, []string{"abc"}},
		{"|startswith", "'a*b?c'", []string{"abxc-"}, []string{"-abxc"}},
		{"|startswith", "'*b'", []string{"ab", "abc"}, []string{"a"}},
		{"|endswith", "'a*b?c'", []string{"-abxc"}, []string{"abxc-"}},
		{"|endswith", "b*", []string{"ab", "abc"}, []string{"a"}},
		{"|contains", `'\*'`, []string{"a*b"}, []string{"ab"}},
		{"|contains", `'a\b'`, []string{`a\b`}, []string{"ab"}},
		{"|re", "b+", []string{"abb", "b"}, []string{"B", ""}},
		{"|re", "^.$", []string{"b", "\xff", "é"}, []string{"bb", "\xff\xff"}},
		{"|re|nocase", "^B+$", []string{"bB"}, []string{"a"}},
		{"|contains", `"\xff"`, []string{"ÿ"}, []string{"\xff"}},
		{"", `"?"`, []string{"\xff", "x"}, []string{"ÿ"}},
	}
	for _, tt := range tests {
		match := fmt.Sprintf("  s: {process.command_line%s: %s}", tt.key, tt.value)
		rule := ruleOf(t, match)
		for _, line := range tt.match {
			if !rule.Match(execOf(line)) {
				t.Errorf("%s should match %q", match, line)
			}
		}
		for _, line := range tt.not {
			if rule.Match(execOf(line)) {
				t.Errorf("%s should not match %q", match, line)
			}
		}
	}
}

// A literal on a field with many values holds if any value satisfies it, its
// negation if none does; several literals may be satisfied by different values.
func TestManyValues(t *testing.T) {
	args := func(values ...string) *event.Event {
		ev := &event.Event{Class: event.ProcessExec}
		if len(values) > 0 {
			if err := ev.Set(event.ProcessArgs, values...); err != nil {
				t.Fatal(err)
			}
		}
		return ev
	}
	long := make([]string, 100)
	long[99] = "-x"
	tests := []struct {
		match string
		ev    *event.Event
		want  bool
	}{
		{"  s: {process.args: -x}", args("a", "-x"), true},
		{"  s: {process.args: -x}", args(long...), true},
		{"  s: {process.args: -x}", args("a", "-xy"), false},
		{"  s: {process.args: -x}", args(), false},
		{"  s: {process.args|all: [-x, -y]}", args("-y", "-x"), true},
		{"  s: {process.args|all: [-x, -y]}", args("-x", "-x"), false},
		{"  s: {process.args|all|re: ['^-x', 'y$']}", args("-x", "y"), true},
		{"  s: {process.args: -x}\n  condition: not s", args("a", "b"), true},
		{"  s: {process.args: -x}\n  condition: not s", args("a", "-x"), false},
		{"  s: {process.args: -x}\n  condition: not s", args(), true},
		{"  s: {process.name: [sh, dash]}", &event.Event{Class: event.ProcessExec, Process: event.Process{Executable: "/usr/bin/dash", Invoked: "/bin/sh"}}, true},
		{"  s: {process.executable: /bin/sh}", &event.Event{Class: event.ProcessExec, Process: event.Process{Executable: "/usr/bin/dash", Invoked: "/bin/sh"}}, true},
		{"  s: {process.executable: /bin/bash}", &event.Event{Class: event.ProcessExec, Process: event.Process{Executable: "/usr/bin/dash", Invoked: "/bin/sh"}}, false},
		{"  s: {user.id: [0, 5]}", &event.Event{Class: event.ProcessExec, User: event.User{ID: 5}}, true},
		{"  s: {user.id: [0, 5]}", &event.Event{Class: event.ProcessExec, User: event.User{ID: 6}}, false},
		{"  s: {user.id: 0}", &event.Event{}, false}, // another class
	}
	for _, tt := range tests {
		if have := ruleOf(t, tt.match).Match(tt.ev); have != tt.want {
			t.Errorf("%s on %q: have %v", tt.match, tt.ev.Process.Args, have)
		}
	}
}

// The simplest operator is what lets the kernel decide.
func TestNormalisation(t *testing.T) {
	tests := []struct {
		key, value string
		want       literal
	}{
		{"", "/bin/sh", literal{op: opEquals, text: "/bin/sh"}},
		{"", "/tmp/*", literal{op: opStartsWith, text: "/tmp/"}},
		{"", "'*/sh'", literal{op: opEndsWith, text: "/sh"}},
		{"", "'*/tmp/*'", literal{op: opContains, text: "/tmp/"}},
		{"|contains", "'*/tmp/*'", literal{op: opContains, text: "/tmp/"}},
		{"|startswith", "/tmp/*", literal{op: opStartsWith, text: "/tmp/"}},
		{"|endswith", "'*/sh'", literal{op: opEndsWith, text: "/sh"}},
		{"|startswith|nocase", "/TMP/É", literal{op: opStartsWith, text: "/tmp/É", fold: true}},
		{"|startswith", "/t*p", literal{op: opGlob}},
		{"|endswith", "'a?b'", literal{op: opGlob}},
	}
	for _, tt := range tests {
		l := ruleOf(t, fmt.Sprintf("  s: {process.executable%s: %s}", tt.key, tt.value)).match.(*literal)
		if l.op != tt.want.op || l.text != tt.want.text || l.fold != tt.want.fold || (l.glob != nil) != (l.op == opGlob) {
			t.Errorf("%s: %s: have %+v, want %+v", tt.key, tt.value, l, tt.want)
		}
		if want := "process.executable" + tt.key + ": " + strings.Trim(tt.value, "'"); l.source != want {
			t.Errorf("have source %q, want %q", l.source, want)
		}
	}
}

func TestRunTests(t *testing.T) {
	f := Parse("r.yml", []byte(head+`match: {field: command_text, pattern: curl}
tests:
  - match: {process.command_line: curl x}
  - match: {process.command_line: wget x}
  - no_match: {process.name: curl, process.command_line: curl y}
`), Options{})
	const want = "r.yml:9:5: test 2 of 3 should match, but does not\nr.yml:10:5: test 3 of 3 should not match, but does"
	problems := f.Documents[0].Rule.RunTests()
	if problems.Error() != want || problems[0].RuleID != "R1" {
		t.Errorf("have %q of rule %q, want %q", problems.Error(), problems[0].RuleID, want)
	}
}
