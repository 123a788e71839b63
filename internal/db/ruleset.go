package db

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"slices"
)

// RulesetOf is the name of a set of rules, content hashes by rule id: the SHA-256 of a line "ID HASH" for each, in the order of the ids'
// bytes. The server computes the same.
func RulesetOf(rules map[string]string) string {
	sum := sha256.New()
	for _, id := range slices.Sorted(maps.Keys(rules)) {
		_, _ = io.WriteString(sum, id+" "+rules[id]+"\n") // a hash takes everything
	}
	return hex.EncodeToString(sum.Sum(nil))
}
