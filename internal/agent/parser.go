package agent

import (
	"bittern/internal/attack"
	"bittern/internal/rules"
)

// Parser returns the function that reads rule files, with ATT&CK ids checked.
func Parser(catalogue *attack.Catalogue) func(path string, data []byte) *rules.File {
	options := rules.Options{Attack: attackIDs{catalogue}}
	return func(path string, data []byte) *rules.File { return rules.Parse(path, data, options) }
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
