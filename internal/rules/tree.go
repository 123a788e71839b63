package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"

	"gopkg.in/yaml.v3"
)

const (
	aliasMessage = "anchors and aliases (& and *) are not supported"
	aliasHint    = "write the value out, or name a selection and use it twice in the condition"
)

// checkTree checks what holds for every node of a document, whatever it means:
// limits, no duplicate keys, and none of the features of YAML that make a file
// read differently from what it says or blow it up: anchors, aliases, merge keys
// and tags. budget counts down the nodes of the file. It returns false if a
// limit was hit, and the document is not to be read any further.
func (r *reader) checkTree(n *yaml.Node, depth int, budget *int) bool {
	if *budget--; *budget < 0 {
		r.errorf(n, "split it into several files", "file has more than %d nodes", maxNodes)
		return false
	}
	if depth > maxDepth {
		r.errorf(n, "", "lists and mappings are nested more than %d deep", maxDepth)
		return false
	}
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		if !r.aliased {
			r.errorf(n, aliasHint, aliasMessage)
			r.aliased = true
		}
		if n.Kind == yaml.AliasNode {
			r.reported[n] = true
			return true
		}
	}
	if n.Style&yaml.TaggedStyle != 0 {
		r.report(n, "leave the tag out; put a string in quotes", "the YAML tag %s is not supported", clip(n.Tag))
	}
	switch n.Kind {
	case yaml.ScalarNode:
		if len(n.Value) > maxText {
			r.report(n, "", "value has %d bytes, the limit is %d", len(n.Value), maxText)
		}
		if strings.IndexByte(n.Value, 0) >= 0 {
			r.report(n, "no field of an event can contain one", "value contains a NUL character")
		}
	case yaml.MappingNode:
		if len(n.Content)/2 > maxList {
			r.errorf(n, "", "mapping has %d keys, the limit is %d", len(n.Content)/2, maxList)
			return false
		}
		r.checkKeys(n)
	case yaml.SequenceNode:
		if len(n.Content) > r.most {
			hint := "make it a shared list, which can have more, or spread the values over several selections"
			if r.most > maxList {
				hint = "make it two lists; a rule can name both: [{list: a}, {list: b}]"
			}
			r.errorf(n, hint, "list has %d entries, the limit is %d", len(n.Content), r.most)
			return false
		}
	}
	for _, sub := range n.Content {
		if !r.checkTree(sub, depth+1, budget) {
			return false
		}
	}
	return true
}

// report reports an error at a node once, and marks the node.
func (r *reader) report(n *yaml.Node, hint, format string, args ...any) {
	if !r.reported[n] {
		r.errorf(n, hint, format, args...)
		r.reported[n] = true
	}
}

func (r *reader) checkKeys(n *yaml.Node) {
	lines := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind == yaml.AliasNode:
			// Reported when the tree is walked.
		case key.Kind != yaml.ScalarNode || !isString(key):
			r.report(key, "put it in quotes", "a key must be a string, not %s", describe(key))
		case key.ShortTag() == "!!merge":
			r.report(key, "write the keys out", "merge keys (<<) are not supported")
		case lines[key.Value] != 0:
			r.report(key, "", "key %q is given twice, first in line %d", clip(key.Value), lines[key.Value])
		default:
			lines[key.Value] = key.Line
		}
	}
}

// hashTree returns the SHA-256 of a canonical encoding of the tree: the kind,
// type and value of each node. Comments, layout and quotes that don't change a
// type leave it alone.
func hashTree(n *yaml.Node) Hash {
	return sha256.Sum256(appendTree(make([]byte, 0, 4096), n))
}

func appendTree(dst []byte, n *yaml.Node) []byte {
	tag := n.ShortTag()
	dst = append(dst, byte(n.Kind), byte(len(tag)))
	dst = append(dst, tag...)
	dst = binary.AppendUvarint(dst, uint64(len(n.Value)))
	dst = append(dst, n.Value...)
	dst = binary.AppendUvarint(dst, uint64(len(n.Content)))
	for _, sub := range n.Content {
		dst = appendTree(dst, sub)
	}
	return dst
}
