package control

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

type schema struct {
	Required   []string       `yaml:"required"`
	Properties map[string]any `yaml:"properties"`
	Ref        string         `yaml:"$ref"`
	AllOf      []schema       `yaml:"allOf"`
}

// whole is a schema with those that it is made of.
func (s schema) whole(all map[string]schema) schema {
	for _, part := range s.AllOf {
		if part.Ref != "" {
			part = all[part.Ref[strings.LastIndex(part.Ref, "/")+1:]]
		}
		if s.Properties == nil {
			s.Properties = make(map[string]any)
		}
		maps.Copy(s.Properties, part.Properties)
		s.Required = append(s.Required, part.Required...)
	}
	return s
}

// TestDescription holds the description against the routes and types that it describes.
func TestDescription(t *testing.T) {
	var doc struct {
		Paths      map[string]map[string]any
		Components struct{ Schemas map[string]schema }
	}
	if err := yaml.Unmarshal(OpenAPI, &doc); err != nil {
		t.Fatal(err)
	}
	var described []string
	for path, item := range doc.Paths {
		for method := range item {
			if method != "parameters" {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(described)
	if diff := cmp.Diff(slices.Sorted(maps.Keys((&Server{}).routes())), described); diff != "" {
		t.Errorf("routes and their description (-routes +described):\n%s", diff)
	}
	types := make(map[string]reflect.Type)
	for _, of := range []any{Status{}, Part{}, Counts{}, Class{}, Problem{}, Rule{}, RuleDetail{}, Why{}, Finding{}, State{}, Doctor{}, Hook{}, Refusal{}, Setting{}, Change{}, Outbox{}, Sink{}, Fleet{}} {
		types[reflect.TypeOf(of).Name()] = reflect.TypeOf(of)
	}
	types["Error"] = reflect.TypeOf(failure{})
	if diff := cmp.Diff(slices.Sorted(maps.Keys(types)), slices.Sorted(maps.Keys(doc.Components.Schemas))); diff != "" {
		t.Errorf("types and schemas (-types +schemas):\n%s", diff)
	}
	for name, of := range types {
		want := schema{Properties: make(map[string]any)}
		fields(of, &want)
		got := doc.Components.Schemas[name].whole(doc.Components.Schemas)
		if diff := cmp.Diff(slices.Sorted(maps.Keys(want.Properties)), slices.Sorted(maps.Keys(got.Properties))); diff != "" {
			t.Errorf("%s: fields and properties (-type +schema):\n%s", name, diff)
		}
		slices.Sort(want.Required)
		slices.Sort(got.Required)
		if diff := cmp.Diff(want.Required, got.Required); diff != "" {
			t.Errorf("%s: fields that are always there (-type +schema):\n%s", name, diff)
		}
	}
}

// fields adds those that a type has in JSON.
func fields(of reflect.Type, to *schema) {
	for _, f := range reflect.VisibleFields(of) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "" {
			continue
		}
		to.Properties[name] = nil
		if options != "omitempty" {
			to.Required = append(to.Required, name)
		}
	}
}
