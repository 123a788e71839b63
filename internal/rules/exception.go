package rules

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"bittern/internal/event"
)

// Exception is what a rule is not to be detected for: an event that the rule's match and any
// exception match is no detection.
type Exception struct {
	Name   string
	Reason string // "" if it is not said
	Pos    Position
}

// exceptions reads the exceptions of a rule, and returns them with what is left of its match.
func (r *reader) exceptions(n *yaml.Node, match expr, classes []event.Class) ([]Exception, expr) {
	items, ok := r.list(n, "exceptions", "of name, reason and match")
	if !ok {
		return nil, match
	}
	all := conjunction{match}
	var exceptions []Exception
	lines := make(map[string]int)
	for _, item := range items {
		x, e, ok := r.exception(item, classes)
		if !ok {
			continue
		}
		if line, twice := lines[x.Name]; twice {
			r.errorf(item, "give each exception a name of its own", "exception %s is given twice, first in line %d", clip(x.Name), line)
			continue
		}
		lines[x.Name] = x.Pos.Line
		exceptions = append(exceptions, x)
		all = append(all, negation{e})
	}
	return exceptions, all
}

func (r *reader) exception(n *yaml.Node, classes []event.Class) (x Exception, e expr, ok bool) {
	entries, ok := r.mapping(n, "an exception")
	if !ok {
		return x, nil, false
	}
	x.Pos = r.pos(n)
	given := make(map[string]*yaml.Node, len(entries))
	for _, entry := range entries {
		known := keyNames(exceptionKeys)
		switch {
		case slices.Contains(known, entry.name):
			given[entry.name] = entry.value
		default:
			hint := didYouMean(entry.name, known)
			if _, ok := event.ParseField(strings.SplitN(entry.name, "|", 2)[0]); ok {
				hint = fmt.Sprintf("a field belongs into its match: match: {%s: ...}", clip(entry.name))
			}
			r.errorf(entry.key, hint, "unknown key %q of an exception", clip(entry.name))
		}
	}
	named := false
	if v := r.required(n, given, "name", "a short name that tells it from the rule's others"); v != nil {
		x.Name, named = r.text(v, "the name of an exception", maxName)
	}
	if v := given["reason"]; v != nil {
		x.Reason, _ = r.text(v, "the reason of an exception", maxText)
	}
	if v := r.required(n, given, "match", "fields and values, as in a selection"); v != nil {
		e = r.selection(entry{name: "match", value: v}, "match of an exception", classes)
	}
	return x, e, named && e != nil
}
