package rules

// ChangeKind says what happened to a rule.
type ChangeKind uint8

// The kinds of change.
const (
	// Definition: the rule is new or its content changed.
	Definition ChangeKind = iota + 1
	// Deleted: no file defines the rule any more.
	Deleted
	// Rejected: a file was edited and is now wrong; nothing that is live changed.
	// RuleID is "" if the problems belong to no known rule.
	Rejected
)

// Change is one change of one rule. There is one for each rule of an edit.
type Change struct {
	Kind     ChangeKind
	RuleID   string
	Rule     *Rule    // Definition: the new version
	Problems Problems // Rejected: why; Definition: warnings
}
