package schema

import (
	"fmt"
	"strings"
	"testing"

	"bittern/internal/event"
	"bittern/internal/rules"
	"bittern/internal/schematest"
)

// values are of all kinds, right and wrong for something.
var values = []string{
	"null", "true", "0", "1", "255", "256", "4294967295", "4294967296", "1.5", "-1", "0.5", "''", "' '", "text", "'*'", "'**'", "'a*'", "'1'", "'01'",
	"2026-01-31", "2026-13-01", "critical", "tcp", "TCP", "bind", "198.51.100.7", "'2001:db8::1'", "10.0.0.0/8", "TA0011", "T1105", "T1059.004",
	"[]", "[text]", "[text, text]", "[1]", "[null]", "[[text]]", "[198.51.100.7]", "[process_exec]", "[process_exec, command]", "[user.name]", "[user.name, user.name]",
	"{}", "{a: b}", "[{}]", "[{a: b}]", strings.Repeat("x", 65), strings.Repeat("x", 257), strings.Repeat("x", 4097), strings.Repeat("x", 16<<10+1),
	"{field: user.name, pattern: x}", "{field: user.name}", "{a: {user.name: x}}", "{a: {user.name: x}, b: {user.id: 0}}", "{a: [{user.name: x}], condition: a}", "{kind: {user.name: x}}",
	"[{match: {user.name: x}}]", "[{match: {user.name: x}, no_match: {user.name: y}}]", "[{no_match: {user.name: y}, event: command}]",
	"[{tactic: TA0011, technique_id: T1105, confidence: 1}]", "[{tactic: TA0011, confidence: 1}]",
}

// judge compares the parser's verdict with the schema's, and reports a rule that only the schema refuses. It returns both.
func judge(t *testing.T, s *schematest.Schema, text string) (good, valid bool) {
	t.Helper()
	problems := rules.Parse("probe.yml", []byte(text), rules.Options{}).AllProblems()
	good = !problems.Failed()
	err := s.YAML([]byte(text))
	if good && err != nil {
		t.Errorf("the parser takes this, the schema does not: %v\n%s", err, text)
	}
	return good, err == nil
}

// ruleWith is a good rule in which a key has another value, "" for none.
func ruleWith(key, value string) string {
	var b strings.Builder
	given := map[string]string{
		"rule_id": "R1", "rule_version": "1", "name": "example", "applies_to": "[process_exec]", "match": "{a: {user.name: x}}",
		"emits": "[{tactic: TA0011, technique_id: T1105, confidence: 0.5}]",
	}
	given[key] = value
	for name, text := range given {
		if text != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, text)
		}
	}
	return b.String()
}

// Each key of a rule is given values of all kinds.
func TestValuesOfKeys(t *testing.T) {
	s := compiled(t)
	for _, key := range rules.Keys() {
		refused := 0
		for _, value := range values {
			good, valid := judge(t, s, ruleWith(key.Name, value))
			if !good {
				refused++
			}
			if !good && valid {
				t.Errorf("the schema takes %s: %.80s", key.Name, value)
			}
		}
		if refused == 0 {
			t.Errorf("the parser takes any value of %s: it does not read it", key.Name)
		}
		if good, valid := judge(t, s, ruleWith(key.Name, "")); good == key.Required || valid == key.Required {
			t.Errorf("without %s, which is required: %v, the parser says %v, the schema %v", key.Name, key.Required, good, valid)
		}
	}
}

// Each key of an entry of emits is given values of all kinds.
func TestValuesOfEmits(t *testing.T) {
	s := compiled(t)
	for _, key := range rules.EmitKeys() {
		for _, value := range append(values, "") {
			given := map[string]string{"tactic": "TA0011", "technique_id": "T1105", "confidence": "0.5"}
			given[key.Name] = value
			var entries []string
			for name, text := range given {
				if text != "" {
					entries = append(entries, name+": "+text)
				}
			}
			if good, valid := judge(t, s, ruleWith("emits", "[{"+strings.Join(entries, ", ")+"}]")); good != valid {
				t.Errorf("%s: %.80s: the parser says %v, the schema %v", key.Name, value, good, valid)
			}
		}
	}
}

// fieldRule is a rule for the first class of a field.
func fieldRule(f event.FieldInfo, match string) string {
	return strings.Replace(ruleWith("match", match), "[process_exec]", "["+f.Classes[0].String()+"]", 1)
}

// probed are the fields to try: with -short, which is for the race detector, a few of them.
func probed() []event.FieldInfo {
	all := event.Fields()
	if !testing.Short() {
		return all
	}
	var few []event.FieldInfo
	for i := 0; i < len(all); i += 7 {
		few = append(few, all[i])
	}
	return few
}

// Each field is compared to values of all kinds, and is in tests.
func TestValuesOfFields(t *testing.T) {
	s := compiled(t)
	for _, f := range probed() {
		for _, value := range append(values, f.Values...) {
			good, valid := judge(t, s, fieldRule(f, fmt.Sprintf("{a: {%s: %s}}", f.Name, value)))
			if !good && valid {
				t.Errorf("the schema takes %s: %.80s", f.Name, value)
			}
			test := fmt.Sprintf("{a: {user.name: x}}\ntests: [{no_match: {%s: %s}}]", f.Name, value)
			good, valid = judge(t, s, fieldRule(f, test))
			if name := strings.HasSuffix(f.Name, ".name") && strings.Contains(value, "/"); !good && valid && !name { // no file has such a name
				t.Errorf("the schema takes a test of %s: %.80s", f.Name, value)
			}
		}
	}
}

// Fields of each form are given all modifiers, up to three of them.
func TestModifiers(t *testing.T) {
	s, most := compiled(t), 3
	if testing.Short() {
		most = 2
	}
	for _, field := range []event.Field{event.ProcessCommandLine, event.DestinationIP, event.NetworkTransport, event.ProcessPID} {
		f := field.Info()
		for _, modifiers := range sequences(most) {
			for _, value := range []string{"x", "[x, y]", "10.0.0.0/8", "[10.0.0.0/8]"} {
				good, valid := judge(t, s, fieldRule(f, fmt.Sprintf("{a: {%s%s: %s}}", f.Name, modifiers, value)))
				if !good && valid {
					t.Errorf("the schema takes %s%s: %s", f.Name, modifiers, value)
				}
			}
		}
	}
}

// sequences are all ways to write up to so many modifiers, and one that there is not.
func sequences(most int) []string {
	all := []string{""}
	last := all
	for range most {
		var next []string
		for _, before := range last {
			for _, m := range rules.Modifiers() {
				next = append(next, before+"|"+m.Name)
			}
		}
		all, last = append(all, next...), next
	}
	return append(all, "|none", "|")
}

// Each field is used where each class is, alone and with another.
func TestFieldsOfClasses(t *testing.T) {
	s := compiled(t)
	for _, f := range probed() {
		for _, a := range event.Classes() {
			for _, b := range []event.Class{a, event.ProcessExec, event.KernelChange} {
				classes := "[" + a.String() + "]"
				if a != b {
					classes = "[" + a.String() + ", " + b.String() + "]"
				}
				for _, use := range []string{
					fmt.Sprintf("{a: {%s|re: x}}", f.Name), fmt.Sprintf("{a: [{%s: 0}, {%s: true}]}", f.Name, f.Name), fmt.Sprintf("{field: %s, pattern: x}", f.Name),
					fmt.Sprintf("{a: {user.name: x}}\nevidence_fields: [%s]", f.Name),
				} {
					good, valid := judge(t, s, strings.Replace(ruleWith("match", use), "[process_exec]", classes, 1))
					if !good && valid {
						t.Errorf("the schema takes for %s: %s", classes, use)
					}
				}
			}
		}
	}
}
