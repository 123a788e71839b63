package rules

import (
	"net/netip"
	"regexp"
	"regexp/syntax"

	"bittern/internal/event"
)

// expr is a node of a compiled condition: conjunction, disjunction, negation, valueSet or
// literal. Nodes are immutable once built.
type expr interface {
	// eval reports whether the event satisfies the node.
	eval(ev *event.Event) bool
}

type (
	conjunction []expr // empty: true
	disjunction []expr // empty: false
	negation    struct{ operand expr }
)

// literal is one comparison of one field with one value. Lists in a rule file
// become conjunctions or disjunctions of literals. For a field with many
// values the literal holds if any value satisfies it.
//
// Case-insensitive comparison folds ASCII letters only, everywhere, regular
// expressions included, so that the kernel can do the same byte by byte.
type literal struct {
	field event.Field
	op    operator
	fold  bool // compare ASCII letters without case; text is then in lower case

	text    string         // opEquals, opContains, opStartsWith, opEndsWith
	glob    []string       // opGlob: the parts between "*"; see globAny
	number  uint64         // opNumber
	re      *regexp.Regexp // opRegexp
	syntax  *syntax.Regexp // opRegexp: simplified tree of what re matches, folding made explicit
	network netip.Prefix   // opNetwork

	set *valueSet // the values of a list that the literal is one of; nil if it is of none

	pos    Position
	source string // as written, for messages: "process.executable|endswith: /curl"
}

type operator uint8

const (
	opEquals     operator = iota + 1
	opContains            // text occurs in the value
	opStartsWith          // value starts with text
	opEndsWith            // value ends with text
	opGlob                // value matches a pattern with wildcards
	opRegexp              // re matches somewhere in the value
	opNumber              // number or boolean field equals number
	opNetwork             // value is an address in network
)

// globAny stands for one arbitrary byte ("?") inside a part of literal.glob.
// Rule text can't contain NUL, so it is free.
const globAny = '\x00'
