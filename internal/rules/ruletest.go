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
	items, ok := r.list(n, "tests", "of match and no_match")
	if !ok {
		return nil
	}
	tests := make([]Test, 0, len(items))
	for _, item := range items {
		if t, ok := r.test(item, classes); ok {
			tests = append(tests, t)
		}
	}
	return tests
}

// test reads one test. Its event is of the first of the rule's classes, unless it
// names another.
func (r *reader) test(n *yaml.Node, classes []event.Class) (t Test, ok bool) {
	entries, ok := r.mapping(n, "a test")
	if !ok {
		return Test{}, false
	}
	t.Event = event.Blank(event.ClassUnknown)
	if len(classes) > 0 {
		t.Event.Class = classes[0]
	}
	if i := slices.IndexFunc(entries, func(e entry) bool { return e.name == "event" }); i >= 0 {
		if t.Event.Class, ok = r.testClass(entries[i].value, classes); !ok {
			return Test{}, false
		}
		entries = slices.Delete(entries, i, i+1)
	}
	if len(entries) != 1 || (entries[0].name != "match" && entries[0].name != "no_match") {
		r.errorf(n, "write - match: {field: value} or - no_match: {field: value}", "a test must have one key, match or no_match")
		return Test{}, false
	}
	given := entries[0]
	t.Match, t.Pos = given.name == "match", r.pos(given.key)
	values, ok := r.mapping(given.value, "a test's "+given.name)
	if ok {
		r.testEvent(&t.Event, values)
	}
	return t, ok
}

// testClass reads the class of a test's event, one of the rule's.
func (r *reader) testClass(n *yaml.Node, classes []event.Class) (event.Class, bool) {
	name, ok := r.text(n, "a test's event", maxName)
	if !ok {
		return 0, false
	}
	class, known := event.ParseClass(name)
	if !known {
		r.errorf(n, didYouMean(name, classNames()), "unknown event class %q", clip(name))
		return 0, false
	}
	if !slices.Contains(classes, class) {
		r.errorf(n, "add it to applies_to, or leave the test out", "the rule does not apply to events of class %s", class)
		return 0, false
	}
	return class, true
}

// example is a field of a test's event with its values.
type example struct {
	entry
	field  event.Field
	texts  []string
	number uint64
}

// testEvent builds the event of a test, of a class that is set, or unknown if
// the rule's own are wrong.
func (r *reader) testEvent(ev *event.Event, entries []entry) {
	var classes []event.Class
	if ev.Class != event.ClassUnknown {
		classes = []event.Class{ev.Class}
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
	case event.ProcessName, event.ProcessParentName, event.FileName, event.NetworkType:
		return 0
	case event.ProcessCommandLine:
		return 1
	case event.ProcessArgsCount, event.ProcessScript:
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
		text := item.Value
		if values := x.field.Info().Values; values != nil && !slices.Contains(values, text) {
			r.noValue(x.field, item)
			return false
		}
		if x.field.Info().Address {
			addr, ok := r.address(item, text, x.field)
			if !ok {
				return false
			}
			text = addr
		}
		x.texts = append(x.texts, text)
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
	if x.field.Info().Values != nil { // in whatever order
		slices.Sort(have)
		slices.Sort(want)
	}
	return slices.Equal(slices.Compact(have), slices.Compact(want))
}
