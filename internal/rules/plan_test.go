package rules

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"bittern/internal/event"
)

const (
	exe   = event.ProcessExecutable
	line  = event.ProcessCommandLine
	name  = event.ProcessName
	args  = event.ProcessArgs
	dir   = event.ProcessWorkingDirectory
	user  = event.UserName
	uid   = event.UserID
	fline = event.ProcessParentCommandLine
)

func textLiteral(f event.Field, op operator, text string) *literal {
	return &literal{field: f, op: op, text: text, source: f.String()}
}

func foldLiteral(f event.Field, op operator, text string) *literal {
	l := textLiteral(f, op, text)
	l.fold = true
	return l
}

func numberLiteral(f event.Field, n uint64) *literal {
	return &literal{field: f, op: opNumber, number: n, source: f.String()}
}

func globLiteral(f event.Field, parts ...string) *literal {
	return &literal{field: f, op: opGlob, glob: parts, source: f.String()}
}

func regexpLiteral(t *testing.T, f event.Field, pattern string) *literal {
	t.Helper()
	re, tree, err := compileRegexp(pattern, false)
	if err != nil {
		t.Fatal(err)
	}
	return &literal{field: f, op: opRegexp, re: re, syntax: tree, source: f.String() + "|re: " + pattern}
}

func key(f event.Field, kind KeyKind, text string) Key { return Key{Field: f, Kind: kind, Text: text} }

func foldKey(f event.Field, kind KeyKind, text string) Key {
	return Key{Field: f, Kind: kind, Fold: true, Text: text}
}

func gram(f event.Field, text string) Key { return foldKey(f, Gram, text) }

// TestLiteralDemand checks the keys of each kind of literal on each kind of
// field, and whether they decide it.
func TestLiteralDemand(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("abcdefghi/", 13) // 130 bytes
	all := demand{}
	for _, test := range []struct {
		what string
		l    *literal
		want demand
	}{
		{"whole", textLiteral(exe, opEquals, "/bin/Sh"), demand{groups: []Group{{key(exe, Equals, "/bin/Sh")}}}},
		{"head", textLiteral(line, opStartsWith, "sh "), demand{groups: []Group{{key(line, Prefix, "sh ")}}}},
		{"tail in any case", foldLiteral(dir, opEndsWith, "/tmp"), demand{groups: []Group{{foldKey(dir, Suffix, "/tmp")}}}},
		{"case without letters", foldLiteral(dir, opEquals, "/"), demand{groups: []Group{{key(dir, Equals, "/")}}}},
		{"126 bytes", textLiteral(exe, opEquals, long[:126]), demand{groups: []Group{{key(exe, Equals, long[:126])}}}},
		{"whole too long", textLiteral(exe, opEquals, long[:127]), demand{groups: []Group{{key(exe, Prefix, long[:126])}}, weak: true}},
		{"head too long", textLiteral(exe, opStartsWith, long), demand{groups: []Group{{key(exe, Prefix, long[:126])}}, weak: true}},
		{"tail too long", textLiteral(exe, opEndsWith, long), demand{groups: []Group{{key(exe, Suffix, long[4:])}}, weak: true}},

		{"empty line", textLiteral(line, opEquals, ""), demand{groups: []Group{{key(line, Equals, "")}}}},
		{"empty path", textLiteral(exe, opEquals, ""), demand{never: true}},
		{"any line starts with nothing", textLiteral(fline, opStartsWith, ""), all},
		{"any line has nothing in it", textLiteral(line, opContains, ""), all},
		{"not every event has a path", textLiteral(exe, opStartsWith, ""), demand{weak: true}},
		{"not every event has a name", textLiteral(name, opContains, ""), demand{weak: true}},
		{"an argument may be empty", textLiteral(args, opEquals, ""), demand{weak: true}},

		{"one byte inside", foldLiteral(line, opContains, ";"), demand{weak: true}},
		{"two bytes inside", foldLiteral(line, opContains, "ab"), demand{groups: []Group{{gram(line, "ab")}}}},
		{"four bytes inside", foldLiteral(line, opContains, "abcd"), demand{groups: []Group{{gram(line, "abcd")}}}},
		{"letters in one case inside", textLiteral(line, opContains, "Abcd"), demand{groups: []Group{{gram(line, "abcd")}}, weak: true}},
		{"no letters inside", textLiteral(line, opContains, "://"), demand{groups: []Group{{gram(line, "://")}}}},
		{"the rarest part", foldLiteral(line, opContains, "/usr/bin/xz"), demand{groups: []Group{{gram(line, "n/xz")}}, weak: true}},
		{"bytes that are not UTF-8", textLiteral(line, opContains, "\xff\xfe"), demand{groups: []Group{{gram(line, "\xff\xfe")}}}},
		{"NUL", textLiteral(line, opContains, "a\x00b"), demand{weak: true}},

		{"name", textLiteral(name, opEquals, "sh"), demand{groups: []Group{{key(exe, Equals, "sh"), key(exe, Suffix, "/sh")}}}},
		{"name of 125 bytes", textLiteral(name, opEquals, strings.Repeat("n", 125)), demand{groups: []Group{{
			key(exe, Equals, strings.Repeat("n", 125)), key(exe, Suffix, "/"+strings.Repeat("n", 125))}}}},
		{"name of 126 bytes", textLiteral(name, opEquals, strings.Repeat("n", 126)), demand{groups: []Group{{
			key(exe, Suffix, strings.Repeat("n", 126))}}, weak: true}},
		{"no name has a slash", textLiteral(name, opEndsWith, "/sh"), demand{never: true}},
		{"no name is empty", textLiteral(name, opEquals, ""), demand{never: true}},
		{"tail of a name", textLiteral(name, opEndsWith, "sh"), demand{groups: []Group{{key(exe, Suffix, "sh")}}}},
		{"head of a name", textLiteral(name, opStartsWith, "x"), demand{groups: []Group{{key(exe, Prefix, "x"), gram(exe, "/x")}}, weak: true}},
		{"in a name", textLiteral(name, opContains, "://"), demand{never: true}},
		{"in a name, short", foldLiteral(name, opContains, "ab"), demand{groups: []Group{{gram(exe, "ab")}}, weak: true}},

		{"argument", textLiteral(args, opEquals, "-e"), demand{groups: []Group{{
			key(line, Equals, "-e"), key(line, Prefix, "-e "), key(line, Suffix, " -e"), gram(line, " -e ")}}, weak: true}},
		{"long argument", textLiteral(args, opEquals, "--exec"), demand{groups: []Group{{gram(line, "--ex")}}, weak: true}},
		{"in an argument", foldLiteral(args, opContains, "ab"), demand{groups: []Group{{gram(line, "ab")}}, weak: true}},
		{"user", textLiteral(user, opEquals, "root"), demand{weak: true}},
		{"number", numberLiteral(uid, 7), demand{groups: []Group{{{Field: uid, Kind: NumberEquals, Number: 7}}}}},

		{"head and tail", globLiteral(line, "ab", "cd"), demand{groups: []Group{{key(line, Prefix, "ab")}, {key(line, Suffix, "cd")}}}},
		{"head and tail that may overlap", globLiteral(line, "ab", "bc"), demand{groups: []Group{{key(line, Prefix, "ab")}, {key(line, Suffix, "bc")}}, weak: true}},
		{"head and tail of two values", globLiteral(exe, "/a", "b"), demand{groups: []Group{{key(exe, Prefix, "/a")}, {key(exe, Suffix, "b")}}, weak: true}},
		{"any byte", globLiteral(line, "ab\x00cd"), demand{groups: []Group{{key(line, Prefix, "ab")}, {key(line, Suffix, "cd")}}, weak: true}},
		{"one byte at least", globLiteral(line, "\x00", ""), demand{weak: true}},
		{"inner parts", globLiteral(line, "", "abcd", "e\x00fg", ""), demand{groups: []Group{{gram(line, "abcd")}, {gram(line, "fg")}}, weak: true}},
		{"a glob of one part", globLiteral(exe, "/a"), demand{groups: []Group{{key(exe, Equals, "/a")}}}},
		{"a star alone", globLiteral(line, "", ""), all},

		{"^text", regexpLiteral(t, exe, `^/tmp/\.`), demand{groups: []Group{{key(exe, Prefix, "/tmp/.")}}}},
		{"text$", regexpLiteral(t, exe, `\.so\z`), demand{groups: []Group{{key(exe, Suffix, ".so")}}}},
		{"^text$", regexpLiteral(t, line, `^a b$`), demand{groups: []Group{{key(line, Equals, "a b")}}}},
		{"^$", regexpLiteral(t, line, `^$`), demand{groups: []Group{{key(line, Equals, "")}}}},
		{"^$ on a path", regexpLiteral(t, exe, `^$`), demand{never: true}},
		{"^^ and $$", regexpLiteral(t, line, `^^a$$`), demand{groups: []Group{{key(line, Equals, "a")}}}},
		{"anchors the wrong way round", regexpLiteral(t, line, `$^`), demand{groups: []Group{{key(line, Equals, "")}}}},
		{"impossible anchors", regexpLiteral(t, line, `a^b|c$d`), demand{never: true}},
		{"anchors of lines", regexpLiteral(t, line, `(?m)^abc$`), demand{groups: []Group{{gram(line, "abc")}}, weak: true}},
		{"case", regexpLiteral(t, line, `(?i)^Ab`), demand{groups: []Group{{foldKey(line, Prefix, "ab")}}}},
		{"case here and there", regexpLiteral(t, line, `^a(?i:b)`), demand{groups: []Group{{foldKey(line, Prefix, "ab")}}, weak: true}},
		{"a short text in any case", regexpLiteral(t, line, `(?i)curl`), demand{groups: []Group{{gram(line, "curl")}}}},
		{"a short text", regexpLiteral(t, line, `curl`), demand{groups: []Group{{gram(line, "curl")}}, weak: true}},
		{"words", regexpLiteral(t, line, `(?i)\bnc\b`), demand{groups: []Group{{gram(line, "nc")}}, weak: true}},
		{"one of them at the start", regexpLiteral(t, exe, `(?:^|/)nc$`), demand{groups: []Group{{key(exe, Equals, "nc"), key(exe, Suffix, "/nc")}}}},
		{"a small class", regexpLiteral(t, line, `-[ce] `), demand{groups: []Group{{gram(line, "-c "), gram(line, "-e ")}}, weak: true}},
		{"a wide class", regexpLiteral(t, line, `ab[0-9]cd`), demand{groups: []Group{{gram(line, "ab")}, {gram(line, "cd")}}, weak: true}},
		{"an option", regexpLiteral(t, line, `ax?b`), demand{groups: []Group{{gram(line, "ab"), gram(line, "axb")}}, weak: true}},
		{"once or more", regexpLiteral(t, line, `(?:ab)+`), demand{groups: []Group{{gram(line, "ab")}}, weak: true}},
		{"once or more, all of it", regexpLiteral(t, line, `^(?:ab)+$`), demand{groups: []Group{{key(line, Prefix, "ab")}, {key(line, Suffix, "ab")}}, weak: true}},
		{"any number", regexpLiteral(t, line, `(?:ab)*`), demand{weak: true}},
		{"U+FFFD is any invalid byte", regexpLiteral(t, line, `ab\x{fffd}cd`), demand{groups: []Group{{gram(line, "ab")}, {gram(line, "cd")}}, weak: true}},
		{"a name from its start", regexpLiteral(t, name, `^sh$`), demand{groups: []Group{{key(exe, Equals, "sh"), key(exe, Suffix, "/sh")}}}},
		{"everything", regexpLiteral(t, line, `^`), all},
	} {
		got := demandOf(test.l)
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(demand{}), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			// Two sets at the two ends of an expression may be the same.
			d, _ := draft{groups: draftGroups(got.groups)}.normalise()
			got.groups = publicGroups(d.groups)
			d, _ = draft{groups: draftGroups(test.want.groups)}.normalise()
			test.want.groups = publicGroups(d.groups)
			if diff = cmp.Diff(test.want, got, cmp.AllowUnexported(demand{}), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.what, diff)
			}
		}
	}
}

func draftGroups(groups []Group) []draftGroup {
	out := make([]draftGroup, len(groups))
	for i, g := range groups {
		out[i] = newGroup(g)
	}
	return out
}

func publicGroups(groups []draftGroup) []Group {
	out := make([]Group, len(groups))
	for i, g := range groups {
		out[i] = g.keys
	}
	return out
}

func TestPlanOfEmptyConditions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		match expr
		want  *Plan
	}{
		{conjunction{}, &Plan{Class: event.ProcessExec, Clauses: []Clause{{}}, Exact: true}},
		{disjunction{}, &Plan{Class: event.ProcessExec, Clauses: []Clause{}, Exact: true}},
		{negation{conjunction{}}, &Plan{Class: event.ProcessExec, Clauses: []Clause{}, Exact: true}},
		{negation{disjunction{}}, &Plan{Class: event.ProcessExec, Clauses: []Clause{{}}, Exact: true}},
		// What is never true makes what is weak beside it irrelevant.
		{conjunction{textLiteral(user, opEquals, "x"), disjunction{}}, &Plan{Class: event.ProcessExec, Clauses: []Clause{}, Exact: true}},
		{disjunction{textLiteral(user, opEquals, "x"), conjunction{}}, &Plan{Class: event.ProcessExec, Clauses: []Clause{{}}, Exact: true}},
	} {
		if diff := cmp.Diff(test.want, buildPlan(event.ProcessExec, test.match), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
			t.Errorf("%#v (-want +got):\n%s", test.match, diff)
		}
	}
}

func TestPlanIsForOneClass(t *testing.T) {
	t.Parallel()
	p := buildPlan(event.ProcessExec, conjunction{})
	if p.Passes(&event.Event{}) || !p.Passes(&event.Event{Class: event.ProcessExec}) {
		t.Error("a plan must pass events of its class only")
	}
}

// TestLead: what a process runs is not the first thing to look at where it has to be looked up.
func TestLead(t *testing.T) {
	const condition = "  s: {file.path|startswith: /home/, file.name: secret, process.name: tool, process.parent.name: shell}\n"
	for _, tc := range []struct {
		class, condition string
		want             event.Field
	}{
		{"file_open", condition, event.FilePath},
		{"file_open", "  s: {file.path|startswith: /home/, process.name: tool}\n", event.ProcessExecutable}, // as good as every open
		{"network_connect", "  s: {process.name: tool, destination.port: 4444}\n", event.DestinationPort},
		{"process_exec", "  s: {process.name: tool, user.id: 1000}\n", event.ProcessExecutable},
	} {
		f := Parse("r.yml", []byte("rule_id: R\nrule_version: 1\nname: n\napplies_to: ["+tc.class+"]\nmatch:\n"+tc.condition+
			"emits: [{tactic: TA0002, technique_id: T1059, confidence: 1}]\n"), Options{})
		if len(f.Documents) != 1 || f.Documents[0].Rule == nil {
			t.Fatal(f.AllProblems())
		}
		lead := f.Documents[0].Rule.Plans()[0].Clauses[0].Groups[0][0].Field
		if lead != tc.want {
			t.Errorf("%s, %s: led by %s, want %s", tc.class, tc.condition, lead, tc.want)
		}
	}
}
