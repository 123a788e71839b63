package rules_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"bittern/internal/rules"
)

func TestZeroStateIsEnabled(t *testing.T) {
	var s rules.RuleState
	if s.State != rules.Enabled || !s.IsZero() || s.Validate() != nil || s.ExpiredAt(time.Now()) || s.Clamp(0.7) != 0.7 {
		t.Errorf("%+v", s)
	}
}

func TestClampOnlyLowers(t *testing.T) {
	for _, c := range []struct {
		state           rules.State
		max, have, want float64
	}{
		{rules.Clipped, 0.5, 0.8, 0.5}, {rules.Clipped, 0.5, 0.3, 0.3}, {rules.Clipped, 0, 0.3, 0}, {rules.Clipped, 1, 0.3, 0.3},
		{rules.Enabled, 0, 0.8, 0.8}, {rules.Disabled, 0, 0.8, 0.8},
	} {
		if got := (rules.RuleState{State: c.state, ConfidenceMax: c.max}).Clamp(c.have); got != c.want {
			t.Errorf("%s to %v: %v becomes %v, want %v", c.state, c.max, c.have, got, c.want)
		}
	}
}

func TestValidateState(t *testing.T) {
	later := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	for want, s := range map[string]rules.RuleState{
		"state 7 is unknown":                             {State: 7},
		"confidence_max is 1.5, want":                    {State: rules.Clipped, ConfidenceMax: 1.5},
		"confidence_max is -0.1, want":                   {State: rules.Clipped, ConfidenceMax: -0.1},
		"confidence_max is NaN, want":                    {State: rules.Clipped, ConfidenceMax: math.NaN()},
		"confidence_max is of state clipped only":        {State: rules.Disabled, ConfidenceMax: 0.5},
		"enabled is what a rule reverts to":              {ExpiresAt: later},
		"expires_at is in the year 10000":                {State: rules.Disabled, ExpiresAt: later.AddDate(7970, 0, 0)},
		"reason has 2000 bytes, the limit is 1024":       {Reason: strings.Repeat("x", 2000)},
		"reason is not one line of printable text":       {Reason: "a\nb"},
		"set_by is not one line of printable text":       {SetBy: "a\xffb"},
		"set_by has 300 bytes, the limit is 256\nreason": {SetBy: strings.Repeat("x", 300), Reason: "\x1b"},
	} {
		err := s.Validate()
		first, second, _ := strings.Cut(want, "\n")
		if err == nil || !strings.Contains(err.Error(), first) || !strings.Contains(err.Error(), second) {
			t.Errorf("%+v: got %v, want %q", s, err, want)
		}
	}
}

const statesText = `# Who edits this keeps the comments.
R1:
  state: disabled # noisy
  expires_at: 2030-01-01T01:00:00+01:00
  reason: 'noisy: see #7'
R2: {state: clipped, confidence_max: 0.25, set_by: alice, set_at: 2026-01-02T03:04:05.6Z}
"123": {state: enabled, reason: looked at}
`

func wantStates() map[string]rules.RuleState {
	return map[string]rules.RuleState{
		"R1":  {State: rules.Disabled, ExpiresAt: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), Reason: "noisy: see #7", SetBy: "file"},
		"R2":  {State: rules.Clipped, ConfidenceMax: 0.25, SetBy: "alice", SetAt: time.Date(2026, 1, 2, 3, 4, 5, 6e8, time.UTC)},
		"123": {Reason: "looked at", SetBy: "file"},
	}
}

func TestParseStates(t *testing.T) {
	f := rules.ParseStates("states.yaml", []byte(statesText))
	if diff := cmp.Diff(wantStates(), f.States); diff != "" || !f.Complete || len(f.Problems) > 0 {
		t.Errorf("complete %v, problems %v:\n%s", f.Complete, f.Problems, diff)
	}
	for _, text := range []string{"", "# nothing\n", "---\n", "{}\n", "null\n"} {
		if f := rules.ParseStates("states.yaml", []byte(text)); !f.Complete || len(f.Problems) > 0 || len(f.States) > 0 {
			t.Errorf("%q: %+v", text, f)
		}
	}
}

// TestBadStates: each is wrong in one way, and does not disturb the state of another rule.
func TestBadStates(t *testing.T) {
	for entry, want := range map[string]string{
		"R1: disabled":                                           `2:5: the state of rule R1 must be a mapping, not the string "disabled"`,
		"R1: {}":                                                 `2:5: the state of rule R1 is an empty mapping`,
		"R1: {reason: x}":                                        `2:1: key state is missing (disabled, clipped or enabled)`,
		"R1: {state: disabeld}":                                  `2:13: unknown state "disabeld" (did you mean disabled?)`,
		"R1: {state: [disabled]}":                                `2:13: state must be a string, not a list`,
		"R1: {state: disabled, resaon: x}":                       `2:23: unknown key "resaon" in a state (did you mean reason?)`,
		"R1: {state: disabled, state: enabled}":                  `2:23: key "state" is given twice, first in line 2`,
		"R1: {state: clipped}":                                   `2:1: key confidence_max is missing (a number from 0 to 1, for example 0.5)`,
		"R1: {state: clipped, confidence_max: 2}":                `2:38: confidence_max must be a number from 0 to 1, not the number 2 (for example 0.5)`,
		"R1: {state: clipped, confidence_max: '0.5'}":            `2:38: confidence_max must be a number from 0 to 1, not the string "0.5" (for example 0.5)`,
		"R1: {state: clipped, confidence_max: .nan}":             `2:38: confidence_max must be a number from 0 to 1, not the number .nan (for example 0.5)`,
		"R1: {state: disabled, confidence_max: 0.5}":             `2:5: confidence_max is of state clipped only, not of disabled`,
		"R1: {state: disabled, expires_at: 2026-03-01}":          `2:35: expires_at must be a time with its zone, not the string "2026-03-01" (write it like 2026-03-01T18:30:00Z or 2026-03-01T18:30:00+01:00)`,
		"R1: {state: disabled, expires_at: 1h}":                  `2:35: expires_at must be a time with its zone, not the string "1h" (write it like 2026-03-01T18:30:00Z or 2026-03-01T18:30:00+01:00)`,
		"R1: {state: enabled, expires_at: 2030-01-01T00:00:00Z}": `2:5: enabled is what a rule reverts to, so it can't expire`,
		"R1: {state: disabled, reason: \"a\\nb\"}":               `2:5: reason is not one line of printable text`,
		"R1: {state: disabled, reason: 7}":                       `2:31: reason must be a string, not the number 7 (write it in quotes: '7')`,
		"R1: &a {state: disabled}":                               `2:5: anchors and aliases (& and *) are not supported (write the value out, or name a selection and use it twice in the condition)`,
		"R-1: {state: disabled}":                                 `2:1: rule id "R-1" is malformed: use letters, digits and _ only`,
		"1: {state: disabled}":                                   `2:1: a key must be a string, not the number 1 (put it in quotes)`,
	} {
		text := "R0: {state: disabled}\n" + entry + "\nR2: {state: disabled}\n"
		f := rules.ParseStates("s.yaml", []byte(text))
		if got := f.Problems.Error(); got != "s.yaml:"+want {
			t.Errorf("%s\n got %s\nwant s.yaml:%s", entry, got, want)
		}
		if !f.Complete || len(f.States) != 2 || f.States["R0"].State != rules.Disabled || f.States["R2"].State != rules.Disabled {
			t.Errorf("%s: the others are %+v", entry, f.States)
		}
		if strings.HasPrefix(entry, "R1:") && !f.Broken["R1"] {
			t.Errorf("%s: R1 is not broken", entry)
		}
		if _, err := editStates(text, map[string]rules.RuleState{"R0": {}}); err == nil || err.Error() != f.Problems.Error() {
			t.Errorf("%s: edited all the same: %v", entry, err)
		}
	}
	for text, want := range map[string]string{
		"R1: {state: disabled\nR2: {": "yaml syntax error",
		"- R1\n":                      "1:1: states must be a mapping of rule ids, not a list",
		"R1: {state: disabled}\n---\nR2: {state: disabled}\n": "3:1: file has more than one YAML document",
		"R1: {state: disabled}\x00":                           "file contains a NUL byte",
	} {
		if f := rules.ParseStates("s.yaml", []byte(text)); f.Complete || !strings.Contains(f.Problems.Error(), want) || len(f.States) > 0 {
			t.Errorf("%q: %+v", text, f)
		}
	}
}

// TestStatesRoundTrip writes any state and reads it.
func TestStatesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		printable := rapid.Custom(func(t *rapid.T) string {
			return strings.Map(func(r rune) rune {
				if (rules.RuleState{Reason: string(r)}).Validate() != nil {
					return -1
				}
				return r
			}, rapid.StringN(-1, 20, -1).Draw(t, "text"))
		})
		s := rules.RuleState{State: rapid.SampledFrom([]rules.State{rules.Disabled, rules.Clipped}).Draw(t, "state"), SetBy: "x" + printable.Draw(t, "by")}
		s.Reason = strings.TrimSpace(printable.Draw(t, "reason"))
		s.SetAt = time.Unix(rapid.Int64Range(0, 1<<35).Draw(t, "at"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		if s.State == rules.Clipped {
			s.ConfidenceMax = rapid.Float64Range(0, 1).Draw(t, "max")
		}
		if rapid.Bool().Draw(t, "expires") {
			s.ExpiresAt = s.SetAt.Add(time.Hour)
		}
		id := rapid.StringMatching(`[A-Za-z0-9_]{1,12}`).Draw(t, "id")
		text, err := editStates(statesText, map[string]rules.RuleState{id: s})
		if err != nil {
			t.Fatal(err)
		}
		if got := rules.ParseStates("s.yaml", text).States[id]; !got.Equal(s) {
			t.Fatalf("%+v became %+v in\n%s", s, got, text)
		}
	})
}

// TestScope: where a fleet's operators have decided, a state is another one; files of states never say so.
func TestScope(t *testing.T) {
	own := rules.RuleState{State: rules.Disabled, SetBy: "alice"}
	fleets := own
	fleets.Scope = "fleet"
	if own.Equal(fleets) || own.SameAs(fleets) || (rules.RuleState{Scope: "host"}).IsZero() {
		t.Error("the scope makes no difference")
	}
	if err := (rules.RuleState{Scope: "host", ExpiresAt: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}).Validate(); err != nil {
		t.Errorf("enabled, before what the fleet says next: %v", err)
	}
	if err := (rules.RuleState{Scope: "world"}).Validate(); err == nil {
		t.Error("any scope is valid")
	}
	if f := rules.ParseStates("states.yaml", []byte("R1: {state: disabled, scope: fleet}\n")); !f.Problems.Failed() {
		t.Error("a file says a scope")
	}
	if _, err := rules.ParseStates("states.yaml", nil).Edit(map[string]rules.RuleState{"R1": fleets}); err == nil {
		t.Error("a scope is written to a file")
	}
}
