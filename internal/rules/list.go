package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"gopkg.in/yaml.v3"
)

// List is values under a name, which several rules can share. It is immutable and safe for
// use by several goroutines.
type List struct {
	Name        string // [A-Za-z0-9_-]+
	Description string
	Pos         Position
	// Hash identifies the values, in whatever order and however often each is there.
	Hash Hash
	// Wrong is why no rule can use the list; nil if rules can.
	Wrong *Problem

	values []*yaml.Node // scalars
	data   []byte       // of the file, for positions in values

	mu       sync.Mutex
	compiled map[string]*compiledList // by the key of the selection that has the values
}

// Lists are the lists that rules can use, by name.
type Lists map[string]*List

// Len returns how many values the list has as written, repeats included.
func (l *List) Len() int { return len(l.values) }

// Same reports whether a rule means the same by either list, or is wrong for the same reason.
// Both may be nil, for a list that there is not.
func (l *List) Same(other *List) bool {
	switch {
	case l == nil || other == nil:
		return l == other
	case l.Wrong != nil || other.Wrong != nil:
		return l.Wrong != nil && other.Wrong != nil && *l.Wrong == *other.Wrong
	}
	return l.Hash == other.Hash
}

// Refused returns the list as one that no rule can use.
func (l *List) Refused(why Problem) *List {
	return &List{Name: l.Name, Pos: l.Pos, Wrong: &why}
}

// ListNames is the pattern of the names of lists.
const ListNames = `^[A-Za-z0-9_-]+$`

var listName = regexp.MustCompile(ListNames)

// DefinedIn is the problem of a list whose name has been given to another one already.
func (l *List) DefinedIn(first Position) Problem {
	return Problem{
		Pos: l.Pos, Message: fmt.Sprintf("list %s is already defined in %s", l.Name, first),
		Hint: "give one of the two another name, or remove it",
	}
}

// ParseList reads a file that is one list: the values, or a mapping with description and
// values. The list has the given name. It is among the Lists of the result even if it is wrong.
func ParseList(name, path string, data []byte, opts Options) *File {
	f := &File{Path: path, Complete: true}
	list := &List{Name: name, Pos: Position{File: path}}
	f.Lists = []*List{list}
	nodes, problem := []*yaml.Node(nil), (*Problem)(nil)
	if p, ok := checkBytes(path, data, opts); !ok {
		problem = &p
	} else if plain := plainList(data); plain != nil {
		nodes = []*yaml.Node{plain}
	} else {
		nodes, problem = splitDocuments(path, data)
	}
	r := newReader(path, data, opts)
	switch {
	case problem != nil:
		r.problems = Problems{*problem}
	case len(nodes) == 0:
		r.errorAt(list.Pos, "write one value a line: - value", "list %s is empty", name)
	default:
		r.most = maxListValues
		budget := maxNodes
		if len(nodes) > 1 {
			r.errorf(nodes[1], "lists of other names are other files", "the file of a list has one document")
		}
		list.Pos = r.pos(nodes[0])
		if r.checkTree(nodes[0], 1, &budget) {
			r.fillList(list, nodes[0])
		}
	}
	f.Problems = r.finishList(list)
	return f
}

// isLists reports whether a document defines lists. What has a rule_id is a rule.
func isLists(n *yaml.Node) bool {
	if n.Kind != yaml.MappingNode {
		return false
	}
	found := false
	for i := 0; i < len(n.Content); i += 2 {
		switch n.Content[i].Value {
		case "lists":
			found = true
		case "rule_id":
			return false
		}
	}
	return found
}

// listsDocument reads a document of lists. first says where the lists of the documents before it are.
func (r *reader) listsDocument(n *yaml.Node, first map[string]Position) (lists []*List, problems Problems) {
	r.most = maxListValues
	budget := maxNodes
	if !r.checkTree(n, 1, &budget) {
		return nil, r.problems
	}
	for _, e := range r.entries(n) {
		if e.name != "lists" {
			r.errorf(e.key, "a document of lists has the single key lists; --- begins another document", "unknown key %q beside lists", clip(e.name))
			continue
		}
		entries, ok := r.mapping(e.value, "lists")
		if !ok {
			continue
		}
		for _, e := range entries {
			sub := newReader(r.path, r.data, r.opts)
			sub.reported = r.reported
			list := &List{Name: e.name, Pos: r.pos(e.key)}
			at, twice := first[e.name]
			switch {
			case !listName.MatchString(e.name) || len(e.name) > maxID:
				sub.errorf(e.key, fmt.Sprintf("use letters, digits, _ and -, at most %d", maxID), "name of a list %q is malformed", clip(e.name))
			case twice:
				sub.errorf(e.key, "give one of the two another name", "list %s is defined twice in this file, first in line %d", e.name, at.Line)
			default:
				first[e.name] = list.Pos
				sub.fillList(list, e.value)
			}
			problems = append(problems, sub.finishList(list)...)
			if !twice && listName.MatchString(e.name) {
				lists = append(lists, list)
			}
		}
	}
	return lists, append(problems, r.problems...)
}

// fillList reads the values of a list, or the mapping that has them.
func (r *reader) fillList(list *List, n *yaml.Node) {
	list.data = r.data
	if n.Kind == yaml.MappingNode {
		values := (*yaml.Node)(nil)
		for _, e := range r.entries(n) {
			switch e.name {
			case "description":
				list.Description, _ = r.text(e.value, "description", maxText)
			case "values":
				values = e.value
			default:
				r.errorf(e.key, didYouMean(e.name, []string{"description", "values"}), "unknown key %q of a list", clip(e.name))
			}
		}
		if values == nil {
			r.errorf(n, "values is a list", "list %s has no key values", list.Name)
			return
		}
		n = values
	}
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 || isNull(n) {
		r.errorf(n, "write one value a line: - value", "list %s is empty", list.Name)
		return
	}
	items, ok := r.list(n, "list "+list.Name, "of values")
	if !ok {
		return
	}
	for _, item := range items {
		switch {
		case item.Kind != yaml.ScalarNode || isNull(item):
			hint := ""
			if isNull(item) {
				hint = emptyHint
			} else if item.Kind == yaml.MappingNode {
				hint = "a list can't use another; a text with ': ' in it needs quotes"
			}
			r.wrongType(item, "a value of list "+list.Name, "a string, a number or a boolean", hint)
		case len(item.Value) > maxValue:
			r.report(item, "", "a value of list %s has %d bytes, the limit is %d", list.Name, len(item.Value), maxValue)
		}
	}
	list.values = items
	list.Hash = hashValues(items)
}

// finishList returns what is wrong with a list, and notes it there.
func (r *reader) finishList(list *List) Problems {
	r.problems.sort()
	problems := r.problems.clipped()
	if problems.Failed() {
		first := problems[slices.IndexFunc(problems, func(p Problem) bool { return !p.Warning })]
		*list = List{Name: list.Name, Pos: list.Pos, Wrong: &first}
	}
	return problems
}

// hashValues hashes values as a set.
func hashValues(values []*yaml.Node) Hash {
	texts := make([]string, len(values))
	for i, n := range values {
		texts[i] = listText(n)
	}
	slices.Sort(texts)
	var all []byte
	for _, text := range slices.Compact(texts) {
		all = append(binary.AppendUvarint(all, uint64(len(text))), text...)
	}
	return sha256.Sum256(all)
}

// listText is a value as it can be read again: a string in quotes, another as it is.
func listText(n *yaml.Node) string {
	if !isString(n) {
		return n.Value
	}
	return quoted(n.Value)
}

// quoted returns a string as YAML in double quotes, in one line.
func quoted(s string) string {
	if strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c >= 0x7f || c == '"' || c == '\\' }) < 0 {
		return `"` + s + `"`
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c >= ' ' && c < 0x7f:
			b.WriteByte(byte(c))
		default:
			fmt.Fprintf(&b, `\U%08x`, c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
