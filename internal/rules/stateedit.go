package rules

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Edit returns the file with other states of some rules; the zero value is that of no entry.
// All other entries, and the comments, stay as they are written. A file that has errors is not
// edited.
func (f *StateFile) Edit(edits map[string]RuleState) (*StateFile, error) {
	if f.Problems.Failed() {
		return nil, f.Problems
	}
	todo := make(map[string]RuleState, len(edits))
	for id, s := range edits {
		if old, ok := f.States[id]; ok != !s.IsZero() || ok && !old.Equal(s) {
			todo[id] = s.Normal()
		}
	}
	if len(todo) == 0 {
		return f, nil
	}
	next, err := f.edit(todo)
	if err != nil {
		return nil, fmt.Errorf("editing %s: %w", f.path, err)
	}
	return next, nil
}

// edit edits those that differ.
func (f *StateFile) edit(todo map[string]RuleState) (*StateFile, error) {
	if f.layout == nil {
		var err error
		if f, err = f.rewrite(); err != nil {
			return nil, err
		}
	}
	layout, err := f.layout.edit(todo)
	if err != nil {
		return nil, err
	}
	next := &StateFile{path: f.path, Text: layout.text(), States: maps.Clone(f.States), Broken: f.Broken, Complete: true, layout: layout}
	for id, s := range todo {
		if next.States[id] = s; s.IsZero() {
			delete(next.States, id)
		}
	}
	return next, layout.fits(len(next.Text))
}

// fits reports an error if there is more than is read.
func (l *stateLayout) fits(size int) error {
	nodes := 1
	for _, e := range l.entries {
		nodes += e.nodes
	}
	switch {
	case len(l.entries) > maxList:
		return fmt.Errorf("it would have %d entries, the limit is %d", len(l.entries), maxList)
	case size > MaxStateBytes:
		return fmt.Errorf("it would have %d bytes, the limit is %d", size, MaxStateBytes)
	case nodes > maxNodes:
		return fmt.Errorf("it would have %d nodes, the limit is %d", nodes, maxNodes)
	}
	return nil
}

func (l *stateLayout) edit(todo map[string]RuleState) (*stateLayout, error) {
	next := &stateLayout{preamble: l.preamble, entries: make([]stateEntry, 0, len(l.entries)+len(todo))}
	known := make(map[string]bool, len(todo))
	for _, e := range l.entries {
		s, edit := todo[e.id]
		if !edit {
			next.entries = append(next.entries, e)
			continue
		}
		known[e.id] = true
		if s.IsZero() {
			next.leaveOut(e)
			continue
		}
		written, err := writeState(e.id, s)
		if err != nil {
			return nil, err
		}
		written.head, written.tail = e.head, e.tail
		next.entries = append(next.entries, written)
	}
	for _, id := range slices.Sorted(maps.Keys(todo)) {
		if known[id] {
			continue
		}
		written, err := writeState(id, todo[id])
		if err != nil {
			return nil, err
		}
		if end := next.end(); strings.HasPrefix(lastLine(*end), "#") {
			*end += "\n" // so that this comment does not become the entry's
		}
		next.entries = append(next.entries, written)
	}
	return next, nil
}

// end is the last piece of the text.
func (l *stateLayout) end() *string {
	if len(l.entries) == 0 {
		return &l.preamble
	}
	return &l.entries[len(l.entries)-1].tail
}

// leaveOut leaves out the next entry, and with it the comments right above and below it. What else is
// between it and the one after it stays.
func (l *stateLayout) leaveOut(e stateEntry) {
	rest := e.tail
	for strings.HasPrefix(rest, "#") {
		_, rest, _ = strings.Cut(rest, "\n")
	}
	if rest == "" {
		rest = e.tail // at the end of the file, it may well be about that
	}
	end := l.end()
	if len(l.entries) == 0 && e.head != "" && !strings.Contains(l.preamble, "#") {
		*end += e.head + "\n" // so may this one
	}
	if strings.HasSuffix(*end, "\n") && lastLine(*end) == "" {
		rest = strings.TrimPrefix(rest, "\n")
	}
	*end += rest
}

func lastLine(text string) string {
	text = strings.TrimSuffix(text, "\n")
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// writeState writes an entry. That it says what it should is not left to the YAML library.
func writeState(id string, s RuleState) (stateEntry, error) {
	text, err := encodeStates(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{scalar("!!str", id), stateNode(s)}})
	if err != nil {
		return stateEntry{}, err
	}
	read := ParseStates("", text)
	got, ok := read.States[id]
	if read.Problems.Failed() || !ok || !got.Equal(s) || read.layout == nil || len(read.layout.entries) != 1 {
		return stateEntry{}, errors.Join(fmt.Errorf("the state of rule %s can't be written", id), read.Problems)
	}
	return read.layout.entries[0], nil
}

// rewrite writes the file in a form in which its entries can be told apart. Comments stay; ends of
// lines, quotes and indentation may change.
func (f *StateFile) rewrite() (*StateFile, error) {
	text := bytes.ReplaceAll(f.Text, []byte("\r\n"), []byte("\n"))
	next := ParseStates(f.path, text)
	if next.layout == nil && len(f.States) == 0 {
		// Such as {}, which is no place for an entry.
		next = ParseStates(f.path, onlyComments(text))
	} else if next.layout == nil {
		var doc yaml.Node
		if err := yaml.Unmarshal(text, &doc); err != nil {
			return nil, err
		}
		doc.Content[0].Style = 0
		plainStyle(&doc)
		text, err := encodeStates(&doc)
		if err != nil {
			return nil, err
		}
		next = ParseStates(f.path, text)
	}
	if next.layout == nil || !maps.EqualFunc(f.States, next.States, RuleState.Equal) {
		return nil, fmt.Errorf("this form of it can't be edited: %w", errors.Join(next.Problems, errors.New("simplify its comments and quotes")))
	}
	return next, nil
}

func onlyComments(text []byte) []byte {
	var comments []byte
	for line := range bytes.Lines(text) {
		if content := bytes.TrimLeft(line, " \t\n"); len(content) == 0 || content[0] == '#' {
			comments = append(comments, line...)
		}
	}
	return comments
}

// plainStyle has all scalars written in one line.
func plainStyle(n *yaml.Node) {
	n.Style &^= yaml.LiteralStyle | yaml.FoldedStyle
	for _, sub := range n.Content {
		plainStyle(sub)
	}
}

func encodeStates(n *yaml.Node) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(n); err != nil {
		return nil, err
	}
	if err := encoder.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func stateNode(s RuleState) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	add := func(key, tag, value string) { n.Content = append(n.Content, scalar("!!str", key), scalar(tag, value)) }
	add("state", "!!str", s.State.String())
	if s.State == Clipped {
		tag := "!!float"
		if s.ConfidenceMax == math.Trunc(s.ConfidenceMax) {
			tag = "!!int" // as it reads
		}
		add("confidence_max", tag, strconv.FormatFloat(s.ConfidenceMax, 'f', -1, 64))
	}
	if !s.ExpiresAt.IsZero() {
		add("expires_at", "!!timestamp", s.ExpiresAt.Format(time.RFC3339Nano))
	}
	if s.Reason != "" {
		add("reason", "!!str", s.Reason)
	}
	if s.SetBy != ByFile {
		add("set_by", "!!str", s.SetBy)
	}
	if !s.SetAt.IsZero() {
		add("set_at", "!!timestamp", s.SetAt.Format(time.RFC3339Nano))
	}
	return n
}

func scalar(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}
