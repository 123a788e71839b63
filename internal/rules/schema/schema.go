// Package schema describes rule files by a JSON Schema, so that editors complete, explain and check them while they
// are written. It is made from the tables that the parser reads rules by. What it refuses the parser refuses too; the
// parser refuses more, for example unknown names in conditions.
package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// visible is a text that is not blank. The parser knows more blanks.
const visible = `[^ \t\r\n]`

// JSON returns the schema of one document of a rule file.
func JSON() ([]byte, error) {
	b := &builder{defs: make(map[string]*node)}
	rule, err := b.rule()
	if err != nil {
		return nil, err
	}
	root := &node{If: isLists(), Then: b.lists(), Else: rule}
	root.Schema, root.Title, root.Defs = "https://json-schema.org/draft/2020-12/schema", "Bittern rule", b.defs
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(root); err != nil {
		return nil, fmt.Errorf("writing the schema of rules: %w", err)
	}
	return out.Bytes(), nil
}

// builder makes the schema, and collects definitions that it uses more than once.
type builder struct{ defs map[string]*node }

// rule is the schema of a document, which may be empty.
func (b *builder) rule() (*node, error) {
	root, err := b.mapping(rules.Keys())
	if err != nil {
		return nil, err
	}
	root.Type = []string{"object", "null"}
	root.PatternProperties = map[string]*node{"^x-": {Description: "A key of your own, with any value."}}
	for _, class := range event.Classes() {
		root.AllOf = append(root.AllOf, b.ofClass(class))
	}
	return root, nil
}

// mapping is the schema of a mapping that has these keys and no others.
func (b *builder) mapping(keys []rules.KeyInfo) (*node, error) {
	n := &node{Type: "object", Properties: make(map[string]*node), AdditionalProperties: false, MinProperties: 1}
	for _, k := range keys {
		value, err := b.value(k)
		if err != nil {
			return nil, err
		}
		n.Properties[k.Name] = value
		if k.Required {
			n.Required = append(n.Required, k.Name)
		}
	}
	return n, nil
}

// value is the schema of a key's value.
func (b *builder) value(k rules.KeyInfo) (n *node, err error) {
	switch k.Type {
	case rules.TypeID:
		n = &node{Type: "string", Pattern: "^[A-Za-z0-9_]+$", MaxLength: k.Most, PatternErrorMessage: "use letters, digits and _ only"}
	case rules.TypeCount:
		n = &node{Type: "integer", Minimum: 1, Maximum: rules.MaxVersion}
	case rules.TypeText:
		n = visibleText(k.Most)
	case rules.TypeCondition:
		n = &node{Type: "string", Pattern: conditionPattern(), MaxLength: k.Most, PatternErrorMessage: conditionHelp}
	case rules.TypePattern:
		n = patterns()
	case rules.TypeTexts:
		n = list(visibleText(k.Most))
	case rules.TypeDate:
		n = &node{Type: "string", Pattern: "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", PatternErrorMessage: "write it as 2026-01-31"}
	case rules.TypeSeverity:
		n = &node{Type: "string"}
		for _, s := range rules.Severities() {
			n.Enum = append(n.Enum, string(s))
		}
	case rules.TypeTactic:
		n = &node{Type: "string", Pattern: "^TA[0-9]{4}$", PatternErrorMessage: "write it as TA0011"}
	case rules.TypeTechnique:
		n = &node{Type: "string", Pattern: "^T[0-9]{4}$", PatternErrorMessage: "write it as T1105"}
	case rules.TypeSubTechnique:
		n = &node{Type: "string", Pattern: `^T[0-9]{4}\.[0-9]{3}$`, PatternErrorMessage: "write it as T1059.004"}
	case rules.TypeConfidence:
		n = &node{Type: "number", Minimum: 0, Maximum: 1}
	case rules.TypeClass:
		n = classNames()
	case rules.TypeClasses:
		n = classes()
	case rules.TypeField:
		n = &node{Type: "string"} // which one, by class
	case rules.TypeFields:
		n = list(&node{Type: "string"})
		n.UniqueItems = true
	case rules.TypeEmits:
		n, err = b.mapping(rules.EmitKeys())
		n = list(n)
	case rules.TypeExceptions:
		n, err = b.mapping(rules.ExceptionKeys())
		n = list(n)
	case rules.TypeSelection:
		n = &node{} // which fields, by class
	case rules.TypeLimit:
		n, err = b.mapping(rules.LimitKeys())
	case rules.TypePer:
		n = &node{Type: "string", Enum: rules.Sources()}
	case rules.TypeWindow:
		n = &node{Type: "string", Pattern: "^[1-9][0-9]*[smh]$", PatternErrorMessage: "write it as 30s, 5m or 1h"}
	case rules.TypeTests:
		n, err = b.tests()
	case rules.TypeExample:
		n = b.example()
	case rules.TypeMatch:
		n, err = b.anyMatch()
	default:
		return nil, fmt.Errorf("making the schema of rules: type %q of key %s is not known", k.Type, k.Name)
	}
	if err != nil {
		return nil, err
	}
	if n.Ref != "" {
		n = &node{Ref: n.Ref}
	}
	n.Description = plain(k.Doc)
	return n, nil
}

// visibleText is a text that is not blank.
func visibleText(most int) *node {
	return &node{Type: "string", Pattern: visible, MaxLength: most, PatternErrorMessage: "write a text or leave the key out"}
}

// list is a list of such values.
func list(of *node) *node {
	return &node{Type: "array", Items: of, MinItems: 1, MaxItems: rules.MaxEntries}
}

// classNames is the name of a class.
func classNames() *node {
	n := &node{Type: "string"}
	for _, c := range event.Classes() {
		for _, name := range namesOf(c) {
			n.Enum = append(n.Enum, name)
			n.EnumDescriptions = append(n.EnumDescriptions, plain(c.Info().Doc))
		}
	}
	return n
}

// classes is a list of classes, none of them twice.
func classes() *node {
	n := list(classNames())
	n.UniqueItems = true
	for _, c := range event.Classes() {
		if names := namesOf(c); len(names) > 1 {
			n.Not = &node{AllOf: []*node{{Contains: &node{Const: names[0]}}, {Contains: &node{Const: names[1]}}}}
		}
	}
	return n
}

// namesOf returns the names that a class has.
func namesOf(c event.Class) []string {
	if alias := c.Info().Alias; alias != "" {
		return []string{c.String(), alias}
	}
	return []string{c.String()}
}

// fieldNames is the name of one of the fields.
func (b *builder) fieldNames(fields []event.FieldInfo, def string) *node {
	if b.defs[def] == nil {
		n := &node{Type: "string"}
		for _, f := range fields {
			for _, name := range fieldNamesOf(f) {
				n.Enum = append(n.Enum, name)
				n.EnumDescriptions = append(n.EnumDescriptions, plain(f.Doc))
			}
		}
		b.defs[def] = n
	}
	return ref(def)
}

// fieldNamesOf returns the names that a field has.
func fieldNamesOf(f event.FieldInfo) []string {
	if f.Alias != "" {
		return []string{f.Name, f.Alias}
	}
	return []string{f.Name}
}

// fieldsOf returns the fields of a class.
func fieldsOf(c event.Class) []event.FieldInfo {
	return slices.DeleteFunc(event.Fields(), func(f event.FieldInfo) bool { return !f.Field.In(c) })
}

func stringFields(all []event.FieldInfo) []event.FieldInfo {
	return slices.DeleteFunc(slices.Clone(all), func(f event.FieldInfo) bool { return f.Kind != event.String })
}

// anyName is a pattern of names.
func anyName(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = regexp.QuoteMeta(name)
	}
	return "(" + strings.Join(quoted, "|") + ")"
}

// plain leaves out the marks of Markdown.
func plain(doc string) string { return strings.ReplaceAll(doc, "`", "") }
