package rules

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"gopkg.in/yaml.v3"
)

// MaxStateBytes is the size above which a file of states is refused.
const MaxStateBytes = 4 << 20

// ByFile is who set a state of which a file of states does not say it.
const ByFile = "file"

// StateFile is a parsed file of states: one mapping, from rule ids to what was decided. It never
// changes.
type StateFile struct {
	// Text is what was parsed.
	Text []byte
	// States are those that are right. SetAt is zero where the file does not say it.
	States map[string]RuleState
	// Broken are the rules whose entries are wrong.
	Broken   map[string]bool
	Problems Problems
	// Complete is false if nothing of the file can be relied on.
	Complete bool

	path   string
	layout *stateLayout // nil unless its entries can be told apart by their lines
}

var stateKeys = []string{"state", "confidence_max", "expires_at", "reason", "set_by", "set_at"}

// ParseStates reads a file of states. All that is wrong is reported at once. A file without
// a document is one without states. data must not be changed any more.
func ParseStates(path string, data []byte) *StateFile {
	f := &StateFile{Text: data, States: map[string]RuleState{}, Broken: map[string]bool{}, path: path}
	if p, ok := checkBytes(path, data, Options{MaxBytes: MaxStateBytes}); !ok {
		p.Hint = "a file of states is UTF-8 text of at most 4 MiB"
		f.Problems = Problems{p}
		return f
	}
	nodes, problem := splitDocuments(path, data)
	r := newReader(path, data, Options{})
	budget := maxNodes
	switch {
	case problem != nil:
		f.Problems = Problems{*problem}
		return f
	case len(nodes) == 0:
		f.Complete = true
		f.layout = cutStates(string(data), &yaml.Node{})
		return f
	case len(nodes) > 1:
		r.errorf(nodes[1], "put all states into one", "file has more than one YAML document")
	case nodes[0].Kind != yaml.MappingNode:
		r.errorf(nodes[0], "write RULE_ID: {state: disabled}", "states must be a mapping of rule ids, not %s", describe(nodes[0]))
	case r.checkTree(nodes[0], 1, &budget):
		f.Complete = true
		r.states(f, nodes[0])
	}
	r.problems.sort()
	f.Problems = r.problems.clipped()
	if !f.Problems.Failed() {
		f.layout = cutStates(string(data), nodes[0])
	}
	return f
}

// states reads the entries. What checkTree has reported is inside of some of them.
func (r *reader) states(f *StateFile, root *yaml.Node) {
	treeProblems := r.problems
	for _, e := range r.entries(root) {
		if err := CheckID(e.name); err != nil {
			r.errorf(e.key, "", "%v", err)
			continue
		}
		before := len(r.problems)
		state := r.state(e)
		wrong := len(r.problems) > before
		for _, p := range treeProblems {
			wrong = wrong || within(p.Pos, e.key, root)
		}
		for j := before; j < len(r.problems); j++ {
			r.problems[j].RuleID = e.name
		}
		if wrong {
			f.Broken[e.name] = true
			delete(f.States, e.name)
		} else if !f.Broken[e.name] {
			f.States[e.name] = state
		}
	}
}

// within reports whether a position is between a key of a mapping and the key after it.
func within(pos Position, key, mapping *yaml.Node) bool {
	before := func(n *yaml.Node) bool {
		return cmp.Or(cmp.Compare(pos.Line, n.Line), cmp.Compare(pos.Column, n.Column)) < 0
	}
	next := slices.Index(mapping.Content, key) + 2
	return !before(key) && (next >= len(mapping.Content) || before(mapping.Content[next]))
}

func (r *reader) state(e entry) RuleState {
	s := RuleState{SetBy: ByFile}
	content, ok := r.mapping(e.value, "the state of rule "+e.name)
	if !ok {
		return s
	}
	before := len(r.problems)
	given := make(map[string]*yaml.Node, len(content))
	for _, e := range content {
		given[e.name] = e.value
		switch e.name {
		case "state":
			s.State = r.stateName(e.value)
		case "confidence_max":
			s.ConfidenceMax = r.confidenceMax(e.value)
		case "expires_at":
			s.ExpiresAt = r.timestamp(e.value, e.name)
		case "set_at":
			s.SetAt = r.timestamp(e.value, e.name)
		case "reason":
			s.Reason, _ = r.text(e.value, e.name, maxReason)
		case "set_by":
			s.SetBy, _ = r.text(e.value, e.name, maxSetBy)
		default:
			r.errorf(e.key, didYouMean(e.name, stateKeys), "unknown key %q in a state", clip(e.name))
		}
	}
	r.required(e.key, given, "state", "disabled, clipped or enabled")
	if s.State == Clipped {
		r.required(e.key, given, "confidence_max", "a number from 0 to 1, for example 0.5")
	}
	if len(r.problems) == before {
		if err := s.Validate(); err != nil {
			r.errorf(e.value, "", "%v", err)
		}
	}
	return s
}

func (r *reader) stateName(n *yaml.Node) State {
	name, ok := r.text(n, "state", maxName)
	if !ok {
		return Enabled
	}
	state, known := ParseState(name)
	if !known {
		r.errorf(n, didYouMean(name, stateNames), "unknown state %q", clip(name))
	}
	return state
}

func (r *reader) confidenceMax(n *yaml.Node) float64 {
	c, err := strconv.ParseFloat(n.Value, 64)
	if n.Kind != yaml.ScalarNode || (n.ShortTag() != "!!float" && n.ShortTag() != "!!int") || err != nil || !(c >= 0 && c <= 1) {
		r.wrongType(n, "confidence_max", "a number from 0 to 1", "for example 0.5")
		return 0
	}
	return c
}

func (r *reader) timestamp(n *yaml.Node, key string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, n.Value)
	if !isString(n) || err != nil {
		r.wrongType(n, key, "a time with its zone", "write it like 2026-03-01T18:30:00Z or 2026-03-01T18:30:00+01:00")
		return time.Time{}
	}
	return at.UTC()
}
