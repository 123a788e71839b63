package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"bittern/internal/event"
)

// otherFields are names that other rule forms use for fields of ours.
var otherFields = map[string]event.Field{
	"Image":             event.ProcessExecutable,
	"CommandLine":       event.ProcessCommandLine,
	"ParentImage":       event.ProcessParentExecutable,
	"ParentCommandLine": event.ProcessParentCommandLine,
	"CurrentDirectory":  event.ProcessWorkingDirectory,
	"TargetFilename":    event.FilePath,
	"User":              event.UserName,
	"fd.name":           event.FilePath,
	"proc.name":         event.ProcessName,
	"proc.cmdline":      event.ProcessCommandLine,
	"proc.pname":        event.ProcessParentName,
	"DestinationIp":     event.DestinationIP,
	"DestinationPort":   event.DestinationPort,
	"fd.sip":            event.DestinationIP,
	"fd.sport":          event.DestinationPort,
	"fd.l4proto":        event.NetworkTransport,
	"SourceIp":          event.SourceIP,
	"SourcePort":        event.SourcePort,
	"fd.lip":            event.SourceIP,
	"fd.lport":          event.SourcePort,
	"fd.rip":            event.DestinationIP,
	"fd.rport":          event.DestinationPort,
	"proc.exepath":      event.ProcessExecutable,
	"fs.path.name":      event.FilePath,

	"file.mode": event.FileModeSetuid,

	"proc.is_exe_from_memfd": event.ProcessExecutableMemfd,
}

const emptyHint = "write '' for the empty string"

// comparison is a key of a selection: a field, and how it is compared.
type comparison struct {
	field  event.Field
	how    string // contains, startswith, endswith, re, cidr, or "" for the whole value
	all    bool   // each value of the list must hold, not just one
	fold   bool
	source string // as written
}

// field looks up a field and checks that all the event classes carry it.
func (r *reader) field(n *yaml.Node, name string, classes []event.Class) (event.Field, bool) {
	field, ok := event.ParseField(name)
	if !ok {
		var known []string
		for _, info := range event.Fields() {
			known = append(known, info.Name)
			if info.Alias != "" {
				known = append(known, info.Alias)
			}
		}
		hint := "the fields are listed in docs/reference.md"
		if best := closest(name, known); best != "" {
			hint = fmt.Sprintf("did you mean %s?", best)
		}
		if other, ok := otherFields[name]; ok {
			hint = fmt.Sprintf("did you mean %s?", other)
		}
		r.errorf(n, hint, "unknown field %q", clip(name))
		return 0, false
	}
	for _, c := range classes {
		if !field.In(c) {
			r.errorf(n, carriers(field), "events of class %s have no field %s", c, field)
			return 0, false
		}
	}
	return field, true
}

// carriers says which events have the field.
func carriers(f event.Field) string {
	var names []string
	for _, c := range f.Info().Classes {
		names = append(names, c.String())
	}
	return f.String() + " is a field of " + strings.Join(names, ", ")
}

// comparison reads a key such as "process.executable|endswith".
func (r *reader) comparison(e entry, classes []event.Class) (*comparison, bool) {
	name, rest, modified := strings.Cut(e.name, "|")
	field, ok := r.field(e.key, name, classes)
	if !ok {
		return nil, false
	}
	c := &comparison{field: field, source: e.name}
	if !modified {
		return c, true
	}
	given := strings.Split(rest, "|")
	for i, modifier := range given {
		info, known := modifierNamed(modifier)
		switch {
		case !known:
			r.errorf(e.key, didYouMean(modifier, modifierNames()), "unknown modifier %q", clip(modifier))
			return nil, false
		case slices.Contains(given[:i], modifier):
			r.errorf(e.key, "", "modifier %s is given twice", modifier)
			return nil, false
		case field.Info().Kind != event.String:
			r.errorf(e.key, fmt.Sprintf("write %s alone; a list of values means any of them", field),
				"modifier %s needs a string field, and %s is a %s", modifier, field, field.Info().Kind)
			return nil, false
		case info.Address && !field.Info().Address:
			r.errorf(e.key, addressFields(), "modifier cidr needs a field that is an IP address, and %s is not", field)
			return nil, false
		}
		if info.Way && c.how != "" {
			r.errorf(e.key, "use two keys to ask for both", "modifiers %s and %s exclude each other", c.how, modifier)
			return nil, false
		}
		if info.Way {
			c.how = modifier
		}
		c.all = c.all || modifier == "all"
		c.fold = c.fold || modifier == "nocase" // cased is the default
	}
	if c.fold && slices.Contains(given, "cased") {
		r.errorf(e.key, "cased is the default", "modifiers cased and nocase exclude each other")
		return nil, false
	}
	if c.fold && c.how == "cidr" {
		r.errorf(e.key, "leave nocase out", "modifiers cidr and nocase exclude each other")
		return nil, false
	}
	if _, shared := listOf(e.value); c.all && e.value.Kind != yaml.SequenceNode && !shared {
		r.wrongType(e.value, "the value of a field with modifier all", "a list", "leave all out, or write a list of values")
		return nil, false
	}
	return c, true
}

// values reads the value of a field, or the list of them.
func (r *reader) values(c *comparison, n *yaml.Node) expr {
	if n.Kind != yaml.SequenceNode {
		return r.value(c, n)
	}
	items, ok := r.list(n, "the value of "+c.field.String(), "")
	if !ok {
		return nil
	}
	literals := make([]expr, 0, len(items))
	for _, item := range items {
		literals = append(literals, r.value(c, item))
	}
	switch {
	case len(literals) == 1:
		return literals[0]
	case c.all:
		return conjunction(literals)
	}
	return disjunction(literals)
}

// one reads one value of a field.
func (r *reader) one(c *comparison, n *yaml.Node) expr {
	l := &literal{field: c.field, fold: c.fold, pos: r.pos(n), source: c.source + ": " + n.Value}
	what := "the value of " + c.field.String()
	switch {
	case c.field.Info().Kind == event.Number:
		return r.number(l, n, what)
	case c.field.Info().Kind == event.Bool:
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
			r.wrongType(n, what, "a boolean", "write true or false")
			return nil
		}
		if strings.EqualFold(n.Value, "true") {
			l.number = 1
		}
		l.op = opNumber
		return l
	case !isString(n):
		r.wrongType(n, what, "a string", quoteHint(n, emptyHint))
		return nil
	case len(n.Value) > maxValue:
		r.report(n, "", "%s has %d bytes, the limit is %d", what, len(n.Value), maxValue)
		return nil
	case c.how == "re":
		return r.regexp(l, n)
	case c.how == "cidr":
		return r.network(l, n)
	}
	return r.wildcards(l, n, c.how)
}

func (r *reader) number(l *literal, n *yaml.Node, what string) expr {
	value, ok := r.count(n, what)
	if !ok {
		return nil
	}
	if !l.field.Holds(value) {
		message := "%s can't be as large as %d"
		if value == 0 {
			message = "%s is never %d"
		}
		r.errorf(n, "", message, l.field, value)
		return nil
	}
	l.op, l.number = opNumber, value
	return l
}

// count reads a whole number, with or without quotes.
func (r *reader) count(n *yaml.Node, what string) (uint64, bool) {
	if n.Kind == yaml.ScalarNode && wholeNumber.MatchString(n.Value) {
		if value, err := strconv.ParseUint(n.Value, 10, 64); err == nil {
			return value, true
		}
	}
	r.wrongType(n, what, "a whole number", "write decimal digits only, for example 1000")
	return 0, false
}

// wildcards compiles a value that may have wildcards, to the simplest operator.
func (r *reader) wildcards(l *literal, n *yaml.Node, how string) expr {
	text := n.Value
	if l.fold {
		text = lowerASCII(text)
	}
	parts := parseWildcards(text)
	if how == "contains" || how == "endswith" {
		parts = append(wildcardText{""}, parts...)
	}
	if how == "contains" || how == "startswith" {
		parts = append(parts, "")
	}
	l.op, l.text, l.glob = parts.normalise()
	if l.op == opContains && l.text == "" {
		r.errorf(n, "leave the key out", "%q matches every value of %s", clip(n.Value), l.field)
		return nil
	}
	if l.op == opEquals && !r.possible(l, n) {
		return nil
	}
	return l
}
