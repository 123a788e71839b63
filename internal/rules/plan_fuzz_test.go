package rules

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"

	"bittern/internal/event"
)

// textFields are one of each way in which the planner treats string fields.
var textFields = []event.Field{
	event.ProcessCommandLine, event.ProcessExecutable, event.ProcessName, event.ProcessArgs,
	event.ProcessWorkingDirectory, event.ProcessParentName, event.ProcessParentExecutable, event.UserName,
	event.FilePath, event.FileName, event.NetworkTransport,
}

// eventWith returns an event whose fields all have the given value, if they can.
func eventWith(value string) *event.Event {
	value = strings.ReplaceAll(value, "\x00", "\xff") // no value has NUL
	transport := value
	if values := event.NetworkTransport.Info().Values; !slices.Contains(values, value) {
		transport = values[len(value)%len(values)]
	}
	p := event.Process{
		Executable: value, Invoked: value + "x", WorkingDirectory: value,
		CommandLine: value, Args: strings.Split(value, " "),
	}
	return &event.Event{Class: event.ProcessExec, Process: p, Parent: p, User: event.User{Name: value}, File: event.File{Path: value},
		Network: event.Network{Transport: transport}}
}

// FuzzRegexpPlan: if an expression matches, the plan passes, whichever way the
// expression was compiled.
func FuzzRegexpPlan(f *testing.F) {
	for _, seed := range []struct{ pattern, subject string }{
		{`\b(wget|curl)\s+.*https?://`, "curl -O http://198.51.100.7/x"},
		{`(?i)^/tmp/[kK]a$`, "/TMP/\u212aa"},
		{`(^|/)nc$`, "/bin/nc"},
		{`(?m)^b$`, "a\nb\nc"},
		{`a\x{fffd}b`, "a\xffb"},
		{`(?:a|bc){2,}(?:$|d)`, "abc"},
		{`(?i)stra\x{df}e|\x{17f}\x{1f}`, "STRASSE\u017f"},
		{`$^|x*`, ""},
		{`^(?:ab)+$`, "ababab"},
		{`(?:^a|b$)+c?`, "ab"},
		{`[^/]{3}\.so$`, "/lib/abc.so"},
	} {
		f.Add(seed.pattern, seed.subject, byte(0))
	}
	f.Fuzz(func(t *testing.T, pattern, subject string, pick byte) {
		if len(pattern) > 200 || len(subject) > 2000 {
			return
		}
		field := textFields[int(pick)%len(textFields)]
		for _, fold := range []bool{false, true} {
			if re, tree, err := compileRegexp(pattern, fold); err == nil {
				checkRegexp(t, &literal{field: field, op: opRegexp, re: re, syntax: tree, source: pattern}, subject)
			}
		}
		// The planner also understands trees as the standard library makes them.
		tree, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil || programSize(tree) > maxInstructions {
			return
		}
		if re, err := regexp.Compile(pattern); err == nil {
			checkRegexp(t, &literal{field: field, op: opRegexp, re: re, syntax: tree, source: pattern}, subject)
			checkRegexp(t, &literal{field: field, op: opRegexp, re: re, syntax: tree.Simplify(), source: pattern}, subject)
		}
	})
}

// checkRegexp tries a regular expression and its negation on values that are
// likely to match it.
func checkRegexp(t *testing.T, l *literal, subject string) {
	t.Helper()
	seed := uint64(len(subject))
	for i := range len(subject) {
		seed = seed*31 + uint64(subject[i])
	}
	s := newSampler(seed)
	values := []string{subject}
	for range 3 {
		match := s.sample(l.syntax)
		values = append(values, match, match+subject, subject+match, subject+"/"+match+"\n"+subject)
	}
	plan, not := buildPlan(event.ProcessExec, l), buildPlan(event.ProcessExec, negation{l})
	for _, value := range values {
		ev := eventWith(value)
		match := l.eval(ev)
		if pass := plan.Passes(ev); match && !pass || plan.Exact && match != pass {
			t.Fatalf("%s|re %q on %q: match %v, pass %v\n%v\n%s", l.field, l.source, value, match, pass, l.syntax, plan)
		}
		if pass := not.Passes(ev); !match && !pass || not.Exact && match == pass {
			t.Fatalf("not %s|re %q on %q: match %v, pass %v\n%v\n%s", l.field, l.source, value, !match, pass, l.syntax, not)
		}
	}
}

// FuzzLiteralPlan does the same for texts and wildcards.
func FuzzLiteralPlan(f *testing.F) {
	f.Add("/curl", "/usr/bin/curl", byte(1), byte(4), true)
	f.Add("ab*ba", "aba", byte(0), byte(5), false)
	f.Add("", "", byte(3), byte(1), false)
	f.Add(strings.Repeat("a", 127), strings.Repeat("a", 128), byte(1), byte(3), false)
	f.Fuzz(func(t *testing.T, text, subject string, pick, op byte, fold bool) {
		l := &literal{
			field: textFields[int(pick)%len(textFields)],
			op:    opEquals + operator(op)%(opGlob-opEquals+1),
			fold:  fold,
		}
		if fold {
			text = lowerASCII(text)
		}
		if l.op == opGlob {
			l.glob = strings.Split(strings.ReplaceAll(text, "?", string(globAny)), "*")
		} else {
			l.text = strings.ReplaceAll(text, "\x00", "\xff")
		}
		for _, e := range []expr{l, negation{l}} {
			plan := buildPlan(event.ProcessExec, e)
			for _, value := range []string{subject, text, text + subject, subject + text, "/" + text} {
				ev := eventWith(value)
				match, pass := e.eval(ev), plan.Passes(ev)
				if match && !pass || plan.Exact && match != pass {
					t.Fatalf("%T %s op %d %q on %q: match %v, pass %v\n%s", e, l.field, l.op, text, value, match, pass, plan)
				}
			}
		}
	})
}
