package rules_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/rules"
)

func editStates(text string, edits map[string]rules.RuleState) ([]byte, error) {
	f, err := rules.ParseStates("s.yaml", []byte(text)).Edit(edits)
	if err != nil {
		return nil, err
	}
	return f.Text, nil
}

func TestEditStates(t *testing.T) {
	at := time.Date(2026, 5, 6, 7, 8, 9, 123456789, time.UTC)
	set := rules.RuleState{State: rules.Disabled, ExpiresAt: at.Add(time.Hour), Reason: "true", SetBy: "bob", SetAt: at}
	for _, c := range []struct {
		name, text string
		edits      map[string]rules.RuleState
		want       string
	}{
		{"into nothing", "", map[string]rules.RuleState{"R1": set},
			"R1:\n  state: disabled\n  expires_at: 2026-05-06T08:08:09.123456789Z\n  reason: \"true\"\n  set_by: bob\n  set_at: 2026-05-06T07:08:09.123456789Z\n"},
		{"below a comment", "# mine", map[string]rules.RuleState{"R1": {State: rules.Clipped, ConfidenceMax: 0.5, SetBy: "file"}},
			"# mine\n\nR1:\n  state: clipped\n  confidence_max: 0.5\n"},
		{"removed", statesText, map[string]rules.RuleState{"R2": {}, "NONE": {}},
			"# Who edits this keeps the comments.\nR1:\n  state: disabled # noisy\n  expires_at: 2030-01-01T01:00:00+01:00\n  reason: 'noisy: see #7'\n\"123\": {state: enabled, reason: looked at}\n"},
		{"the last removed", "# mine\n\nR1: {state: disabled}\n", map[string]rules.RuleState{"R1": {}}, "# mine\n\n"},
		{"the first removed", "# mine\nR1: {state: disabled}\n# R2's\nR2: {state: disabled}\n", map[string]rules.RuleState{"R1": {}}, "# mine\n\n# R2's\nR2: {state: disabled}\n"},
		{"from flow", "{R1: {state: disabled}}", map[string]rules.RuleState{"R1": {}, "R2": {State: rules.Disabled, SetBy: "file"}}, "R2:\n  state: disabled\n"},
		{"nothing to do", "R1:    {state: disabled}", map[string]rules.RuleState{"R1": {State: rules.Disabled, SetBy: "file"}, "R2": {}}, "R1:    {state: disabled}"},
		{"comments of others stay", "# the file's\n\n# R1's\nR1: {state: disabled}\n# R1's as well\n\n# nobody's\n\n# R2's\nR2:   {state: \"disabled\"} # so is this\n# about the end",
			map[string]rules.RuleState{"R1": {}, "R3": {State: rules.Disabled, SetBy: "file"}},
			"# the file's\n\n# nobody's\n\n# R2's\nR2:   {state: \"disabled\"} # so is this\n# about the end\n\nR3:\n  state: disabled\n"},
		{"comments around one that is set stay", "# R1's\nR1: # gone\n  state: disabled\n  # gone as well\n# R2's\n\"R2\" : {state: disabled}",
			map[string]rules.RuleState{"R1": {State: rules.Clipped, SetBy: "file"}},
			"# R1's\nR1:\n  state: clipped\n  confidence_max: 0\n# R2's\n\"R2\" : {state: disabled}\n"},
		{"the last one and its comments", "R1: {state: disabled}\n# R2's\nR2: {state: disabled}\n# about the end\n", map[string]rules.RuleState{"R2": {}}, "R1: {state: disabled}\n# about the end\n"},
		{"empty lines don't add up", "R1: {state: disabled}\n\nR2: {state: disabled}\n\nR3: {state: disabled}\n", map[string]rules.RuleState{"R2": {}}, "R1: {state: disabled}\n\nR3: {state: disabled}\n"},
		{"below a marker", "---\n", map[string]rules.RuleState{"R1": {State: rules.Disabled, SetBy: "file"}}, "---\nR1:\n  state: disabled\n"},
		{"into an empty mapping", "# mine\n{}", map[string]rules.RuleState{"R1": {State: rules.Disabled, SetBy: "file"}}, "# mine\n\nR1:\n  state: disabled\n"},
		{"many lines", "R1:\n  reason: |-\n    # mine\n  state: \"dis\\\n  abled\"\n# R2's\nR2: {\n  state: disabled,\n  reason: 'it''s\n# one'}\n", map[string]rules.RuleState{"R3": {State: rules.Disabled, SetBy: "file"}},
			"R1:\n  reason: '# mine'\n  state: \"disabled\"\n# R2's\nR2: {state: disabled, reason: 'it''s # one'}\nR3:\n  state: disabled\n"},
		{"ends of lines", "# mine\r\n\r\nR1: {state: disabled}\r\n# R2's\r\nR2: {state: disabled}\r\n", map[string]rules.RuleState{"R1": {}}, "# mine\n\n# R2's\nR2: {state: disabled}\n"},
		{"with an end", "R1: {state: disabled}\n...\n", map[string]rules.RuleState{"R2": {State: rules.Disabled, SetBy: "file"}}, "R1: {state: disabled}\nR2:\n  state: disabled\n"},
		{"a value like an id", "state: {state: disabled, set_by: R2}\n", map[string]rules.RuleState{"R2": {State: rules.Disabled, SetBy: "file"}},
			"state: {state: disabled, set_by: R2}\nR2:\n  state: disabled\n"},
	} {
		got, err := editStates(c.text, c.edits)
		if diff := cmp.Diff(c.want, string(got)); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", c.name, err, diff)
		}
	}
}

// TestStatesThatAreTooMany are not written: who reads the file would take none of it.
func TestStatesThatAreTooMany(t *testing.T) {
	edits := map[string]rules.RuleState{}
	for i := range 4096 {
		edits[fmt.Sprint("R", i)] = rules.RuleState{State: rules.Disabled, SetBy: "x", Reason: "a reason"}
	}
	full, err := rules.ParseStates("s.yaml", nil).Edit(edits)
	if err != nil {
		t.Fatal(err)
	}
	if f := rules.ParseStates("s.yaml", full.Text); len(f.Problems) > 0 || len(f.States) != 4096 {
		t.Errorf("%d states, %v", len(f.States), f.Problems)
	}
	one := rules.RuleState{State: rules.Disabled, SetBy: "x"}
	if _, err := full.Edit(map[string]rules.RuleState{"NEW": one}); err == nil || err.Error() != "editing s.yaml: it would have 4097 entries, the limit is 4096" {
		t.Errorf("got %v", err)
	}
	if f, err := full.Edit(map[string]rules.RuleState{"NEW": one, "R7": {}}); err != nil || len(f.States) != 4096 {
		t.Errorf("got %v", err)
	}
	more := append(full.Text[:len(full.Text):len(full.Text)], "NEW: {state: disabled}\n"...)
	if f := full.Reparse(more); f.Complete || !strings.Contains(f.Problems.Error(), "mapping has 4097 keys") {
		t.Errorf("complete %v, problems %v", f.Complete, f.Problems)
	}
	full = rules.ParseStates("s.yaml", append(bytes.Repeat([]byte("#"), rules.MaxStateBytes-40), "\nR1: {state: disabled}\n"...))
	if _, err := full.Edit(map[string]rules.RuleState{"NEW": one}); err == nil || !strings.Contains(err.Error(), "bytes, the limit is") {
		t.Errorf("got %v", err)
	}
}
