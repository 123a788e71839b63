package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxLocate bounds the size of files whose syntax errors are located by parsing
// parts of them again.
const maxLocate = 128 << 10

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

// parserMessages are those errors of yaml.v3 whose line counts from 0; all
// others count from 1. They tell where the construct starts that is broken, not
// where it breaks.
var parserMessages = []string{
	"did not find expected <stream-start>",
	"did not find expected <document start>",
	"did not find expected node content",
	"did not find expected '-' indicator",
	"did not find expected key",
	"did not find expected ',' or ']'",
	"did not find expected ',' or '}'",
	"found undefined tag handle",
	"found incompatible YAML document",
	"found duplicate %YAML directive",
	"found duplicate %TAG directive",
}

const quoteStarHint = "put a value that starts with * or & in quotes"

// syntaxHints say what people mostly did who got a message.
var syntaxHints = map[string]string{
	"mapping values are not allowed in this context":        "check the indentation, and put a value that contains ': ' in quotes",
	"found character that cannot start any token":           "indent with spaces, and put a value that starts with @, `, % or a tab in quotes",
	"found a tab character that violates indentation":       "indent with spaces",
	"found unknown escape character":                        "put patterns in single quotes: there a backslash stands for itself",
	"found unexpected end of stream":                        "close the quote that starts in this line",
	"did not find expected ',' or ']'":                      "close the list that starts in this line",
	"did not find expected ',' or '}'":                      "close the mapping that starts in this line, and put what contains , ? : { } [ ] in quotes",
	"did not find expected alphabetic or numeric character": quoteStarHint,
	"could not find expected ':'":                           "a key needs a colon, and its value starts in the same line or is indented below it",
}

// SyntaxProblem turns an error of yaml.v3 into a problem with a useful position, for files that are no rules.
func SyntaxProblem(path string, data []byte, err error) Problem {
	return syntaxProblem(path, data, err)
}

// syntaxProblem turns an error of yaml.v3 into a problem with a useful position.
func syntaxProblem(path string, data []byte, err error) Problem {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		m = []string{"", "", err.Error()}
	}
	line, _ := strconv.Atoi(m[1]) // absent if it is the first
	message := m[2]
	if slices.Contains(parserMessages, message) || line == 0 {
		line++
	}
	p := Problem{Pos: Position{File: path, Line: line}, Message: "yaml syntax error: " + message}
	p.Hint = syntaxHints[message]
	switch {
	case strings.HasPrefix(message, "unknown anchor "):
		p.Pos.Line = locate(data, err, line)
		p.Message, p.Hint = aliasMessage, quoteStarHint
	case message == "did not find expected key" || message == "did not find expected '-' indicator":
		p.Pos.Line = locate(data, err, line)
		p.Hint = fmt.Sprintf("check the indentation and the quotes; the block that it breaks starts in line %d", line)
	}
	return p
}

// locate returns the line at which a syntax error first shows: that many lines
// are the least that give the same error. The parser reads from front to back,
// so any more lines give it too.
func locate(data []byte, err error, otherwise int) int {
	if len(data) > maxLocate {
		return otherwise
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	n := sort.Search(len(lines), func(n int) bool {
		return same(bytes.Join(lines[:n+1], nil), err)
	})
	return n + 1
}

func same(data []byte, want error) bool {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		_, err := nextDocument(decoder)
		if errors.Is(err, io.EOF) {
			return false
		}
		if err != nil {
			return err.Error() == want.Error()
		}
	}
}
