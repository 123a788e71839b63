package rules

import (
	"fmt"
	"strings"
)

// few is how many words a hint lists.
const few = 12

// DidYouMean is the hint for a word that is not among those known, for files that are no rules.
func DidYouMean(unknown string, known []string) string { return didYouMean(unknown, known) }

// didYouMean returns a hint that names the known word closest to an unknown one,
// or lists them all if none is close; there may be too many to list.
func didYouMean(unknown string, known []string) string {
	if best := closest(unknown, known); best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	if len(known) == 0 || len(known) > few {
		return ""
	}
	return "known: " + strings.Join(known, ", ")
}

// closest returns the known word that ends in a dot and the unknown one, or else in
// an underscore and the unknown one in any case, or else that with the least edit distance if that is small for the length of the word,
// or else "". Of equals the first wins.
func closest(unknown string, known []string) string {
	const maxLength = 64
	if len(unknown) > maxLength {
		return ""
	}
	for _, word := range known {
		if unknown != "" && strings.HasSuffix(word, "."+unknown) {
			return word
		}
	}
	unknown = strings.ToLower(unknown)
	for _, word := range known {
		if unknown != "" && strings.HasSuffix(strings.ToLower(word), "_"+unknown) {
			return word
		}
	}
	best, least := "", 1+max(1, len(unknown)/3)
	for _, word := range known {
		if d := editDistance(unknown, strings.ToLower(word)); d < least && d < len(word) {
			best, least = word, d
		}
	}
	return best
}

// editDistance counts the bytes to insert, delete, replace or swap with their
// neighbour that lead from a to b (optimal string alignment).
func editDistance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, previous, row := rows[0], rows[1], rows[2]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(previous[j]+1, row[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		rows = [3][]int{previous, row, before}
	}
	return rows[1][len(b)]
}
