package rules

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestWildcards(t *testing.T) {
	const q = string(globAny)
	tests := []struct {
		value string
		op    operator
		text  string
		glob  []string
	}{
		{"", opEquals, "", nil},
		{"abc", opEquals, "abc", nil},
		{"abc*", opStartsWith, "abc", nil},
		{"*abc", opEndsWith, "abc", nil},
		{"*abc*", opContains, "abc", nil},
		{"**abc***", opContains, "abc", nil},
		{"*", opContains, "", nil},
		{"***", opContains, "", nil},
		{"a*b", opGlob, "", []string{"a", "b"}},
		{"a**b", opGlob, "", []string{"a", "b"}},
		{"*a*b*", opGlob, "", []string{"", "a", "b", ""}},
		{"?", opGlob, "", []string{q}},
		{"a?c", opGlob, "", []string{"a" + q + "c"}},
		{"?*", opGlob, "", []string{q, ""}},
		{`\*`, opEquals, "*", nil},
		{`a\?`, opEquals, "a?", nil},
		{`\*a*`, opStartsWith, "*a", nil},
		{`a\`, opEquals, `a\`, nil},
		{`a\b`, opEquals, `a\b`, nil},
		{`a\\b`, opEquals, `a\\b`, nil},      // no wildcard follows: both stay
		{`a\\*`, opStartsWith, `a\`, nil},    // an escaped backslash and a wildcard
		{`a\\\*`, opEquals, `a\*`, nil},      // an escaped backslash and an escaped star
		{`a\\\\*`, opStartsWith, `a\\`, nil}, // two escaped backslashes
		{`\\?`, opGlob, "", []string{`\` + q}},
	}
	for _, tt := range tests {
		op, text, glob := parseWildcards(tt.value).normalise()
		if op != tt.op || text != tt.text || !slices.Equal(glob, tt.glob) {
			t.Errorf("%q: have operator %d, text %q, glob %q, want %d, %q, %q", tt.value, op, text, glob, tt.op, tt.text, tt.glob)
		}
	}
}

func TestMatchGlob(t *testing.T) {
	tests := []struct {
		pattern, value string
		want           bool
	}{
		{"a*b", "ab", true},
		{"a*b", "a-b", true},
		{"a*b", "a", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"a*ab*b", "aabb", true},
		{"a*ab*b", "aab", false},
		{"*a*b*", "xbya", false},
		{"*a*b*", "xayb", true},
		{"a?c", "abc", true},
		{"a?c", "ac", false},
		{"a?c", "abbc", false},
		{"?", "\xff", true},
		{"?", "é", false},
		{"??", "é", true},
		{"*.?", "x.c", true},
		{"*b?d*", "abbcbxd", true},
		{"*b?d*", "abbcbxx", false},
		{"*?", "", false},
	}
	for _, tt := range tests {
		_, _, glob := parseWildcards(tt.pattern).normalise()
		if have := matchGlob(glob, tt.value); have != tt.want {
			t.Errorf("%q on %q: have %v, want %v", tt.pattern, tt.value, have, tt.want)
		}
	}
}

// A backtracking matcher would need more than the age of the universe.
func TestMatchGlobIsNotExponential(t *testing.T) {
	_, _, glob := parseWildcards(strings.Repeat("a*", 100) + "b").normalise()
	if matchGlob(glob, strings.Repeat("a", 4096)) {
		t.Error("matched")
	}
}

// globRegexp translates a value with wildcards to a regular expression on its
// own, for comparison.
func globRegexp(t *testing.T, value string) *regexp.Regexp {
	t.Helper()
	unit := regexp.MustCompile(`(\\\\)*(\\[*?]|[*?])|[^\\*?]|\\+`)
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for _, u := range unit.FindAllString(value, -1) {
		before, wildcard := u[:len(u)-1], u[len(u)-1]
		switch {
		case wildcard != '*' && wildcard != '?':
			b.WriteString(regexp.QuoteMeta(u))
			continue
		case len(before)%2 == 1:
			b.WriteString(before[1:] + `\` + string(wildcard))
			continue
		}
		b.WriteString(before)
		if wildcard == '?' {
			b.WriteString(".")
		} else {
			b.WriteString(".*")
		}
	}
	b.WriteString(`\z`)
	re, err := regexp.Compile(b.String())
	if err != nil {
		t.Fatal(err)
	}
	return re
}

func FuzzGlob(f *testing.F) {
	for _, seed := range [][2]string{
		{"a*b", "aab"}, {"*a?c*", "xabcx"}, {`\*a\\*`, `*a\b`}, {"a?", "ab"}, {"**", ""}, {"*aab*aab", "aaabaab"}, {`a\\b`, `a\\b`}, {`\\\`, `\\\`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, value string) {
		// The regular expression goes by runes and the matcher by bytes: with
		// ASCII they are the same.
		for _, s := range []string{pattern, value} {
			if strings.ContainsFunc(s, func(r rune) bool { return r == 0 || r >= 0x80 }) {
				t.Skip()
			}
		}
		l := &literal{}
		l.op, l.text, l.glob = parseWildcards(pattern).normalise()
		want := globRegexp(t, pattern).MatchString(value)
		if have := l.holds(value); have != want {
			t.Errorf("%q on %q: have %v, want %v", pattern, value, have, want)
		}
		l.op, l.text, l.glob = parseWildcards(lowerASCII(pattern)).normalise()
		l.fold = true
		want = globRegexp(t, strings.ToLower(pattern)).MatchString(strings.ToLower(value))
		if have := l.holds(value); have != want {
			t.Errorf("%q on %q without case: have %v, want %v", pattern, value, have, want)
		}
	})
}
