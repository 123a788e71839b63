package rules

import (
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// stateLayout is the text of a file of states, cut up between lines so that each piece means
// the same whatever the others are: an entry can be replaced, and read, without them.
type stateLayout struct {
	preamble string
	entries  []stateEntry
}

// stateEntry is one entry with the comments around it.
type stateEntry struct {
	id    string
	head  string // comments right above its key
	body  string // from the line of its key to the last that is not empty or a comment
	tail  string // what is left before the head of the next one
	nodes int
}

func (e stateEntry) text() string { return e.head + e.body + e.tail }

func (e stateEntry) size() int { return len(e.head) + len(e.body) + len(e.tail) }

func (l *stateLayout) text() []byte {
	size := len(l.preamble)
	for _, e := range l.entries {
		size += e.size()
	}
	text := append(make([]byte, 0, size), l.preamble...)
	for _, e := range l.entries {
		text = append(append(append(text, e.head...), e.body...), e.tail...)
	}
	return text
}

// cutStates cuts up a text that is free of errors, whose mapping is root; a last line that
// does not end gets its end. It returns nil if that can't be done, which depends on how the text is
// written only.
//
// At the start of a line that holds a key of the mapping, a YAML parser is in the same state
// whatever was before, and so is at its end, if the value ends before the next key: what is
// between two such lines can't start the one or end the other. Values here are scalars in one
// line, or lists and mappings of these, so that a line that looks like a comment is one.
func cutStates(text string, root *yaml.Node) *stateLayout {
	if strings.ContainsAny(text, "\r\u0085\u2028\u2029") { // which end lines as well
		return nil
	}
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	c := stateCutter{text: text, keys: root.Content, layout: &stateLayout{}, run: -1}
	if !c.cut() {
		return nil
	}
	return c.layout
}

type stateCutter struct {
	text   string
	keys   []*yaml.Node // and values, those that are still to come
	layout *stateLayout

	start int // of the entry, or of the preamble
	key   int // where the line of its key starts
	end   int // of its body
	run   int // where comments started that nothing has come after, or -1
}

func (c *stateCutter) cut() bool {
	at, number := 0, 0
	for line := range strings.Lines(c.text) {
		number++
		content := strings.TrimLeft(line, " \t")
		comment, blank := strings.HasPrefix(content, "#"), content == "\n"
		inside, indented := len(c.layout.entries) > 0, len(content) < len(line)
		switch {
		case len(c.keys) > 0 && c.keys[0].Line == number:
			if !c.begin(line, at) || !oneLiners(line, c.keys[1], number, c.text[at:]) {
				return false
			}
			c.keys = c.keys[2:]
			c.end = at + len(line)
		case comment && !indented:
			if c.run < 0 {
				c.run = at
			}
			at += len(line)
			continue
		case blank:
		case comment:
			if c.end == at {
				c.end += len(line) // about what is above it
			}
		case inside && indented:
			c.end = at + len(line)
		case inside || strings.TrimRight(line, " \t\n") != "---":
			return false
		}
		c.run = -1
		at += len(line)
	}
	c.finish(at)
	return len(c.keys) == 0
}

// begin starts an entry at the line of its key, which has to be what the line starts with.
func (c *stateCutter) begin(line string, at int) bool {
	key := c.keys[0]
	name, quote := line, ""
	if key.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		name, quote = line[1:], line[:1]
	}
	after, ok := strings.CutPrefix(name, key.Value+quote)
	if !ok || !strings.HasPrefix(strings.TrimLeft(after, " "), ":") {
		return false
	}
	start := at
	if c.run >= 0 {
		start = c.run
	}
	c.finish(start)
	c.layout.entries = append(c.layout.entries, stateEntry{id: key.Value, nodes: 1 + countNodes(c.keys[1])})
	c.start, c.key = start, at
	return true
}

// finish ends what was begun.
func (c *stateCutter) finish(at int) {
	if len(c.layout.entries) == 0 {
		c.layout.preamble = c.text[:at]
		return
	}
	e := &c.layout.entries[len(c.layout.entries)-1]
	e.head, e.body, e.tail = c.text[c.start:c.key], c.text[c.key:c.end], c.text[c.end:at]
}

func countNodes(n *yaml.Node) int {
	count := 1
	for _, sub := range n.Content {
		count += countNodes(sub)
	}
	return count
}

// oneLiners reports whether no scalar goes on in another line, and looks like a comment there. Those
// without quotes end at comments. text starts with a line of that number.
func oneLiners(line string, n *yaml.Node, number int, text string) bool {
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return false
	}
	if n.Kind == yaml.ScalarNode && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		for ; number < n.Line; number++ {
			_, text, _ = strings.Cut(text, "\n")
			line, _, _ = strings.Cut(text, "\n")
		}
		for range n.Column - 1 {
			_, size := utf8.DecodeRuneInString(line)
			line = line[size:]
		}
		return closes(line)
	}
	for _, sub := range n.Content {
		if !oneLiners(line, sub, number, text) {
			return false
		}
	}
	return true
}

// closes reports whether a quote that a line starts with ends in it.
func closes(line string) bool {
	if line == "" {
		return false
	}
	quote := line[0]
	for i := 1; i < len(line); i++ {
		switch {
		case line[i] == '\\' && quote == '"', strings.HasPrefix(line[i:], "''") && quote == '\'':
			i++
		case line[i] == quote:
			return true
		}
	}
	return false
}
