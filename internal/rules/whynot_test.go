package rules_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"bittern/internal/event"
	"bittern/internal/rules/rulestest"
)

func TestWhyNot(t *testing.T) {
	rule := rulestest.Parse(t, `rule_id: W
rule_version: 1
name: why
applies_to: [process_exec]
match:
  tool: {process.executable|endswith: [/curl, /wget]}
  remote: {process.command_line|contains: 'http://'}
  root: {user.id: 0}
  internal: {process.command_line|contains: [.corp, .lan]}
  condition: tool and (remote or root) and not internal
emits: [{tactic: TA0011, technique_id: T1105, confidence: 0.5}]
`)
	reasons := func(executable, commandLine string, uid uint32) string {
		var ev event.Event
		ev.Class, ev.Process.Executable, ev.Process.CommandLine, ev.User.ID = event.ProcessExec, executable, commandLine, uid
		var all []string
		for _, r := range rule.WhyNot(&ev) {
			verdict := "no "
			if r.Holds {
				verdict = "yes "
			}
			all = append(all, verdict+strings.TrimPrefix(r.Literal, "process."))
		}
		return strings.Join(all, "; ")
	}
	for _, each := range []struct {
		executable, commandLine string
		uid                     uint32
		want                    string
	}{
		{"/bin/curl", "curl http://x", 1, ""},
		{"/bin/curl", "curl x", 0, ""},
		{"/bin/nc", "nc http://x", 1, "no executable|endswith: /curl; no executable|endswith: /wget"},
		{"/bin/curl", "curl x", 1, "no command_line|contains: http://; no user.id: 0"},
		{"/bin/curl", "curl http://x.corp", 1, "yes command_line|contains: .corp"},
		{"/bin/nc", "nc x.lan", 0, "no executable|endswith: /curl; no executable|endswith: /wget; yes command_line|contains: .lan"},
	} {
		if got := reasons(each.executable, each.commandLine, each.uid); got != each.want {
			t.Errorf("%s %q %d:\n got %s\nwant %s", each.executable, each.commandLine, each.uid, got, each.want)
		}
	}
	if got := rule.WhyNot(&event.Event{Class: event.FileOpen}); got != nil {
		t.Errorf("of a class that it does not apply to: %v", got)
	}
}

// TestWhyNotIsThere: there is a reason if, and only if, the rule does not match.
func TestWhyNotIsThere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		class := rapid.SampledFrom(event.Classes()).Draw(t, "class")
		g := rulestest.New(rapid.Uint64().Draw(t, "seed"))
		text := g.RuleFor("R1", 1, class)
		rule := rulestest.Parse(t, text)
		for range 20 {
			ev := g.EventFor(class)
			if match, reasons := rule.Match(ev), rule.WhyNot(ev); match != (len(reasons) == 0) || len(reasons) > 16 {
				t.Fatalf("it matches: %v, and the reasons are %v, of %+v\n%s", match, reasons, ev, text)
			}
		}
	})
}
