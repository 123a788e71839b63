package main

import (
	"math/bits"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const configSchemaLong = `Print a JSON Schema (draft 2020-12) of the configuration file, for editors. With the YAML
language server, which most use, write it to a file and name that in the first line of
the configuration file:

  # yaml-language-server: $schema=/etc/bittern/bittern.schema.json`

func newConfigSchema(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "print a JSON Schema of the configuration file",
		Long:    configSchemaLong,
		Example: "  bittern config schema > /etc/bittern/bittern.schema.json",
		Args:    noArguments,
		RunE:    func(*cobra.Command, []string) error { return writeJSON(a.out, configSchema(a.paths)) },
	}
}

// jsonSchema is the part of JSON Schema that is needed here.
type jsonSchema struct {
	Schema      string                 `json:"$schema,omitempty"`
	Title       string                 `json:"title,omitempty"`
	Description string                 `json:"description,omitempty"`
	Type        any                    `json:"type,omitempty"` // a name, or several
	Default     any                    `json:"default,omitempty"`
	Enum        []any                  `json:"enum,omitempty"`
	Const       any                    `json:"const,omitempty"`
	Minimum     int                    `json:"minimum,omitempty"`
	Maximum     int                    `json:"maximum,omitempty"`
	MinLength   int                    `json:"minLength,omitempty"`
	Pattern     string                 `json:"pattern,omitempty"`
	AnyOf       []*jsonSchema          `json:"anyOf,omitempty"`
	Properties  map[string]*jsonSchema `json:"properties,omitempty"`
	Additional  *bool                  `json:"additionalProperties,omitempty"`
}

// configSchema is that of the configuration file, which may be empty.
func configSchema(p paths) *jsonSchema {
	no := false
	all := &jsonSchema{
		Schema: "https://json-schema.org/draft/2020-12/schema", Title: "Configuration of Bittern",
		Type: []string{"object", "null"}, Properties: make(map[string]*jsonSchema), Additional: &no,
	}
	newSettings(p).flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "config" {
			return
		}
		s := schemaOf(f.Value)
		_, s.Description = pflag.UnquoteUsage(f)
		if traits[f.Name].tune == nil {
			s.Description += ". A change needs a restart."
		} else {
			s.Description += ". A change takes effect at once."
		}
		all.Properties[key(f.Name)] = s
	})
	return all
}

// schemaOf describes the values that a setting takes.
func schemaOf(v pflag.Value) *jsonSchema {
	switch v := v.(type) {
	case *choice:
		return &jsonSchema{Type: "string", Enum: anyOf(v.allowed), Default: v.String()}
	case *toggle:
		return &jsonSchema{Type: "boolean", Default: *v.value}
	case *whole:
		if v.power {
			return &jsonSchema{Type: "integer", Enum: anyOf(powers(v.least, v.most)), Default: *v.value}
		}
		return &jsonSchema{Type: "integer", Minimum: v.least, Maximum: v.most, Default: *v.value}
	case *span:
		return &jsonSchema{Default: v.String(), AnyOf: []*jsonSchema{{Const: 0}, {Type: "string", MinLength: 1, Pattern: spanForm}}}
	case *floor:
		return &jsonSchema{Type: "string", Pattern: floorForm}
	case *address:
		return &jsonSchema{Type: "string", Pattern: addressForm, Default: v.String()}
	}
	s := &jsonSchema{Type: "string", MinLength: 1}
	if text := v.String(); text != "" {
		s.Default = text
	}
	return s
}

func powers(least, most int) (all []int) {
	for n := 1 << (bits.Len(uint(least)) - 1); n <= most; n *= 2 {
		all = append(all, n)
	}
	return all
}

func anyOf[T any](values []T) []any {
	all := make([]any, len(values))
	for i, v := range values {
		all[i] = v
	}
	return all
}
