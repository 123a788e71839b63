package rules

import "math"

// Bounds that the schema of rule files has too. A schema counts characters where the parser counts bytes.
const (
	MaxEntries    = maxList
	MaxListValues = maxListValues
	MaxVersion    = math.MaxInt32
	MaxTextBytes  = maxText
	MaxValueBytes = maxValue
	MaxNameBytes  = maxID // of a selection
)

// Bound is one of rule files for the reference.
type Bound struct {
	What string
	Most int
	Unit string
}

// Bounds lists them, in the order of the reference.
func Bounds() []Bound {
	return []Bound{
		{"file", DefaultMaxBytes >> 20, "MiB"},
		{"documents in a file", maxDocuments, ""},
		{"values, keys, lists and mappings in a file", maxNodes, ""},
		{"list or mapping", maxList, "entries"},
		{"shared list", maxListValues, "values"},
		{"values, keys, lists and mappings in a document of lists, or the file of one", maxNodes, ""},
		{"lists and mappings in each other", maxDepth, "deep"},
		{"value or pattern to match", maxValue, "bytes"},
		{"`condition`", maxCondition, "bytes"},
		{"parentheses in a condition", maxParentheses, "deep"},
		{"regular expression", maxInstructions, "instructions when compiled"},
		{"nested repetitions of a regular expression, multiplied", maxRepetitions, ""},
		{"`rule_id`, and the name of a selection", maxID, "bytes"},
		{"`name`", maxName, "bytes"},
		{"other text", maxText, "bytes"},
		{"problems that are reported of a rule; the rest is counted", maxProblems, ""},
	}
}
