package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"bittern/internal/event"
)

// otherKeys are names that other rule forms use for keys of ours.
var otherKeys = map[string]string{
	"id": "rule_id", "title": "name", "version": "rule_version", "level": "severity", "modified": "last_reviewed",
	"attack": "emits", "condition": "match", "fields": "evidence_fields", "threshold": "limit", "throttle": "limit",
}

var (
	ruleID      = regexp.MustCompile(`^[A-Za-z0-9_]+$`)
	wholeNumber = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)
)

// document reads one document. seen holds the rule ids of the documents before
// it, with their lines.
func (r *reader) document(n *yaml.Node, budget *int, seen map[string]int) Document {
	doc := Document{Pos: r.pos(n), RuleID: peekID(n)}
	r.ruleID = doc.RuleID
	if r.checkTree(n, 1, budget) {
		rule := r.readRule(n, seen)
		if !r.problems.Failed() {
			doc.Rule = rule
		}
	}
	for i := range r.problems {
		r.problems[i].RuleID = doc.RuleID
	}
	r.problems.sort()
	doc.Problems = r.problems.clipped()
	doc.Uses, doc.Misfits = r.uses, r.misfits
	return doc
}

// peekID returns the rule id of a document, whatever else is wrong with it.
func peekID(n *yaml.Node) string {
	if n.Kind != yaml.MappingNode {
		return ""
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if value := n.Content[i+1]; n.Content[i].Value == "rule_id" {
			if value.Kind == yaml.ScalarNode && len(value.Value) <= maxID && ruleID.MatchString(value.Value) {
				return value.Value
			}
			return ""
		}
	}
	return ""
}

// readRule reads a rule; it is of use only if no error was reported.
func (r *reader) readRule(n *yaml.Node, seen map[string]int) *Rule {
	root, ok := r.mapping(n, "a rule")
	if !ok {
		return nil
	}
	if r.sigma(root) {
		return nil
	}
	keys := keyNames(ruleKeys)
	given := make(map[string]*yaml.Node, len(root))
	for _, e := range root {
		switch {
		case slices.Contains(keys, e.name):
			given[e.name] = e.value
		case !strings.HasPrefix(e.name, "x-"):
			hint := didYouMean(e.name, keys)
			if key, ok := otherKeys[e.name]; ok {
				hint = fmt.Sprintf("did you mean %s?", key)
			}
			if hint == "" {
				hint = "keys of your own start with x-"
			}
			if e.name == "lists" {
				hint = "lists are a document of their own; --- begins it"
			}
			r.errorf(e.key, hint, "unknown key %q", clip(e.name))
		}
	}
	rule := &Rule{own: hashTree(n), Pos: r.pos(n)}
	r.identity(rule, n, given, seen)
	if v := r.required(n, given, "applies_to", "for example [process_exec]"); v != nil {
		rule.AppliesTo = r.classes(v)
	}
	if v := r.required(n, given, "match", "it holds field and pattern, or selections and a condition"); v != nil {
		rule.match = r.match(v, rule.AppliesTo)
	}
	if v := given["exceptions"]; v != nil {
		rule.Exceptions, rule.match = r.exceptions(v, rule.match, rule.AppliesTo)
	}
	if v := r.required(n, given, "emits", "a list of tactic, technique_id and confidence"); v != nil {
		rule.Emits = r.emits(v)
	}
	if v := given["evidence_fields"]; v != nil {
		rule.EvidenceFields = r.evidence(v, rule.AppliesTo)
	}
	if v := given["limit"]; v != nil {
		rule.Limit = r.limit(v)
	}
	rule.Metadata = r.metadata(given)
	if v := given["tests"]; v != nil {
		rule.Tests = r.tests(v, rule.AppliesTo)
	}
	if !r.problems.Failed() {
		if len(r.uses) > 0 {
			rule.lists = r.uses
		}
		rule.Hash = rule.hash()
		for _, class := range rule.AppliesTo {
			rule.plans = append(rule.plans, buildPlan(class, rule.match))
		}
	}
	return rule
}

// sigma refuses a Sigma rule as a whole.
func (r *reader) sigma(root []entry) bool {
	for _, e := range root {
		if e.name == "logsource" || e.name == "detection" {
			r.errorf(e.key, "write it in the native form, see docs/rules.md",
				"this is a Sigma rule; this version of Bittern does not read Sigma files yet")
			return true
		}
	}
	return false
}

func (r *reader) required(n *yaml.Node, given map[string]*yaml.Node, key, hint string) *yaml.Node {
	value := given[key]
	if value == nil {
		r.errorf(n, hint, "key %s is missing", key)
	}
	return value
}

func (r *reader) identity(rule *Rule, n *yaml.Node, given map[string]*yaml.Node, seen map[string]int) {
	if v := r.required(n, given, "rule_id", "a name that no other rule has and that stays, such as R0012"); v != nil {
		if id, ok := r.text(v, "rule_id", maxID); ok {
			r.unique(v, id, seen)
			rule.ID = id
		}
	}
	if v := r.required(n, given, "rule_version", "start with 1 and count up at each change"); v != nil {
		rule.Version = r.version(v)
	}
	if v := r.required(n, given, "name", ""); v != nil {
		rule.Name, _ = r.text(v, "name", maxName)
	}
	if v := given["description"]; v != nil {
		rule.Description, _ = r.text(v, "description", maxText)
	}
}

func (r *reader) unique(n *yaml.Node, id string, seen map[string]int) {
	if !ruleID.MatchString(id) {
		r.errorf(n, "use letters, digits and _ only", "rule_id %q is malformed", id)
		return
	}
	if line, ok := seen[id]; ok {
		r.errorf(n, "give each rule an id of its own", "rule_id %s is used twice in this file, first in line %d", id, line)
		return
	}
	seen[id] = n.Line
}

func (r *reader) version(n *yaml.Node) int { return r.positive(n, "rule_version", "3") }

// positive returns a whole number that is at least 1. example is one to write.
func (r *reader) positive(n *yaml.Node, what, example string) int {
	const want = "a whole number from 1 to 2147483647"
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" {
		hint := ""
		if isString(n) {
			hint = "write it without quotes, for example " + example
		}
		r.wrongType(n, what, want, hint)
		return 0
	}
	count, err := strconv.ParseInt(n.Value, 10, 32)
	if err != nil || count < 1 || !wholeNumber.MatchString(n.Value) {
		r.wrongType(n, what, want, "")
	}
	return int(count)
}

func (r *reader) classes(n *yaml.Node) []event.Class {
	items, ok := r.list(n, "applies_to", "of event classes")
	if !ok {
		return nil
	}
	var classes []event.Class
	names := classNames()
	for _, item := range items {
		name, ok := r.text(item, "an event class", maxName)
		if !ok {
			continue
		}
		class, ok := event.ParseClass(name)
		switch {
		case ok && slices.Contains(classes, class):
			hint := ""
			if alias := class.Info().Alias; alias != "" {
				hint = fmt.Sprintf("%s is another name of %s", alias, class)
			}
			r.errorf(item, hint, "event class %s is listed twice", class)
		case ok:
			classes = append(classes, class)
		case closest(name, names) != "":
			r.errorf(item, didYouMean(name, names), "unknown event class %q", clip(name))
		default:
			r.errorf(item, "event classes: "+strings.Join(names, ", "),
				"%q is not an event class of Bittern; this rule seems written for another product", clip(name))
		}
	}
	return classes
}

// classNames lists the names of event classes, aliases last.
func classNames() []string {
	var names, aliases []string
	for _, c := range event.Classes() {
		names = append(names, c.String())
		if alias := c.Info().Alias; alias != "" {
			aliases = append(aliases, alias)
		}
	}
	return append(names, aliases...)
}

// evidence reads evidence_fields.
func (r *reader) evidence(n *yaml.Node, classes []event.Class) []event.Field {
	items, ok := r.list(n, "evidence_fields", "of field names")
	if !ok {
		return nil
	}
	var fields []event.Field
	for _, item := range items {
		name, ok := r.text(item, "an evidence field", maxName)
		if !ok {
			continue
		}
		field, ok := r.field(item, name, classes)
		if ok && slices.Contains(fields, field) {
			r.errorf(item, "", "field %s is listed twice", field)
		} else if ok {
			fields = append(fields, field)
		}
	}
	return fields
}
