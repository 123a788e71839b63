package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"bittern/internal/event"
)

var selectionName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// selection is a named part of a rule's match.
type selection struct {
	name string
	key  *yaml.Node
	expr expr
	used bool // by the condition
}

// match reads the match of a rule: the short form, or selections and a condition.
func (r *reader) match(n *yaml.Node, classes []event.Class) expr {
	entries, ok := r.mapping(n, "match")
	if !ok {
		return nil
	}
	short := false
	for _, e := range entries {
		switch e.name {
		case "kind":
			what := describe(e.value)
			if e.value.Kind == yaml.ScalarNode {
				what = e.value.Value
			}
			r.errorf(e.key, "a match has field and pattern, or selections and a condition",
				"match.kind (%s) is not something Bittern has; this rule seems written for another product", clip(what))
			return nil
		case "field", "pattern":
			short = true
		}
	}
	if short {
		return r.shortMatch(n, entries, classes)
	}
	var selections []*selection
	var condition *yaml.Node
	for _, e := range entries {
		if e.name == "condition" {
			condition = e.value
			continue
		}
		r.checkName(e)
		selections = append(selections, &selection{name: e.name, key: e.key, expr: r.selection(e, "selection "+clip(e.name), classes)})
	}
	switch {
	case len(selections) == 0:
		r.errorf(n, "write for example tool: {process.executable|endswith: /curl}", "match has no selection")
		return nil
	case condition != nil:
		return r.condition(condition, selections)
	case len(selections) > 1:
		names := make([]string, len(selections))
		for i, s := range selections {
			names[i] = s.name
		}
		r.errorf(n, "for example condition: "+clip(strings.Join(names, " and ")),
			"match has %d selections and no condition", len(selections))
		return nil
	}
	return selections[0].expr
}

// shortMatch reads {field, pattern}: a regular expression on one field.
func (r *reader) shortMatch(n *yaml.Node, entries []entry, classes []event.Class) expr {
	const hint = "the short form has field and pattern only; for more use selections and a condition"
	given := make(map[string]*yaml.Node, len(entries))
	for _, e := range entries {
		given[e.name] = e.value
		if e.name != "field" && e.name != "pattern" {
			r.errorf(e.key, hint, "unknown key %q in the short form of match", clip(e.name))
		}
	}
	fieldNode := r.required(n, given, "field", hint)
	pattern := r.required(n, given, "pattern", hint)
	if fieldNode == nil || pattern == nil {
		return nil
	}
	name, ok := r.text(fieldNode, "field", maxName)
	if !ok {
		return nil
	}
	field, ok := r.field(fieldNode, name, classes)
	if !ok {
		return nil
	}
	if kind := field.Info().Kind; kind != event.String {
		r.errorf(fieldNode, fmt.Sprintf("write match: {selection: {%s: 0}}", field),
			"a pattern needs a string field, and %s is a %s", field, kind)
		return nil
	}
	c := &comparison{field: field, how: "re", source: field.String() + "|re"}
	return r.one(c, pattern)
}

// checkName checks the name of a selection, which conditions must be able to use.
func (r *reader) checkName(e entry) {
	switch {
	case slices.Contains(conditionWords, e.name):
		r.errorf(e.key, "give it another name", "selection name %q is a word of conditions", e.name)
	case !selectionName.MatchString(e.name):
		hint := "use letters, digits, _ and -, and start with a letter"
		name, _, _ := strings.Cut(e.name, "|")
		if _, ok := event.ParseField(name); ok {
			hint = fmt.Sprintf("a field belongs into a selection: selection: {%s: ...}", clip(e.name))
		}
		r.errorf(e.key, hint, "selection name %q is malformed", clip(e.name))
	case len(e.name) > maxID:
		r.errorf(e.key, "", "selection name %q has %d bytes, the limit is %d", clip(e.name), len(e.name), maxID)
	}
}

// selection reads a mapping of fields to values, all of which must hold, or a
// list of such mappings, of which one must.
func (r *reader) selection(e entry, what string, classes []event.Class) expr {
	n := e.value
	if n.Kind == yaml.MappingNode {
		return r.fields(n, what, classes)
	}
	if n.Kind != yaml.SequenceNode {
		r.wrongType(n, what, "a mapping of fields to values, or a list of them", "")
		return nil
	}
	items, ok := r.list(n, what, "of mappings")
	if !ok {
		return nil
	}
	alternatives := make(disjunction, 0, len(items))
	for _, item := range items {
		if item.Kind == yaml.ScalarNode {
			r.errorf(item, "name the field: process.command_line|contains: ...",
				"%s holds a value without a field", what)
			continue
		}
		alternatives = append(alternatives, r.fields(item, "an entry of "+what, classes))
	}
	if len(alternatives) == 1 {
		return alternatives[0]
	}
	return alternatives
}

func (r *reader) fields(n *yaml.Node, what string, classes []event.Class) expr {
	entries, ok := r.mapping(n, what)
	if !ok {
		return nil
	}
	all := make(conjunction, 0, len(entries))
	for _, e := range entries {
		if c, ok := r.comparison(e, classes); ok {
			all = append(all, r.values(c, e.value))
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	return all
}
