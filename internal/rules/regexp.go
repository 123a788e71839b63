package rules

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"gopkg.in/yaml.v3"
)

// regexp compiles a value of modifier re.
func (r *reader) regexp(l *literal, n *yaml.Node) expr {
	if n.Value == "" {
		r.errorf(n, "leave the key out", "an empty regular expression matches every value of %s", l.field)
		return nil
	}
	var err error
	var bad *syntax.Error
	l.op = opRegexp
	l.re, l.syntax, err = compileRegexp(n.Value, l.fold)
	l.fold = false // it is in the tree
	switch {
	case errors.As(err, &bad):
		at := r.pos(n)
		if i := strings.Index(n.Value, bad.Expr); i >= 0 && bad.Expr != "" {
			at = r.posIn(n, i)
		}
		r.errorAt(at, regexpHint(bad), "bad regular expression: %s: %s", bad.Code, clip(bad.Expr))
		return nil
	case err != nil:
		r.errorf(n, "use smaller repetitions, or several patterns", "bad regular expression: %s", err)
		return nil
	}
	return l
}

func regexpHint(err *syntax.Error) string {
	switch err.Code {
	case syntax.ErrInvalidPerlOp:
		return "patterns have Go's RE2 syntax, without look-around: use a second selection with not"
	case syntax.ErrInvalidEscape:
		return `patterns have Go's RE2 syntax, without back-references; a literal backslash is \\`
	case syntax.ErrInvalidRepeatSize:
		return fmt.Sprintf("the least comes before the most, and at most %d, all repetitions around it multiplied", maxRepetitions)
	case syntax.ErrMissingRepeatArgument:
		return `a pattern is a regular expression and no wildcard: for any text write .*`
	}
	return "patterns have Go's RE2 syntax"
}

// compileRegexp compiles a pattern so that (?i) folds ASCII letters only. fold
// is (?i) for the whole pattern. tree is what re matches, simplified; it has no
// case-insensitive literals.
//
// A pattern that spells U+017F (long s) or U+212A (kelvin sign) itself keeps
// the Unicode folding of that letter: the parser leaves no trace of which of
// the letters of a folding was written.
func compileRegexp(pattern string, fold bool) (re *regexp.Regexp, tree *syntax.Regexp, err error) {
	flags := syntax.Perl
	if fold {
		flags |= syntax.FoldCase
	}
	tree, err = syntax.Parse(pattern, flags)
	if err != nil {
		return nil, nil, err
	}
	if size := programSize(tree); size > maxInstructions {
		return nil, nil, fmt.Errorf("it compiles to %d instructions, the limit is %d", size, maxInstructions)
	}
	f := folder{}
	for _, letter := range []strayLetter{longS, kelvin} {
		if !letter.writtenIn(pattern) {
			f.strays = append(f.strays, letter)
		}
	}
	tree = f.rewrite(tree)
	// Not the simplified tree: a{0,1000} nests deeper there than may be parsed.
	re, err = regexp.Compile(tree.String())
	if err != nil {
		return nil, nil, fmt.Errorf("compiling it with ASCII folding: %w", err)
	}
	return re, tree.Simplify(), nil
}

// strayLetter is a letter beyond ASCII that Unicode folds to an ASCII one.
type strayLetter struct {
	stray, upper, lower rune
	octal               string
}

var (
	longS  = strayLetter{stray: 'ſ', upper: 'S', lower: 's', octal: `\577`}
	kelvin = strayLetter{stray: '\u212a', upper: 'K', lower: 'k'}
)

func (s strayLetter) writtenIn(pattern string) bool {
	return strings.ContainsRune(pattern, s.stray) ||
		strings.Contains(strings.ToLower(pattern), strconv.FormatInt(int64(s.stray), 16)+"}") ||
		(s.octal != "" && strings.Contains(pattern, s.octal))
}

// folder rewrites a parsed pattern so that folding is explicit and ASCII-only.
type folder struct{ strays []strayLetter }

func (f folder) rewrite(re *syntax.Regexp) *syntax.Regexp {
	switch {
	case re.Op == syntax.OpCharClass:
		class := slices.Clone(re.Rune)
		for _, s := range f.strays {
			class = dropStray(class, s)
		}
		return &syntax.Regexp{Op: syntax.OpCharClass, Flags: re.Flags &^ syntax.FoldCase, Rune: class}
	case re.Op == syntax.OpLiteral && re.Flags&syntax.FoldCase != 0:
		return f.literal(re)
	}
	out := *re
	out.Sub = make([]*syntax.Regexp, len(re.Sub))
	for i, sub := range re.Sub {
		out.Sub[i] = f.rewrite(sub)
	}
	return &out
}

// literal turns a case-insensitive literal into a concatenation of classes.
func (f folder) literal(re *syntax.Regexp) *syntax.Regexp {
	flags := re.Flags &^ syntax.FoldCase
	concat := &syntax.Regexp{Op: syntax.OpConcat, Flags: flags}
	for _, r := range re.Rune {
		orbit := []rune{r}
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			if !slices.ContainsFunc(f.strays, func(s strayLetter) bool { return s.stray == other }) {
				orbit = append(orbit, other)
			}
		}
		slices.Sort(orbit)
		sub := &syntax.Regexp{Op: syntax.OpLiteral, Flags: flags, Rune: orbit}
		if len(orbit) > 1 {
			class := make([]rune, 0, 2*len(orbit))
			for _, o := range orbit {
				class = append(class, o, o)
			}
			sub = &syntax.Regexp{Op: syntax.OpCharClass, Flags: flags, Rune: class}
		}
		concat.Sub = append(concat.Sub, sub)
	}
	if len(concat.Sub) == 1 {
		return concat.Sub[0]
	}
	return concat
}

// dropStray takes back what the parser's folding did to a class: a stray that
// is in it alone with its ASCII letters is taken out, and one that a negated
// class leaves out alone with them is put back. Ranges that go past the stray on
// both sides were written, and stay.
func dropStray(class []rune, s strayLetter) []rune {
	in := func(r rune) bool {
		for i := 0; i < len(class); i += 2 {
			if class[i] <= r && r <= class[i+1] {
				return true
			}
		}
		return false
	}
	has := in(s.stray)
	if in(s.upper) != has || in(s.lower) != has || in(s.stray-1) == has || in(s.stray+1) == has {
		return class
	}
	out := make([]rune, 0, len(class))
	for i := 0; i < len(class); i += 2 {
		lo, hi := class[i], class[i+1]
		switch {
		case has && lo == s.stray:
			continue
		case !has && hi == s.stray-1:
			hi = class[i+3]
			i += 2
		}
		out = append(out, lo, hi)
	}
	return out
}

// programSize estimates how many instructions a pattern compiles to, without
// expanding its repetitions. Wide classes count more, since matching searches
// them.
func programSize(re *syntax.Regexp) int {
	size := 1
	switch re.Op {
	case syntax.OpLiteral:
		size = len(re.Rune)
	case syntax.OpCharClass:
		size = 1 + len(re.Rune)/64
	}
	for _, sub := range re.Sub {
		size += programSize(sub)
	}
	if re.Op == syntax.OpRepeat {
		size *= max(re.Min, re.Max, 1)
	}
	return size
}
