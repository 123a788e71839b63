package rules

// Options says how rule files are read. The zero value is good.
type Options struct {
	// MaxBytes is the size above which a file is refused; 0 means DefaultMaxBytes.
	MaxBytes int
	// Attack checks the ATT&CK ids of rules; if nil, only their form is checked.
	Attack Catalogue
	// Lists are what rules can use beside the lists of their own file.
	Lists Lists
}

// Catalogue knows the ids of MITRE ATT&CK.
type Catalogue interface {
	// Check looks up the id of a tactic ("TA0011"), technique ("T1105") or
	// sub-technique ("T1059.004"). replacement is the id to use instead of one
	// that is revoked or deprecated, "" if there is none.
	Check(id string) (replacement string, status AttackStatus)
}

// AttackStatus is what a catalogue says of an ATT&CK id.
type AttackStatus uint8

// The statuses of an ATT&CK id.
const (
	AttackUnknown    AttackStatus = iota // an error
	AttackKnown                          // in use
	AttackRevoked                        // a warning that names the replacement
	AttackDeprecated                     // a warning that names the replacement
)

// Limits of rule files. Each has its own error message.
const (
	DefaultMaxBytes = 1 << 20 // of a file

	maxDocuments    = 1024    // in one file
	maxNodes        = 100_000 // values, keys, lists and mappings in one file
	maxDepth        = 24      // lists and mappings inside each other
	maxList         = 4096    // entries of a list or mapping in a rule
	maxListValues   = 16384   // values of a shared list
	maxText         = 16 << 10
	maxValue        = 4 << 10 // bytes of a value or pattern that is matched
	maxCondition    = 4 << 10
	maxParentheses  = 64
	maxInstructions = 4096 // of a compiled regular expression
	maxRepetitions  = 1000 // of package regexp/syntax
	maxID           = 64
	maxName         = 256
)

func (o Options) maxBytes() int {
	if o.MaxBytes > 0 {
		return o.MaxBytes
	}
	return DefaultMaxBytes
}
