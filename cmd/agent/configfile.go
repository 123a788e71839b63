package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"

	"gopkg.in/yaml.v3"

	"bittern/internal/inotify/pathwatch"
	"bittern/internal/rules"
)

// maxConfigBytes is many times what all settings take.
const maxConfigBytes = 1 << 20

// file is what a configuration file had when it was read.
type file struct {
	path string
	must bool // it must be there
	data []byte
	err  error // why it could not be read
}

func readFile(path string, must bool) file {
	data, err := pathwatch.Read(path, maxConfigBytes)
	return file{path, must, data, err}
}

// absent reports whether there is none. What it could say has its default then.
func (f file) absent() bool { return errors.Is(f.err, fs.ErrNotExist) }

func (f file) same(other file) bool {
	return bytes.Equal(f.data, other.data) && fmt.Sprint(f.err) == fmt.Sprint(other.err)
}

// entry is one setting of the configuration file.
type entry struct {
	flag  string // the flag that sets the same
	value string
	tag   string // the type of the value in YAML: !!str, !!int, ...
	pos   rules.Position
}

// entries reads the configuration file strictly: what is not known is a
// problem. It returns the entries that are right even if others are not.
func (f file) entries(known []string) (entries []entry, problems rules.Problems) {
	report := func(node *yaml.Node, hint, format string, args ...any) {
		problems = append(problems, rules.Problem{Pos: f.at(node), Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	root, problem := f.root()
	if problem != nil {
		return nil, rules.Problems{*problem}
	}
	if root == nil {
		return nil, nil
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(root.Content); i += 2 {
		name, value := root.Content[i], root.Content[i+1]
		line, twice := seen[name.Value]
		seen[name.Value] = name.Line
		content := value
		if value.Kind == yaml.AliasNode {
			content = value.Alias
		}
		switch {
		case !slices.Contains(known, name.Value):
			report(name, rules.DidYouMean(name.Value, known), "unknown key %q", name.Value)
		case twice:
			report(name, "", "%s is set already in line %d", name.Value, line)
		case content.Kind != yaml.ScalarNode || content.ShortTag() == "!!null" || content.Value == "":
			report(value, "", "%s must have one value", name.Value)
		default:
			entries = append(entries, entry{flagOf(name.Value), scalar(content), content.ShortTag(), f.at(value)})
		}
	}
	return entries, problems
}

// scalar is a value as flags take it: YAML has further forms of whole numbers.
func scalar(node *yaml.Node) string {
	var n int
	if node.ShortTag() == "!!int" && node.Decode(&n) == nil {
		return strconv.Itoa(n)
	}
	return node.Value
}

func (f file) at(node *yaml.Node) rules.Position {
	return rules.Position{File: f.path, Line: node.Line, Column: node.Column}
}

// root returns the mapping of settings; nil if there is none, since the file is empty or need not be there.
func (f file) root() (*yaml.Node, *rules.Problem) {
	whole := rules.Position{File: f.path}
	var path *fs.PathError
	switch {
	case f.absent() && !f.must:
		return nil, nil
	case errors.As(f.err, &path):
		return nil, &rules.Problem{Pos: whole, Message: "the configuration can't be read: " + path.Err.Error()}
	case f.err != nil:
		return nil, &rules.Problem{Message: f.err.Error()}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(f.data))
	var doc, second yaml.Node
	switch err := decoder.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil // empty
	case err != nil:
		problem := rules.SyntaxProblem(f.path, f.data, err)
		return nil, &problem
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, &rules.Problem{Pos: whole, Message: "only one YAML document is allowed"}
	}
	root := doc.Content[0]
	switch {
	case root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null":
		return nil, nil
	case root.Kind != yaml.MappingNode:
		return nil, &rules.Problem{Pos: f.at(root), Message: "want a mapping of settings", Hint: "for example log_level: debug"}
	}
	return root, nil
}

// wrongType returns what a value must be if its type in YAML is another one, else "". The content is right.
func wrongType(flag, tag string) (want, hint string) {
	if tag == "!!timestamp" {
		tag = "!!str" // as in YAML 1.2
	}
	switch {
	case flag == "string" && tag != "!!str":
		return "a string", "put it in quotes"
	case flag == "int" && tag == "!!str":
		return "a number", "write it without quotes"
	case flag == "bool" && tag == "!!str":
		return "true or false", "write it without quotes"
	case flag == "bool" && tag != "!!bool":
		return "true or false", ""
	}
	return "", "" // a time is a string, or the number 0
}
