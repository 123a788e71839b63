package schema

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"bittern/internal/event"
	"bittern/internal/rules"
	"bittern/internal/rules/rulestest"
	"bittern/internal/schematest"
)

// blind lists the bad fixtures that a schema takes for good, by what it would have to know. Those that are no YAML are not
// among them: an editor says so without a schema.
var blind = map[string][]string{
	"which selections there are":                          {"condition_block.bad.yml", "condition_unknown.bad.yml", "condition_unknown_pattern.bad.yml", "selection_unused.bad.yml"},
	"which parentheses go together":                       {"condition_depth.bad.yml", "condition_parenthesis.bad.yml", "condition_parenthesis_extra.bad.yml"},
	"how regular expressions are written":                 {"regexp_size.bad.yml", "regexp_size_parser.bad.yml", "regexp_syntax.bad.yml"},
	"which ids ATT&CK has":                                {"attack_unknown.bad.yml"},
	"the other documents of the file":                     {"rule_id_twice.bad.yml"},
	"how a value is written, of which YAML has many ways": {"aliases.bad.yml", "merge_key.bad.yml", "nul_escape.bad.yml", "rule_version_form.bad.yml", "yaml_tags.bad.yml"},
	"the values of keys that are the author's own":        {"depth.bad.yml", "mapping_length.bad.yml"},
	"what follows from the other fields of a test":        {"tests_contradiction.bad.yml"},
}

func compiled(t *testing.T) *schematest.Schema {
	t.Helper()
	text, err := JSON()
	if err != nil {
		t.Fatal(err)
	}
	return schematest.Compile(t, text)
}

// fakeCatalogue does not know the ids that fixtures have for such.
type fakeCatalogue struct{}

func (fakeCatalogue) Check(id string) (string, rules.AttackStatus) {
	if slices.Contains([]string{"TA9999", "T9999", "T1059.999"}, id) {
		return "", rules.AttackUnknown
	}
	return "", rules.AttackKnown
}

// TestFixtures compares what the schema says of each document with what the parser says.
func TestFixtures(t *testing.T) {
	s := compiled(t)
	var paths []string
	for _, pattern := range []string{"../testdata/*.yml", "../../../rules/*.yml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) < 50 {
			t.Fatalf("have %d files %s (%v)", len(found), pattern, err)
		}
		paths = append(paths, found...)
	}
	reasons := make(map[string]string)
	for reason, names := range blind {
		for _, name := range names {
			reasons[name] = reason
		}
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file := rules.Parse(path, data, rules.Options{Attack: fakeCatalogue{}})
		nodes, whole := documents(data)
		seen := !whole
		document := 0
		for i, node := range nodes {
			failed := file.Problems.Failed()
			if !definesLists(node) {
				if document == len(file.Documents) {
					break
				}
				failed = file.Documents[document].Problems.Failed()
				document++
			}
			refused := s.Node(node)
			switch {
			case refused != nil && !failed:
				t.Errorf("%s, document %d is good, and refused: %v", path, i+1, refused)
			case refused != nil:
				seen = true
			}
		}
		name := filepath.Base(path)
		bad := file.AllProblems().Failed()
		switch reason := reasons[name]; {
		case bad && !seen && reason == "":
			t.Errorf("%s is bad, and not refused; if a schema can't see why, say so in blind:\n%s", name, file.AllProblems().Error())
		case (!bad || seen) && reason != "":
			t.Errorf("%s is in blind (%s), and it is refused, or good", name, reason)
		}
		delete(reasons, name)
	}
	for name := range reasons {
		t.Errorf("%s is in blind, and there is no such file", name)
	}
}

// definesLists reports whether a document is one of lists, and so none of the rules of a file.
func definesLists(n *yaml.Node) bool {
	keys := make(map[string]bool)
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		keys[n.Content[i].Value] = true
	}
	return keys["lists"] && !keys["rule_id"]
}

// documents returns the documents of a stream without those that are empty; whole is false if it is not YAML to its end.
func documents(data []byte) (nodes []*yaml.Node, whole bool) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var doc yaml.Node
		err := decode(decoder, &doc)
		if err != nil {
			return nodes, errors.Is(err, io.EOF)
		}
		if root := doc.Content[0]; root.ShortTag() != "!!null" {
			nodes = append(nodes, root)
		}
	}
}

// decode is decoder.Decode, which panics on some input.
func decode(decoder *yaml.Decoder, doc *yaml.Node) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("malformed")
		}
	}()
	return decoder.Decode(doc)
}

// TestRandomRules expects that no rule which the parser takes is refused.
func TestRandomRules(t *testing.T) {
	s := compiled(t)
	g := rulestest.New(1)
	for _, class := range event.Classes() {
		for range 50 {
			text := g.RuleFor("R1", 1, class)
			rulestest.Parse(t, text)
			for document := range strings.SplitSeq(text, "---\n") {
				if err := s.YAML([]byte(document)); err != nil {
					t.Fatalf("%v\n%s", err, text)
				}
			}
		}
	}
	for _, text := range rulestest.MixedCorpus(48) {
		if err := s.YAML([]byte(text)); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
}

// The schema refers to its own parts by URIs, in which not every character may be.
func TestReferencesAreURIs(t *testing.T) {
	text, err := JSON()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, name, ok := strings.Cut(line, `"$ref": "#/$defs/`); ok && strings.ContainsAny(name, " |~/%") {
			t.Errorf("bad reference: %s", line)
		}
	}
}
