package rules

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"gopkg.in/yaml.v3"
)

// compiledList is a list as the values of one key of a selection.
type compiledList struct {
	expr     expr
	problems Problems // values that the key can't have, at their positions in the list
}

// listOf returns the node that names a list, of a value such as {list: tools}.
func listOf(n *yaml.Node) (*yaml.Node, bool) {
	if n.Kind != yaml.MappingNode {
		return nil, false
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "list" {
			return n.Content[i+1], true
		}
	}
	return nil, false
}

// value reads one value of a field, or a list that stands for several.
func (r *reader) value(c *comparison, n *yaml.Node) expr {
	name, ok := listOf(n)
	if !ok {
		return r.one(c, n)
	}
	if len(n.Content) > 2 {
		r.errorf(n, "write {list: NAME}, and the rest beside it", "a use of a list has the single key list")
		return nil
	}
	text, ok := r.text(name, "the name of a list", maxID)
	if !ok {
		return nil
	}
	list := r.lookUp(text)
	switch {
	case list == nil:
		hint := didYouMean(text, r.listNames())
		if hint == "" {
			hint = fmt.Sprintf("a list is a file lists/%s.yml below the rules directory, or in a document with the key lists", clip(text))
		}
		r.errorf(name, hint, "unknown list %q", clip(text))
		return nil
	case list.Wrong != nil:
		r.errorf(name, "put the list right", "list %s can't be used: %s", list.Name, list.Wrong.Error())
		return nil
	}
	found := list.compile(c, r.opts)
	for _, p := range found.problems {
		p.Message = fmt.Sprintf("%s; so %s can't use list %s for %s", p.Message, r.rule(), list.Name, c.source)
		r.problems = append(r.problems, p)
		if _, ok := r.misfits[list.Name]; !ok {
			r.misfits[list.Name] = p
		}
	}
	return found.expr
}

// lookUp returns the list of a name, nil if there is none, and notes that the document uses it.
func (r *reader) lookUp(name string) *List {
	list := r.opts.Lists[name]
	if list == nil {
		list = r.own[name]
	}
	r.uses[name] = list
	return list
}

func (r *reader) listNames() []string {
	names := slices.Collect(maps.Keys(r.opts.Lists))
	for name := range r.own {
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// compile returns the list as the values of a key. Rules that have the same key share the result.
func (l *List) compile(c *comparison, opts Options) *compiledList {
	l.mu.Lock()
	defer l.mu.Unlock()
	if found := l.compiled[c.source]; found != nil {
		return found
	}
	r := newReader(l.Pos.File, l.data, opts)
	literals := make([]expr, 0, len(l.values))
	set := &valueSet{list: l, source: fmt.Sprintf("%s: {list: %s}", c.source, l.Name)}
	for _, n := range l.values {
		if literal, ok := r.one(c, n).(*literal); ok {
			literal.set = set
			literals = append(literals, literal)
		}
	}
	r.problems.sort()
	found := &compiledList{problems: r.problems.clipped()}
	if c.all {
		found.expr = conjunction(literals)
	} else {
		set.prepare(literals)
		found.expr = set
	}
	if l.compiled == nil {
		l.compiled = make(map[string]*compiledList)
	}
	l.compiled[c.source] = found
	return found
}

// Uses returns the lists that the rule was compiled with, by name. The caller must not change them.
func (r *Rule) Uses() Lists { return r.lists }

// SameText reports whether two versions of a rule differ in their lists only, if at all.
func (r *Rule) SameText(other *Rule) bool { return r.own == other.own }

// hash makes the content hash of a rule from that of its text and those of its lists.
func (r *Rule) hash() Hash {
	if len(r.lists) == 0 {
		return r.own
	}
	sum := sha256.New()
	sum.Write(r.own[:])
	for _, name := range slices.Sorted(maps.Keys(r.lists)) {
		fmt.Fprintf(sum, "%d:%s", len(name), name)
		sum.Write(r.lists[name].Hash[:])
	}
	return Hash(sum.Sum(nil))
}

// Document returns text that is the rule with its lists. Read by itself it gives a rule of the
// same hash.
func (r *Rule) Document() []byte {
	if len(r.lists) == 0 {
		return r.text
	}
	var b bytes.Buffer
	b.Write(r.text)
	for _, name := range slices.Sorted(maps.Keys(r.lists)) {
		fmt.Fprintf(&b, "\n---\nlists:\n  %s:\n", quoted(name))
		for _, n := range r.lists[name].values {
			b.WriteString("    - ")
			b.WriteString(listText(n))
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// Source returns the rule's text without its lists, to be read with others. Its lines count as
// those of the file that the rule is from.
func (r *Rule) Source() []byte {
	return append(bytes.Repeat([]byte("\n"), max(r.Pos.Line-1, 0)), r.text...)
}
