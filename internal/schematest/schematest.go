// Package schematest holds documents against the JSON Schemas that programs print, for tests that a
// schema and a parser agree.
package schematest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// Schema is a JSON Schema that has been found to be one.
type Schema struct{ schema *jsonschema.Schema }

// Compile ends the test if the text is not a JSON Schema of draft 2020-12.
func Compile(t testing.TB, text []byte) *Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("reading the schema: %v", err)
	}
	const name = "schema.json"
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource(name, doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return &Schema{schema}
}

// YAML returns what is wrong with a YAML document, nil if nothing is.
func (s *Schema) YAML(document []byte) error {
	var node yaml.Node
	if err := yaml.Unmarshal(document, &node); err != nil {
		return fmt.Errorf("reading YAML: %w", err)
	}
	return s.Node(&node)
}

// Node returns what is wrong with a node of YAML, nil if nothing is. Dates are texts to it, as they are to editors.
func (s *Schema) Node(node *yaml.Node) error {
	var value any
	datesToText(node)
	if err := node.Decode(&value); err != nil {
		return fmt.Errorf("reading YAML: %w", err)
	}
	text, err := json.Marshal(value) // the schema is about JSON: it knows no keys that are numbers
	if err != nil {
		return fmt.Errorf("turning YAML into JSON: %w", err)
	}
	if value, err = jsonschema.UnmarshalJSON(bytes.NewReader(text)); err != nil {
		return err
	}
	return s.schema.Validate(value)
}

// datesToText changes a node so that dates are not a type of their own.
func datesToText(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, sub := range n.Content {
		datesToText(sub)
	}
}
