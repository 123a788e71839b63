package agent

import (
	"fmt"

	"bittern/internal/attack"
	"bittern/internal/rules"
)

// Parser returns the function that reads rule files, with ATT&CK ids checked.
func Parser(catalogue *attack.Catalogue) func(path string, data []byte, lists rules.Lists) *rules.File {
	return func(path string, data []byte, lists rules.Lists) *rules.File {
		return rules.Parse(path, data, rules.Options{Attack: attackIDs{catalogue}, Lists: lists})
	}
}

// attackIDs is the catalogue as rules see it.
type attackIDs struct{ catalogue *attack.Catalogue }

func (a attackIDs) Check(id string) (replacement string, status rules.AttackStatus) {
	replacement, s := a.catalogue.Check(id)
	switch s {
	case attack.Active:
		return replacement, rules.AttackKnown
	case attack.Revoked:
		return replacement, rules.AttackRevoked
	case attack.Deprecated:
		return replacement, rules.AttackDeprecated
	}
	return replacement, rules.AttackUnknown
}

// Restore reads the document of a rule that another agent has had. Its ATT&CK ids were checked
// then.
func Restore(document []byte) (*rules.Rule, error) {
	file := rules.Parse("a rule of the agent before", document, rules.Options{MaxBytes: len(document)})
	for _, d := range file.Documents {
		if d.Rule != nil {
			return d.Rule, nil
		}
	}
	return nil, fmt.Errorf("reading a rule of the agent before: %w", file.AllProblems())
}
