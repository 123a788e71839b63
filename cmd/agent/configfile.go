package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"bittern/internal/rules"
)

// entry is one setting of the configuration file.
type entry struct {
	flag  string // the flag that sets the same
	value string
	pos   rules.Position
}

// parseConfig reads the configuration file strictly: what is not known is a
// problem. It returns the entries that are right even if others are not.
func parseConfig(path string, data []byte, known []string) (entries []entry, problems rules.Problems) {
	report := func(line, column int, hint, format string, args ...any) {
		at := rules.Position{File: path, Line: line, Column: column}
		problems = append(problems, rules.Problem{Pos: at, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil // empty
	case err != nil:
		report(0, 0, "", "%s", strings.TrimPrefix(err.Error(), "yaml: "))
		return nil, problems
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		report(0, 0, "", "only one YAML document is allowed")
		return nil, problems
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		report(root.Line, root.Column, "for example log_level: debug", "want a mapping of settings")
		return nil, problems
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(root.Content); i += 2 {
		name, value := root.Content[i], root.Content[i+1]
		line, twice := seen[name.Value]
		seen[name.Value] = name.Line
		switch {
		case !slices.Contains(known, name.Value):
			report(name.Line, name.Column, "known are "+strings.Join(known, ", "), "unknown key %q", name.Value)
		case twice:
			report(name.Line, name.Column, "", "%s is set already in line %d", name.Value, line)
		case value.Kind != yaml.ScalarNode || value.ShortTag() == "!!null" || value.Value == "":
			report(value.Line, value.Column, "", "%s must have one value", name.Value)
		default:
			at := rules.Position{File: path, Line: value.Line, Column: value.Column}
			entries = append(entries, entry{strings.ReplaceAll(name.Value, "_", "-"), value.Value, at})
		}
	}
	return entries, problems
}
