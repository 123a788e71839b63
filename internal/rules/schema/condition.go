package schema

import "strings"

// conditionPattern is the form of a condition as far as a regular expression can tell: selections and quantifiers between
// and and or, behind any number of not and parentheses. Whether parentheses go together it can't tell, nor which selections
// there are. Each text can be read in one way, so that editors whose expressions backtrack take no longer than others.
func conditionPattern() string {
	const form = `^W*PREFIXOPERAND(AFTER(and|or)BEFOREOPERAND)*(W*\))*W*$`
	return strings.NewReplacer(
		"PREFIX", prefix,
		"OPERAND", `([A-Za-z_][A-Za-z0-9_-]*|(1|any|all)`+blank+`+of`+blank+`+[A-Za-z0-9_*-]+)`,
		"AFTER", `(`+blank+`+|(`+blank+`*\))+`+blank+`*)`,
		"BEFORE", `(`+blank+`+|\(`+blank+`*)`+prefix,
		"W", blank,
	).Replace(form)
}

// conditionHelp is what to write instead.
const conditionHelp = "write selections with and, or, not and parentheses, in lower case, 1 of tool_* or all of them"

const (
	blank  = `[ \t\r\n]`
	prefix = `(not` + blank + `+|not\(` + blank + `*|\(` + blank + `*)*`
)
