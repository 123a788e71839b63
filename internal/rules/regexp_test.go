package rules

import (
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"testing"
	"unicode"
)

func TestRegexpFolding(t *testing.T) {
	tests := []struct {
		pattern string
		fold    bool
		match   []string
		not     []string
	}{
		{pattern: `(?i)k`, match: []string{"k", "K"}, not: []string{"\u212a"}},
		{pattern: `(?i)s`, match: []string{"s", "S"}, not: []string{"ſ"}},
		{pattern: `task`, fold: true, match: []string{"TASK", "tAsK"}, not: []string{"taſk", "tas\u212a"}},
		{pattern: `(?i)[k]`, match: []string{"k", "K"}, not: []string{"\u212a"}},
		{pattern: `(?i)[a-z]`, match: []string{"k", "S"}, not: []string{"\u212a", "ſ"}},
		{pattern: `(?i)^[^k]$`, match: []string{"\u212a", "a", "ſ"}, not: []string{"k", "K"}},
		{pattern: `(?i)^[^a-z]$`, match: []string{"\u212a", "ſ", "1"}, not: []string{"k", "S"}},
		{pattern: `(?i)^\w$`, match: []string{"k", "S", "_"}, not: []string{"\u212a", "ſ"}},
		{pattern: `(?i)^\W$`, match: []string{"\u212a", "ſ", "-"}, not: []string{"k", "S", "_"}},
		{pattern: `(?i)k|x`, match: []string{"K", "X"}, not: []string{"\u212a"}},
		{pattern: `k(?i:k)k`, match: []string{"kKk"}, not: []string{"KKk", "k\u212ak"}},
		{pattern: `(?i)k(?-i)k`, match: []string{"Kk"}, not: []string{"KK"}},
		{pattern: `(?i)straße`, match: []string{"STRAßE", "straẞe"}, not: []string{"strasse"}},
		{pattern: `(?i)δ`, match: []string{"Δ", "δ"}, not: []string{"d"}},
		{pattern: `(?i)[\x{212a}]`, match: []string{"\u212a", "k"}},
		{pattern: "(?i)\u212a", match: []string{"\u212a", "k"}},
		{pattern: `(?i)\577`, match: []string{"ſ", "s"}},
		{pattern: `[^k]`, match: []string{"K", "\u212a"}, not: []string{"k"}},
		{pattern: `(?i)(a|k)+?$`, match: []string{"AkA"}, not: []string{"\u212a"}},
		{pattern: `(?im)^k$`, match: []string{"x\nK\ny"}, not: []string{"x\n\u212a\ny"}},
		{pattern: `(?is)a.k`, match: []string{"A\nK"}},
		{pattern: `(?i)a.k`, match: []string{"A-K", "a\xffk"}, not: []string{"A\nK"}},
		{pattern: `a{2,3}`, fold: true, match: []string{"AaA"}, not: []string{"a"}},
		{pattern: `\Qa.k\E`, fold: true, match: []string{"A.K"}, not: []string{"a-k"}},
	}
	for _, tt := range tests {
		re, tree, err := compileRegexp(tt.pattern, tt.fold)
		if err != nil {
			t.Errorf("%s: %v", tt.pattern, err)
			continue
		}
		for _, s := range tt.match {
			if !re.MatchString(s) {
				t.Errorf("%s should match %q; tree is %s", tt.pattern, s, tree)
			}
		}
		for _, s := range tt.not {
			if re.MatchString(s) {
				t.Errorf("%s should not match %q; tree is %s", tt.pattern, s, tree)
			}
		}
		if folds(tree) {
			t.Errorf("%s: tree %s has folded literals", tt.pattern, tree)
		}
	}
}

func folds(re *syntax.Regexp) bool {
	return (re.Op == syntax.OpLiteral && re.Flags&syntax.FoldCase != 0) || slices.ContainsFunc(re.Sub, folds)
}

// Without (?i), no class may change: not those of Unicode either, in which the
// strays and their ASCII letters are in their own right.
func TestClassesWithoutFoldingStay(t *testing.T) {
	names := slices.Concat(slices.Collect(maps.Keys(unicode.Categories)), slices.Collect(maps.Keys(unicode.Scripts)))
	patterns := []string{`\w`, `\W`, `\s`, `\S`, `[[:alpha:]]`, `[[:^alpha:]]`, `[a-z]`, `[^a-z]`, `[^\x00-\x7f]`, `[\x00-\x{212a}]`, `.`}
	for _, name := range names {
		patterns = append(patterns, `\p{`+name+`}`, `\P{`+name+`}`)
	}
	for _, pattern := range patterns {
		plain, err := syntax.Parse(pattern, syntax.Perl)
		if err != nil {
			continue // a category that the regexp package leaves out
		}
		_, tree, err := compileRegexp(pattern, false)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
		} else if !slices.Equal(tree.Rune, plain.Simplify().Rune) {
			t.Errorf("%s: class changed", pattern)
		}
	}
}

func TestRegexpSize(t *testing.T) {
	for _, pattern := range []string{strings.Repeat("a", maxInstructions+1), `(abcdefgh){900}`, `(\pL\pN){0,900}`} {
		if _, _, err := compileRegexp(pattern, false); err == nil || !strings.Contains(err.Error(), "the limit is 4096") {
			t.Errorf("%s: have error %v", clip(pattern), err)
		}
	}
	if _, _, err := compileRegexp(`^.{0,1000}\w+$`, true); err != nil {
		t.Error(err)
	}
}

// FuzzRegexp compares with the regexp package, which is to agree on ASCII.
func FuzzRegexp(f *testing.F) {
	for _, seed := range [][2]string{
		{`(?i)\b(wget|curl)\s+.*https?://`, "CURL http://x"}, {`(?i)[^k-s]$`, "K"}, {`(?i:a|K)b?`, "kB"}, {`(?U)a+?$`, "aa"}, {`(?m)^$`, "a\n"},
		{`(?i)[[:^upper:]]\D\w{2,3}`, "abcD1"}, {`\x{212a}|(?i)k\z`, "k"}, {`(a*)*|b**`, "b"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, value string) {
		if len(pattern) > 200 || strings.ContainsFunc(value, func(r rune) bool { return r >= 0x80 }) {
			t.Skip()
		}
		re, tree, err := compileRegexp(pattern, false)
		plain, plainErr := regexp.Compile(pattern)
		if err != nil {
			if plainErr == nil && !strings.Contains(err.Error(), "the limit is") {
				t.Errorf("%q: %v", pattern, err)
			}
			return
		}
		if plainErr != nil {
			t.Fatalf("%q: should be refused: %v", pattern, plainErr)
		}
		if have, want := re.MatchString(value), plain.MatchString(value); have != want {
			t.Errorf("%q on %q: have %v, want %v; tree is %s", pattern, value, have, want, tree)
		}
		if folds(tree) {
			t.Errorf("%q: tree %s has folded literals", pattern, tree)
		}
	})
}
