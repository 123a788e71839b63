package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// Parse reads a rule file. It never fails as a whole: what is wrong is in the
// Problems of the file and of its documents, all of it at once, and a document
// without errors is usable whatever is wrong with the others. Rules use the lists of opts, and
// those of the file that have other names.
//
// path is used in positions only. A file without documents, or with nothing but
// comments, has no documents and no problems.
func Parse(path string, data []byte, opts Options) *File {
	f := &File{Path: path}
	if p, ok := checkBytes(path, data, opts); !ok {
		f.Problems = Problems{p}
		return f
	}
	nodes, problem := splitDocuments(path, data)
	if problem != nil {
		f.Problems = Problems{*problem}
	}
	f.Complete = problem == nil

	own := f.readLists(data, nodes, opts)
	budget := maxNodes
	seen := make(map[string]int) // rule id -> line
	texts := documentTexts(data, nodes)
	for i, node := range nodes {
		if isLists(node) {
			continue
		}
		r := newReader(path, data, opts)
		r.own = own
		doc := r.document(node, &budget, seen)
		if doc.Rule != nil {
			doc.Rule.text = texts[i]
		}
		f.Documents = append(f.Documents, doc)
		if budget < 0 {
			f.Complete = false
			break
		}
	}
	return f
}

// readLists reads the lists that the file defines, before the rules that may use them.
func (f *File) readLists(data []byte, nodes []*yaml.Node, opts Options) Lists {
	own, first := make(Lists), make(map[string]Position)
	for _, node := range nodes {
		if !isLists(node) {
			continue
		}
		lists, problems := newReader(f.Path, data, opts).listsDocument(node, first)
		f.Problems = append(f.Problems, problems...)
		f.Lists = append(f.Lists, lists...)
		for _, list := range lists {
			own[list.Name] = list
		}
	}
	return own
}

// AllProblems returns the problems of the file and of all its documents by
// position.
func (f *File) AllProblems() Problems {
	all := append(Problems(nil), f.Problems...)
	for _, d := range f.Documents {
		all = append(all, d.Problems...)
	}
	all.sort()
	return all
}

// documentTexts cuts the text of a file up into those of its documents. Comments before a
// document are left to the one before it.
func documentTexts(data []byte, nodes []*yaml.Node) [][]byte {
	texts := make([][]byte, 0, len(nodes))
	from, line := 0, 1
	for _, node := range nodes {
		start := from
		for ; line < node.Line; line++ {
			end := bytes.IndexByte(data[start:], '\n')
			if end < 0 {
				break
			}
			start += end + 1
		}
		if len(texts) > 0 {
			texts[len(texts)-1] = data[from:start]
		}
		from = start
		if bytes.HasPrefix(data[from:], []byte("---")) {
			from += len("---") // "--- {a: b}"
		}
		texts = append(texts, data[from:])
	}
	return texts
}

// checkBytes refuses what is not text or too long, before it costs anything.
func checkBytes(path string, data []byte, opts Options) (Problem, bool) {
	if limit := opts.maxBytes(); len(data) > limit {
		return Problem{
			Pos:     Position{File: path},
			Message: fmt.Sprintf("file has %d bytes, the limit is %d", len(data), limit),
			Hint:    "split it into several files",
		}, false
	}
	line, column := 1, 1
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		what := ""
		switch {
		case r == utf8.RuneError && size == 1:
			what = fmt.Sprintf("byte 0x%02x is not valid UTF-8", data[i])
		case r == 0:
			what = "file contains a NUL byte"
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', 0x7f <= r && r < 0xa0 && r != 0x85:
			what = fmt.Sprintf("file contains the control character U+%04X", r)
		}
		if what != "" {
			return Problem{
				Pos:     Position{File: path, Line: line, Column: column},
				Message: what,
				Hint:    "rule files are UTF-8 text",
			}, false
		}
		i += size
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
	}
	return Problem{}, true
}

// splitDocuments returns the roots of the documents of a YAML stream, leaving
// out empty ones. After a syntax error those before it are still returned.
func splitDocuments(path string, data []byte) (nodes []*yaml.Node, problem *Problem) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		node, err := nextDocument(decoder)
		switch {
		case errors.Is(err, io.EOF):
			return nodes, nil
		case err != nil:
			p := syntaxProblem(path, data, err)
			return nodes, &p
		case node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null" && node.Anchor == "":
			continue
		case len(nodes) == maxDocuments:
			return nodes, &Problem{
				Pos:     Position{File: path, Line: node.Line, Column: node.Column},
				Message: fmt.Sprintf("file has more than %d documents", maxDocuments),
				Hint:    "split it into several files",
			}
		}
		nodes = append(nodes, node)
	}
}

// nextDocument returns the root of the next document, or io.EOF.
func nextDocument(decoder *yaml.Decoder) (node *yaml.Node, err error) {
	// yaml.v3 panics on some malformed input instead of returning an error.
	defer func() {
		if cause := recover(); cause != nil {
			node, err = nil, fmt.Errorf("yaml: malformed input: %v", cause)
		}
	}()
	var doc yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		return nil, err
	}
	if len(doc.Content) != 1 {
		return nil, errors.New("yaml: malformed input: document without content")
	}
	return doc.Content[0], nil
}
