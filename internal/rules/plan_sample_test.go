package rules

import (
	"math/rand/v2"
	"regexp/syntax"
	"strings"
	"unicode"
	"unicode/utf8"
)

// sampler makes strings that a regular expression matches, but for its
// assertions, which it takes as empty. Matches are too rare among random
// strings to test a planner with.
type sampler struct{ rnd *rand.Rand }

func newSampler(seed uint64) sampler { return sampler{rand.New(rand.NewPCG(seed, 1))} }

func (s sampler) sample(re *syntax.Regexp) string {
	var b strings.Builder
	s.write(&b, re)
	return b.String()
}

func (s sampler) write(b *strings.Builder, re *syntax.Regexp) {
	const enough = 2000
	if b.Len() > enough {
		return
	}
	repeat := func(low, high int) {
		for range low + s.rnd.IntN(high-low+1) {
			s.write(b, re.Sub[0])
		}
	}
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if re.Flags&syntax.FoldCase != 0 {
				for range s.rnd.IntN(3) {
					r = unicode.SimpleFold(r)
				}
			}
			s.rune(b, r)
		}
	case syntax.OpCharClass:
		if len(re.Rune) > 0 {
			at := 2 * s.rnd.IntN(len(re.Rune)/2)
			s.rune(b, re.Rune[at]+s.rnd.Int32N(re.Rune[at+1]-re.Rune[at]+1))
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		s.rune(b, []rune{'a', '/', ' ', utf8.RuneError}[s.rnd.IntN(4)])
	case syntax.OpStar:
		repeat(0, 3)
	case syntax.OpPlus:
		repeat(1, 3)
	case syntax.OpQuest:
		repeat(0, 1)
	case syntax.OpRepeat:
		repeat(re.Min, max(re.Min+1, re.Max))
	case syntax.OpAlternate:
		s.write(b, re.Sub[s.rnd.IntN(len(re.Sub))])
	case syntax.OpConcat, syntax.OpCapture:
		for _, sub := range re.Sub {
			s.write(b, sub)
		}
	}
}

// rune writes U+FFFD as the invalid byte that reads as such, every other time.
func (s sampler) rune(b *strings.Builder, r rune) {
	if r == utf8.RuneError && s.rnd.IntN(2) == 0 {
		b.WriteByte(0xff)
		return
	}
	b.WriteRune(r)
}
