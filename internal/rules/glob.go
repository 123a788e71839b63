package rules

import (
	"slices"
	"strings"
)

// wildcardText is a value of a rule file with its wildcards told apart from
// literal bytes: the parts between its "*", with globAny for "?".
type wildcardText []string

// parseWildcards splits a value at its "*". Backslashes count only right before
// a "*" or "?": each pair of them is one literal backslash, and one left over
// makes the wildcard literal. Anywhere else a backslash stands for itself.
func parseWildcards(value string) wildcardText {
	var parts wildcardText
	var part strings.Builder
	for i := 0; i < len(value); i++ {
		switch c := value[i]; c {
		case '*':
			parts = append(parts, part.String())
			part.Reset()
		case '?':
			part.WriteByte(globAny)
		case '\\':
			end := i
			for end < len(value) && value[end] == '\\' {
				end++
			}
			n := end - i
			if end == len(value) || (value[end] != '*' && value[end] != '?') {
				part.WriteString(value[i:end])
			} else {
				part.WriteString(value[i : i+n/2])
				if n%2 == 1 {
					part.WriteByte(value[end])
					end++
				}
			}
			i = end - 1
		default:
			part.WriteByte(c)
		}
	}
	return append(parts, part.String())
}

// normalise returns the simplest operator that means the same, with its text or
// glob. A text that matches everything comes back as opContains of "".
func (w wildcardText) normalise() (op operator, text string, glob []string) {
	last := len(w) - 1
	// "**" is "*": empty parts count at the two ends only.
	glob = slices.Clone(w[:1])
	for i := 1; i <= last; i++ {
		if w[i] != "" || i == last {
			glob = append(glob, w[i])
		}
	}
	last = len(glob) - 1
	if slices.ContainsFunc(glob, func(part string) bool { return strings.IndexByte(part, globAny) >= 0 }) {
		return opGlob, "", glob
	}
	switch {
	case last == 0:
		return opEquals, glob[0], nil
	case last == 1 && glob[1] == "" && glob[0] == "":
		return opContains, "", nil
	case last == 1 && glob[1] == "":
		return opStartsWith, glob[0], nil
	case last == 1 && glob[0] == "":
		return opEndsWith, glob[1], nil
	case last == 2 && glob[0] == "" && glob[2] == "":
		return opContains, glob[1], nil
	}
	return opGlob, "", glob
}

// matchGlob reports whether the whole value is the parts in their order with
// anything between them. Taking each part where it first fits is enough: a later
// place never helps the parts after it. So the time is at most that of one
// search for each part.
func matchGlob(parts []string, value string) bool {
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return len(value) == len(first) && matchPart(first, value)
	}
	if len(value) < len(first)+len(last) ||
		!matchPart(first, value) || !matchPart(last, value[len(value)-len(last):]) {
		return false
	}
	value = value[len(first) : len(value)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		at := indexPart(value, part)
		if at < 0 {
			return false
		}
		value = value[at+len(part):]
	}
	return true
}

// matchPart reports whether value, at least as long as part, starts with it.
func matchPart(part, value string) bool {
	for i := range len(part) {
		if part[i] != globAny && part[i] != value[i] {
			return false
		}
	}
	return true
}

func indexPart(value, part string) int {
	if strings.IndexByte(part, globAny) < 0 {
		return strings.Index(value, part)
	}
	for at := 0; at+len(part) <= len(value); at++ {
		if matchPart(part, value[at:]) {
			return at
		}
	}
	return -1
}
