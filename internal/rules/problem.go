package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Position is a place in a rule file. Line and Column count from 1; 0 means
// that the problem is the whole file's.
type Position struct {
	File   string
	Line   int
	Column int
}

// String returns "file:line:column", leaving out what is not known.
func (p Position) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one thing that is wrong with a rule file.
type Problem struct {
	Pos     Position
	RuleID  string // "" if the document's rule id is not known
	Message string // what is wrong
	Hint    string // what to write instead, or ""
	Warning bool   // the rule is accepted all the same
}

// Error returns "file:line:column: message (hint)".
func (p Problem) Error() string {
	var b strings.Builder
	if at := p.Pos.String(); at != "" {
		b.WriteString(at + ": ")
	}
	if p.Warning {
		b.WriteString("warning: ")
	}
	b.WriteString(p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Problems is all that is wrong with a file, or with a set of files.
type Problems []Problem

// Error returns the problems one a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Failed reports whether any of the problems is an error and not a warning.
func (ps Problems) Failed() bool {
	for _, p := range ps {
		if !p.Warning {
			return true
		}
	}
	return false
}

// sort orders the problems by file and position; those of one place stay in
// their order.
func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.Pos.File, b.Pos.File),
			cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
}

// maxProblems is how many problems of one document are shown.
const maxProblems = 100

// clipped keeps the first problems of a document, and says how many more there are.
func (ps Problems) clipped() Problems {
	if len(ps) <= maxProblems {
		return ps
	}
	rest := ps[maxProblems]
	rest.Message, rest.Hint = fmt.Sprintf("there are %d more problems", len(ps)-maxProblems), ""
	rest.Warning = !ps[maxProblems:].Failed()
	return append(ps[:maxProblems:maxProblems], rest)
}
