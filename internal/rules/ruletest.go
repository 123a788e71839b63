package rules

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"bittern/internal/event"
)

// RunTests runs the tests that the rule carries, and returns a problem for each
// that fails.
func (r *Rule) RunTests() Problems {
	var failed Problems
	for i, t := range r.Tests {
		if r.Match(&t.Event) == t.Match {
			continue
		}
		message := fmt.Sprintf("test %d of %d should match, but does not", i+1, len(r.Tests))
		if !t.Match {
			message = fmt.Sprintf("test %d of %d should not match, but does", i+1, len(r.Tests))
		}
		failed = append(failed, Problem{Pos: t.Pos, RuleID: r.ID, Message: message})
	}
	return failed
}

// tests reads the tests of a rule.
func (r *reader) tests(n *yaml.Node, classes []event.Class) []Test {
	const hint = "write - match: {field: value} or - no_match: {field: value}"
	items, ok := r.list(n, "tests", "of match and no_match")
	if !ok {
		return nil
	}
	tests := make([]Test, 0, len(items))
	for _, item := range items {
		entries, ok := r.mapping(item, "a test")
		if !ok {
			continue
		}
		if len(entries) != 1 || (entries[0].name != "match" && entries[0].name != "no_match") {
			r.errorf(item, hint, "a test must have one key, match or no_match")
			continue
		}
		e := entries[0]
		t := Test{Match: e.name == "match", Pos: r.pos(e.key)}
		if values, ok := r.mapping(e.value, "a test's "+e.name); ok {
			r.testEvent(&t.Event, values, classes)
			tests = append(tests, t)
		}
	}
	return tests
}

// example is a field of a test's event with its values.
type example struct {
	entry
	field  event.Field
	texts  []string
	number uint64
}

// testEvent builds the event of a test.
func (r *reader) testEvent(ev *event.Event, entries []entry, classes []event.Class) {
	if len(classes) > 0 {
		ev.Class = classes[0]
	}
	var examples []example
	for _, e := range entries {
		name, _, modified := strings.Cut(e.name, "|")
		if modified {
			r.errorf(e.key, "write "+clip(name)+" alone", "a test gives values, it takes no modifiers")
			continue
		}
		field, ok := r.field(e.key, name, classes)
		if !ok {
			continue
		}
		x := example{entry: e, field: field}
		if r.example(&x) {
			examples = append(examples, x)
		}
	}
	// Setting one field may set others from it: those that follow from others
	// come first, so that what is said more exactly wins.
	slices.SortStableFunc(examples, func(a, b example) int { return precedence(a.field) - precedence(b.field) })
	for _, x := range examples {
		var err error
		if x.field.Info().Kind == event.String {
			err = ev.Set(x.field, x.texts...)
		} else {
			err = ev.SetNumber(x.field, x.number)
		}
		if err != nil {
			r.errorf(x.value, "", "bad test: %s", err)
			return
		}
	}
	for _, x := range examples {
		if !x.holds(ev) {
			r.errorf(x.key, "leave one of them out", "%s contradicts another field of the test", x.field)
		}
	}
}

func precedence(f event.Field) int {
	switch f {
	case event.ProcessName, event.ProcessParentName:
		return 0
	case event.ProcessCommandLine:
		return 1
	case event.ProcessArgsCount:
		return 3
	}
	return 2
}

// example reads the value of a field in a test, or the list of them.
func (r *reader) example(x *example) bool {
	what := "the value of " + x.field.String()
	items := []*yaml.Node{x.value}
	if x.value.Kind == yaml.SequenceNode {
		if !x.field.Info().Many {
			r.wrongType(x.value, what, "one value", "an event has one "+x.field.String())
			return false
		}
		items = x.value.Content
	}
	c := &comparison{field: x.field}
	for _, item := range items {
		if x.field.Info().Kind != event.String {
			l, ok := r.one(c, item).(*literal)
			if !ok {
				return false
			}
			x.number = l.number
			continue
		}
		if !isString(item) {
			r.wrongType(item, what, "a string", quoteHint(item, emptyHint))
			return false
		}
		x.texts = append(x.texts, item.Value)
	}
	return true
}

// holds reports whether the event has the values that the test gives.
func (x *example) holds(ev *event.Event) bool {
	if x.field.Info().Kind != event.String {
		value, ok := ev.Number(x.field)
		return ok && value == x.number
	}
	unknown := func(s string) bool { return s == "" }
	have := slices.DeleteFunc(ev.Strings(x.field, nil), unknown)
	want := slices.DeleteFunc(slices.Clone(x.texts), unknown)
	return slices.Equal(slices.Compact(have), slices.Compact(want))
}
