package rules

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// reader reads one document and collects what is wrong with it.
type reader struct {
	path     string
	data     []byte // of the whole file
	opts     Options
	problems Problems
	// reported holds the nodes whose shape was found wrong already, so that
	// nothing more is said about them.
	reported map[*yaml.Node]bool
	aliased  bool // an alias or anchor was reported
	most     int  // entries of a list

	own     Lists              // defined in the file itself; those of opts come first
	uses    Lists              // lists that the document names; nil where there is none of the name
	misfits map[string]Problem // of those of them with values that the document can't have, the first such
	ruleID  string             // of the document, for messages; "" if it is not known
}

func newReader(path string, data []byte, opts Options) *reader {
	return &reader{path: path, data: data, opts: opts, reported: make(map[*yaml.Node]bool), uses: make(Lists), misfits: make(map[string]Problem), most: maxList}
}

// rule names the document's rule.
func (r *reader) rule() string {
	if r.ruleID == "" {
		return "the rule"
	}
	return "rule " + r.ruleID
}

// errorf reports an error at a node. hint says what to write instead, or is "".
func (r *reader) errorf(n *yaml.Node, hint, format string, args ...any) {
	r.errorAt(r.pos(n), hint, format, args...)
}

func (r *reader) errorAt(pos Position, hint, format string, args ...any) {
	r.problems = append(r.problems, Problem{Pos: pos, Message: fmt.Sprintf(format, args...), Hint: hint})
}

func (r *reader) warnf(n *yaml.Node, hint, format string, args ...any) {
	r.problems = append(r.problems, Problem{Pos: r.pos(n), Message: fmt.Sprintf(format, args...), Hint: hint, Warning: true})
}

func (r *reader) pos(n *yaml.Node) Position {
	return Position{File: r.path, Line: n.Line, Column: n.Column}
}

// posIn returns the position of the byte at offset inside the scalar n, or that
// of n if the scalar is not written in one line just as it reads.
func (r *reader) posIn(n *yaml.Node, offset int) Position {
	pos := r.pos(n)
	line := r.data
	for range n.Line - 1 {
		_, line, _ = bytes.Cut(line, []byte("\n"))
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(line)
		line = line[size:]
	}
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 && len(line) > 0 {
		line = line[1:]
		pos.Column++
	}
	if !bytes.HasPrefix(line, []byte(n.Value)) {
		return r.pos(n)
	}
	pos.Column += utf8.RuneCountInString(n.Value[:offset])
	return pos
}

// entry is one key of a mapping with its value.
type entry struct {
	name       string
	key, value *yaml.Node
}

// entries returns the entries of a mapping in their order, leaving out those
// whose keys were reported already.
func (r *reader) entries(n *yaml.Node) []entry {
	all := make([]entry, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := n.Content[i]; !r.reported[key] {
			all = append(all, entry{key.Value, key, n.Content[i+1]})
		}
	}
	return all
}

// wrongType reports that a value is not of the type that its place needs.
func (r *reader) wrongType(n *yaml.Node, what, want, hint string) {
	if !r.reported[n] {
		r.errorf(n, hint, "%s must be %s, not %s", what, want, describe(n))
	}
}

// text returns a string that is not empty.
func (r *reader) text(n *yaml.Node, what string, limit int) (string, bool) {
	if !isString(n) {
		r.wrongType(n, what, "a string", quoteHint(n, "write a text or leave the key out"))
		return "", false
	}
	if strings.TrimSpace(n.Value) == "" {
		r.errorf(n, "write a text or leave the key out", "%s is empty", what)
		return "", false
	}
	if len(n.Value) > limit {
		r.report(n, "", "%s has %d bytes, the limit is %d", what, len(n.Value), limit)
		return "", false
	}
	return n.Value, true
}

// texts returns a list of strings.
func (r *reader) texts(n *yaml.Node, what string, limit int) []string {
	items, ok := r.list(n, what, "of strings")
	if !ok {
		return nil
	}
	var all []string
	for _, item := range items {
		if s, ok := r.text(item, "an entry of "+what, limit); ok {
			all = append(all, s)
		}
	}
	return all
}

// list returns the entries of a list that is not empty. of is for the message.
func (r *reader) list(n *yaml.Node, what, of string) ([]*yaml.Node, bool) {
	if n.Kind != yaml.SequenceNode {
		hint := ""
		if isString(n) {
			hint = fmt.Sprintf("write [%s]", clip(n.Value))
		}
		r.wrongType(n, what, "a list "+of, hint)
		return nil, false
	}
	if len(n.Content) == 0 {
		r.errorf(n, "", "%s is an empty list", what)
		return nil, false
	}
	return n.Content, true
}

// mapping returns the entries of a mapping that is not empty.
func (r *reader) mapping(n *yaml.Node, what string) ([]entry, bool) {
	if n.Kind != yaml.MappingNode {
		r.wrongType(n, what, "a mapping", "")
		return nil, false
	}
	if len(n.Content) == 0 {
		r.errorf(n, "", "%s is an empty mapping", what)
		return nil, false
	}
	return r.entries(n), true
}

// quoteHint says how to write a scalar that YAML takes for something else than a
// string; forNull is the hint for null.
func quoteHint(n *yaml.Node, forNull string) string {
	switch {
	case isNull(n):
		return forNull
	case n.Kind == yaml.ScalarNode:
		return fmt.Sprintf("write it in quotes: '%s'", clip(n.Value))
	}
	return ""
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// isString reports whether the node is a string as written. YAML takes a date
// without quotes for a type of its own; here it is a string.
func isString(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode {
		return false
	}
	switch n.ShortTag() {
	case "!!str", "!!timestamp", "!!merge":
		return true
	}
	return false
}

// describe names a node for a message.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a mapping"
	}
	switch n.ShortTag() {
	case "!!null":
		return "null"
	case "!!int", "!!float":
		return "the number " + clip(n.Value)
	case "!!bool":
		return "the boolean " + n.Value
	}
	return fmt.Sprintf("the string %q", clip(n.Value))
}

// clip shortens a value for a message.
func clip(s string) string {
	const limit = 60
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}
