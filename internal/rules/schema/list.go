package schema

import "bittern/internal/rules"

// sharedList is the use of a list that rules share, as a value.
func sharedList() *node {
	return &node{
		Description: "The values of a list that rules share.", Type: "object", Required: []string{"list"}, AdditionalProperties: false,
		Properties: map[string]*node{"list": {Type: "string", Pattern: rules.ListNames, MaxLength: rules.MaxNameBytes, Description: "Name of the list."}},
	}
}

// isLists holds for a document that defines lists.
func isLists() *node {
	return &node{Type: "object", Required: []string{"lists"}, Not: &node{Required: []string{"rule_id"}}}
}

// lists is a document that defines lists.
func (b *builder) lists() *node {
	values := list(&node{Type: []string{"string", "number", "boolean"}, MaxLength: rules.MaxValueBytes})
	values.MaxItems = rules.MaxListValues
	described := &node{
		Type: "object", Required: []string{"values"}, AdditionalProperties: false,
		Properties: map[string]*node{"description": visibleText(rules.MaxTextBytes), "values": values},
	}
	all := &node{
		Description: "Lists that rules share, by name.", Type: "object", MinProperties: 1, MaxProperties: rules.MaxListValues,
		PropertyNames:        &node{Pattern: rules.ListNames, MaxLength: rules.MaxNameBytes},
		AdditionalProperties: &node{AnyOf: []*node{values, described}},
	}
	return &node{Properties: map[string]*node{"lists": all}, AdditionalProperties: false}
}
