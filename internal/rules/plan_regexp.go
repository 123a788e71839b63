package rules

import (
	"regexp/syntax"
	"unicode"
	"unicode/utf8"

	"bittern/internal/event"
)

// regexpDemand finds texts that every value matched by a regular expression
// has. The idea: each part of the expression has a small set of strings that it
// matches, or strings that it starts and ends with; neighbours are put together
// as long as the sets stay small, and what can't be extended further is demanded.
func regexpDemand(field event.Field, tree *syntax.Regexp) demand {
	s := sketcher{fold: foldsLetters(tree)}
	found := s.sketch(tree)
	if found.impossible() {
		return demand{never: true}
	}
	if found.whole {
		d := anyPiece(field, s.fold, found.head)
		d.weak = (d.weak || found.loose) && !d.never
		return d
	}
	all := demand{weak: true}
	for _, set := range found.allNeeds() {
		d := anyPiece(field, s.fold, set)
		if d.never {
			return d
		}
		all.groups = append(all.groups, d.groups...)
	}
	return all
}

// foldsLetters reports whether the expression looks as if it ignores the case of
// letters somewhere: it has a class such as [kK].
func foldsLetters(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpLiteral:
		return re.Flags&syntax.FoldCase != 0
	case syntax.OpCharClass:
		for _, r := range classRunes(re.Rune) {
			if 'a' <= r && r <= 'z' && inClass(re.Rune, unicode.ToUpper(r)) {
				return true
			}
		}
	}
	for _, sub := range re.Sub {
		if foldsLetters(sub) {
			return true
		}
	}
	return false
}

// sketcher computes sketches. With fold, all texts are in lower case and stand
// for every case; a sketch is loose where the expression does not match them all.
type sketcher struct{ fold bool }

func (s sketcher) sketch(re *syntax.Regexp) sketch {
	switch re.Op {
	case syntax.OpNoMatch:
		return wholeSketch(nil, false)
	case syntax.OpEmptyMatch:
		return wholeSketch(anything(), false)
	case syntax.OpBeginText:
		return wholeSketch(pieces{{start: true}}, false)
	case syntax.OpEndText:
		return wholeSketch(pieces{{end: true}}, false)
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return wholeSketch(anything(), true) // of no width; what is beside it is left to user space
	case syntax.OpLiteral:
		return s.literal(re)
	case syntax.OpCharClass:
		return s.runes(classRunes(re.Rune))
	case syntax.OpCapture:
		return s.sketch(re.Sub[0])
	case syntax.OpPlus:
		return s.sketch(re.Sub[0]).repeated()
	case syntax.OpQuest:
		return s.sketch(re.Sub[0]).or(wholeSketch(anything(), false))
	case syntax.OpRepeat: // not in a simplified tree
		if re.Min > 0 {
			return s.sketch(re.Sub[0]).repeated()
		}
	case syntax.OpConcat:
		all := wholeSketch(anything(), false)
		for _, sub := range re.Sub {
			all = all.then(s.sketch(sub))
		}
		return all
	case syntax.OpAlternate:
		all := wholeSketch(nil, false)
		for _, sub := range re.Sub {
			all = all.or(s.sketch(sub))
		}
		return all
	}
	return unknownSketch() // any character, x*
}

func (s sketcher) literal(re *syntax.Regexp) sketch {
	all := wholeSketch(anything(), false)
	for _, r := range re.Rune {
		orbit := []rune{r}
		if re.Flags&syntax.FoldCase != 0 {
			for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
				orbit = append(orbit, other)
			}
		}
		all = all.then(s.runes(orbit))
	}
	return all
}

// runes returns the sketch of one character out of several; none stands for too
// many to tell.
func (s sketcher) runes(runes []rune) sketch {
	if len(runes) == 0 {
		return unknownSketch()
	}
	list := make([]piece, 0, len(runes))
	loose := false
	for _, r := range runes {
		// Each invalid byte of a value reads as U+FFFD; so would surrogates if they
		// were written out. NUL occurs in no value.
		if r == 0 || r == utf8.RuneError || !utf8.ValidRune(r) {
			return unknownSketch()
		}
		if s.fold && r < utf8.RuneSelf {
			lower := unicode.ToLower(r)
			loose = loose || !hasRune(runes, lower) || !hasRune(runes, unicode.ToUpper(r))
			r = lower
		}
		list = append(list, piece{text: string(r)})
	}
	return wholeSketch(newPieces(list...), loose)
}

func hasRune(runes []rune, r rune) bool {
	for _, have := range runes {
		if have == r {
			return true
		}
	}
	return false
}

// classRunes spells out a small class, given as pairs of first and last rune.
// It returns nil if there are more than maxClassRunes, an upper case letter
// beside its lower case one not counted.
func classRunes(class []rune) []rune {
	var runes []rune
	count := 0
	for i := 0; i+1 < len(class); i += 2 {
		if class[i+1]-class[i] > 2*maxClassRunes {
			return nil
		}
		for r := class[i]; r <= class[i+1]; r++ {
			runes = append(runes, r)
			if !('A' <= r && r <= 'Z' && inClass(class, r+'a'-'A')) {
				count++
			}
		}
		if count > maxClassRunes {
			return nil
		}
	}
	return runes
}

func inClass(class []rune, r rune) bool {
	for i := 0; i+1 < len(class); i += 2 {
		if class[i] <= r && r <= class[i+1] {
			return true
		}
	}
	return false
}
