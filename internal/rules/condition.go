package rules

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// conditionWords are the words of conditions; no selection can have their name.
var conditionWords = []string{"and", "or", "not", "of", "all", "any", "them"}

// conditionParser reads a condition by recursive descent:
//
//	or      = and { "or" and }
//	and     = not { "and" not }
//	not     = "not" not | operand
//	operand = "(" or ")" | ( "1" | "any" | "all" ) "of" ( "them" | pattern ) | name
type conditionParser struct {
	r          *reader
	node       *yaml.Node
	words      []word
	depth      int
	selections []*selection
	unknown    bool // a name or pattern stood for no selection
}

type word struct {
	text   string
	offset int // in the condition; that of the end word is the condition's length
}

// condition reads a condition, and reports selections that it does not use.
func (r *reader) condition(n *yaml.Node, selections []*selection) expr {
	text, ok := r.text(n, "condition", maxCondition)
	if !ok {
		return nil
	}
	p := &conditionParser{r: r, node: n, words: splitWords(text), selections: selections}
	e, ok := p.or()
	if ok && p.peek() != "" {
		p.unexpected("and, or, or the end")
		ok = false
	}
	if !ok || p.unknown {
		// Which selections were meant to be used is not known.
		return nil
	}
	for _, s := range selections {
		if !s.used {
			r.errorf(s.key, "use it, or leave it out", "selection %s is not used by the condition", clip(s.name))
		}
	}
	return e
}

func splitWords(text string) []word {
	var words []word
	for i := 0; i < len(text); {
		end := i + 1
		switch {
		case strings.IndexByte(" \t\r\n", text[i]) >= 0:
			i++
			continue
		case text[i] != '(' && text[i] != ')':
			if n := strings.IndexAny(text[i:], "() \t\r\n"); n >= 0 {
				end = i + n
			} else {
				end = len(text)
			}
		}
		words = append(words, word{text[i:end], i})
		i = end
	}
	return append(words, word{"", len(text)})
}

// peek returns the next word, "" at the end.
func (p *conditionParser) peek() string { return p.words[0].text }

// take moves on if the next word is the given one.
func (p *conditionParser) take(text string) bool {
	if p.peek() != text {
		return false
	}
	p.words = p.words[1:]
	return true
}

func (p *conditionParser) errorf(at word, hint, format string, args ...any) {
	p.r.errorAt(p.r.posIn(p.node, at.offset), hint, format, args...)
}

func (p *conditionParser) unexpected(want string) {
	at := p.words[0]
	what, hint := fmt.Sprintf("%q", clip(at.text)), ""
	if at.text == "" {
		what = "the end"
	}
	if lower := strings.ToLower(at.text); lower != at.text && slices.Contains(conditionWords, lower) {
		hint = "write " + lower + " in lower case"
	}
	p.errorf(at, hint, "bad condition: want %s, not %s", want, what)
}

func (p *conditionParser) or() (expr, bool) {
	var alternatives disjunction
	for {
		e, ok := p.and()
		if !ok {
			return nil, false
		}
		alternatives = append(alternatives, e)
		if !p.take("or") {
			break
		}
	}
	if len(alternatives) == 1 {
		return alternatives[0], true
	}
	return alternatives, true
}

func (p *conditionParser) and() (expr, bool) {
	var all conjunction
	for {
		e, ok := p.not()
		if !ok {
			return nil, false
		}
		all = append(all, e)
		if !p.take("and") {
			break
		}
	}
	if len(all) == 1 {
		return all[0], true
	}
	return all, true
}

func (p *conditionParser) not() (expr, bool) {
	negated := false
	for p.take("not") {
		negated = !negated
	}
	e, ok := p.operand()
	if ok && negated {
		return negation{e}, true
	}
	return e, ok
}

func (p *conditionParser) operand() (expr, bool) {
	at := p.words[0]
	if p.take("(") {
		if p.depth++; p.depth > maxParentheses {
			p.errorf(at, "", "bad condition: parentheses are nested more than %d deep", maxParentheses)
			return nil, false
		}
		e, ok := p.or()
		if ok && !p.take(")") {
			p.unexpected("and, or, or )")
			return nil, false
		}
		p.depth--
		return e, ok
	}
	quantified := len(p.words) > 1 && p.words[1].text == "of"
	switch {
	case quantified && (at.text == "1" || at.text == "any" || at.text == "all"):
		p.words = p.words[2:]
		return p.quantifier(at.text == "all")
	case quantified:
		p.errorf(at, "1 of and all of are what there is", "bad condition: %s of is not supported", clip(at.text))
		return nil, false
	case at.text == "" || at.text == ")" || slices.Contains(conditionWords, at.text):
		p.unexpected("a selection")
		return nil, false
	}
	p.words = p.words[1:]
	return p.selection(at), true
}

// selection returns the selection that a word names. A name that is not known
// is reported, and the condition read on.
func (p *conditionParser) selection(at word) expr {
	names := make([]string, len(p.selections))
	for i, s := range p.selections {
		if names[i] = s.name; s.name == at.text {
			s.used = true
			return s.expr
		}
	}
	p.unknown = true
	hint := didYouMean(at.text, names)
	if strings.Contains(at.text, "*") {
		hint = fmt.Sprintf("write 1 of %s, or all of %s", clip(at.text), clip(at.text))
	}
	p.errorf(at, hint, "condition names an unknown selection %q", clip(at.text))
	return nil
}

// quantifier reads what follows "1 of" or "all of".
func (p *conditionParser) quantifier(all bool) (expr, bool) {
	at := p.words[0]
	if at.text != "them" && (at.text == "" || at.text == "(" || at.text == ")" || slices.Contains(conditionWords, at.text)) {
		p.unexpected("them, or the names of selections such as tool*")
		return nil, false
	}
	p.words = p.words[1:]
	pattern := strings.Split(at.text, "*")
	var operands []expr
	for _, s := range p.selections {
		if at.text == "them" || matchGlob(pattern, s.name) {
			s.used = true
			operands = append(operands, s.expr)
		}
	}
	switch {
	case len(operands) == 0:
		p.unknown = true
		names := make([]string, len(p.selections))
		for i, s := range p.selections {
			names[i] = s.name
		}
		p.errorf(at, didYouMean(at.text, names), "no selection has a name like %q", clip(at.text))
		return nil, true
	case len(operands) == 1:
		return operands[0], true
	case all:
		return conjunction(operands), true
	}
	return disjunction(operands), true
}

// ConditionWords lists the words of conditions.
func ConditionWords() []string { return conditionWords }
