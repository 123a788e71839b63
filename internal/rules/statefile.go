package rules

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"gopkg.in/yaml.v3"
)

// MaxStateBytes is the size above which a file of states is refused.
const MaxStateBytes = 4 << 20

// ByFile is who set a state of which a file of states does not say it.
const ByFile = "file"

// StateFile is a parsed file of states: one mapping, from rule ids to what was decided.
type StateFile struct {
	// States are those that are right. SetAt is zero where the file does not say it.
	States map[string]RuleState
	// Broken are the rules whose entries are wrong.
	Broken   map[string]bool
	Problems Problems
	// Complete is false if nothing of the file can be relied on.
	Complete bool
}

var stateKeys = []string{"state", "confidence_max", "expires_at", "reason", "set_by", "set_at"}

// ParseStates reads a file of states. All that is wrong is reported at once. A file without
// a document is one without states.
func ParseStates(path string, data []byte) *StateFile {
	f := &StateFile{States: map[string]RuleState{}, Broken: map[string]bool{}}
	if p, ok := checkBytes(path, data, Options{MaxBytes: MaxStateBytes}); !ok {
		p.Hint = "a file of states is UTF-8 text of at most 4 MiB"
		f.Problems = Problems{p}
		return f
	}
	nodes, problem := splitDocuments(path, data)
	r := &reader{path: path, data: data, reported: make(map[*yaml.Node]bool)}
	budget := maxNodes
	switch {
	case problem != nil:
		f.Problems = Problems{*problem}
		return f
	case len(nodes) == 0:
		f.Complete = true
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
	at := slices.Index(stateNames, name)
	if at < 0 {
		r.errorf(n, didYouMean(name, stateNames), "unknown state %q", clip(name))
		return Enabled
	}
	return State(at)
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

// EditStates returns the text of a file of states with other states of some rules; the zero
// value is that of no entry. Comments, and all other entries, stay. A file that has
// errors is not edited.
func EditStates(path string, data []byte, edits map[string]RuleState) ([]byte, error) {
	was := ParseStates(path, data)
	if was.Problems.Failed() {
		return nil, was.Problems
	}
	todo := make(map[string]RuleState, len(edits))
	for id, s := range edits {
		if old, ok := was.States[id]; ok != !s.IsZero() || ok && !old.Equal(s) {
			todo[id] = s.Normal()
		}
	}
	if len(todo) == 0 {
		return data, nil
	}
	data, err := editStates(data, todo)
	if err != nil {
		return nil, fmt.Errorf("editing %s: %w", path, err)
	}
	// That it says what it should is not left to the YAML library.
	now := ParseStates(path, data)
	want := maps.Clone(was.States)
	for id, s := range edits {
		if want[id] = s; s.IsZero() {
			delete(want, id)
		}
	}
	if now.Problems.Failed() || !maps.EqualFunc(want, now.States, RuleState.Equal) {
		return nil, fmt.Errorf("editing %s: this form of it can't be edited: %w", path, errors.Join(now.Problems, errors.New("simplify its comments and quotes")))
	}
	return data, nil
}

// editStates edits those that differ.
func editStates(data []byte, edits map[string]RuleState) ([]byte, error) {
	var doc yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(data)).Decode(&doc)
	if errors.Is(err, io.EOF) {
		// Nothing but comments, which have no place in a tree.
		root := &yaml.Node{Kind: yaml.MappingNode}
		for _, id := range slices.Sorted(maps.Keys(edits)) {
			root.Content = append(root.Content, scalar("!!str", id), stateNode(edits[id]))
		}
		text, err := encodeStates(root)
		if data = bytes.TrimRight(data, "\n"); len(data) > 0 {
			data = append(bytes.Clone(data), "\n\n"...) // so that they stay the file's, not the entry's
		}
		return slices.Concat(data, text), err
	}
	if err != nil {
		return nil, err
	}
	root := doc.Content[0]
	root.Style &^= yaml.FlowStyle
	old := root.Content
	root.Content = make([]*yaml.Node, 0, len(old)+2*len(edits))
	known := make(map[string]bool, len(old)/2)
	for i := 0; i+1 < len(old); i += 2 {
		key, value := old[i], old[i+1]
		known[key.Value] = true
		s, edit := edits[key.Value]
		switch {
		case !edit:
			root.Content = append(root.Content, key, value)
		case !s.IsZero():
			root.Content = append(root.Content, key, stateNode(s))
		case i == 0 && doc.HeadComment == "":
			doc.HeadComment = key.HeadComment // it may well be about the file
		}
	}
	for _, id := range slices.Sorted(maps.Keys(edits)) {
		if !known[id] {
			root.Content = append(root.Content, scalar("!!str", id), stateNode(edits[id]))
		}
	}
	return encodeStates(&doc)
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
	text := out.Bytes()
	if bytes.Equal(text, []byte("{}\n")) || bytes.HasSuffix(text, []byte("\n{}\n")) {
		text = bytes.TrimSuffix(text, []byte("{}\n"))
	}
	return text, nil
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
