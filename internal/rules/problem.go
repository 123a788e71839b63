package rules

import (
	"fmt"
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
