package schema

import (
	"bittern/internal/event"
	"bittern/internal/rules"
)

// ofClass is what holds for rules that apply to a class, and for those that don't: the match and the evidence have its fields only.
func (b *builder) ofClass(c event.Class) *node {
	isIt := &node{Enum: namesOf(c)}
	applies := &node{Type: "array", Contains: isIt}
	names := b.fieldNames(fieldsOf(c), c.String()+".fields")
	example := &node{PropertyNames: names}
	otherwise := &node{Properties: map[string]*node{"match": example, "no_match": example}}
	return &node{
		If: &node{Properties: map[string]*node{"applies_to": applies}, Required: []string{"applies_to"}},
		Then: &node{
			Properties: map[string]*node{"match": b.match(c), "evidence_fields": {Items: names},
				"exceptions": {Items: &node{Properties: map[string]*node{"match": b.selection(c)}}}},
			// With several classes the event of a test is of the first.
			If:   &node{Properties: map[string]*node{"applies_to": {MaxItems: 1}}},
			Then: &node{Properties: map[string]*node{"tests": {Items: &node{If: &node{Required: []string{"event"}}, Then: &node{}, Else: otherwise}}}},
		},
		Else: &node{Properties: map[string]*node{"tests": {Items: &node{Properties: map[string]*node{"event": {Not: isIt}}}}}},
	}
}

// anyMatch is the match of a rule, whatever it applies to: the keys that are no selections.
func (b *builder) anyMatch() (*node, error) {
	n, err := b.mapping(rules.MatchKeys())
	if err != nil {
		return nil, err
	}
	n.AdditionalProperties = nil // selections, by class
	return n, nil
}

// match is the match of a rule that applies to a class.
func (b *builder) match(c event.Class) *node {
	def := c.String() + ".match"
	n := &node{MinProperties: 1, MaxProperties: rules.MaxEntries}
	field := b.fieldNames(stringFields(fieldsOf(c)), c.String()+".texts")
	n.If = &node{AnyOf: []*node{{Required: []string{"field"}}, {Required: []string{"pattern"}}}}
	n.Then = &node{
		Required: []string{"field", "pattern"}, AdditionalProperties: false,
		Properties: map[string]*node{"field": field, "pattern": {}},
	}
	n.Else = &node{
		Properties:           map[string]*node{"condition": {}},
		PropertyNames:        ref("name"),
		AdditionalProperties: b.selection(c),
		If:                   &node{Required: []string{"condition"}}, Then: &node{MinProperties: 2}, Else: &node{MaxProperties: 1},
	}
	b.defs["name"] = &node{
		Pattern: `^[A-Za-z_][A-Za-z0-9_-]*$`, MaxLength: rules.MaxNameBytes,
		Not: &node{Enum: append([]string{"kind"}, rules.ConditionWords()...)},
	}
	b.defs[def] = n
	return ref(def)
}

// selection is a mapping of fields to values, or a list of such mappings.
func (b *builder) selection(c event.Class) *node {
	def, mapping := c.String()+".selection", c.String()+".comparisons"
	b.defs[mapping] = b.comparisons(fieldsOf(c))
	b.defs[def] = &node{
		Description: "A selection: all of its keys must hold; of a list of selections, one.",
		AnyOf:       []*node{ref(mapping), list(ref(mapping))},
	}
	return ref(def)
}

// tests is the list of a rule's tests.
func (b *builder) tests() (*node, error) {
	n, err := b.mapping(rules.TestKeys())
	if err != nil {
		return nil, err
	}
	n.OneOf = []*node{{Required: []string{"match"}}, {Required: []string{"no_match"}}}
	for _, c := range event.Classes() {
		example := &node{PropertyNames: b.fieldNames(fieldsOf(c), c.String()+".fields")}
		n.AllOf = append(n.AllOf, &node{
			If:   &node{Properties: map[string]*node{"event": {Enum: namesOf(c)}}, Required: []string{"event"}},
			Then: &node{Properties: map[string]*node{"match": example, "no_match": example}},
		})
	}
	return list(n), nil
}
