package rulestest

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// maxOperand is the length above which a value is not put into a rule: texts
// just longer than a key of the kernel show the same, and can be read.
const maxOperand = 260

// Rule returns the text of a rule file with one rule for process_exec.
func (g *Generator) Rule(id string, version int) string {
	return g.RuleFor(id, version, event.ProcessExec)
}

// RuleFor returns the text of a rule file with one rule for a class, and the lists that it uses.
func (g *Generator) RuleFor(id string, version int, class event.Class) string {
	var b, lists strings.Builder
	shared := &sharer{id: id, to: &lists}
	fmt.Fprintf(&b, "rule_id: %s\nrule_version: %d\nname: random\napplies_to: [%s]\n", id, version, class)
	b.WriteString("emits:\n  - {tactic: TA0002, technique_id: T1059, confidence: 0.5}\nmatch:\n")
	var names []string
	fields := vocabularyOf(class)
	for i := range g.between(1, 5) {
		name := "s" + itoa(i)
		names = append(names, name)
		fmt.Fprintf(&b, "  %s:\n", name)
		g.fields(&b, "    ", fields, shared)
	}
	fmt.Fprintf(&b, "  condition: %s\n", g.condition(names))
	if g.oneIn(3) {
		b.WriteString("exceptions:\n")
		for i := range g.between(1, 2) {
			fmt.Fprintf(&b, "  - name: x%d\n    match:\n", i)
			g.fields(&b, "      ", fields, shared)
		}
	}
	if lists.Len() > 0 {
		return "lists:\n" + lists.String() + "---\n" + b.String()
	}
	return b.String()
}

// sharer makes lists of values, with names that no other rule's lists have.
type sharer struct {
	id    string
	to    *strings.Builder
	lists int
}

func (s *sharer) list(values []string) string {
	s.lists++
	name := fmt.Sprintf("%s-%d", s.id, s.lists)
	fmt.Fprintf(s.to, "  %s: [%s]\n", name, strings.Join(values, ", "))
	return fmt.Sprintf("{list: %s}", name)
}

// condition uses each of the names once.
func (g *Generator) condition(names []string) string {
	text := names[0]
	switch {
	case len(names) == 5 && g.oneIn(4):
		text = pick(g, []string{"1 of them", "all of s*", "1 of s*"})
	case len(names) > 1:
		at := g.between(1, len(names)-1)
		text = "(" + g.condition(names[:at]) + pick(g, []string{" and ", " or "}) + g.condition(names[at:]) + ")"
	}
	if g.oneIn(4) {
		return "not " + text
	}
	return text
}

// fields writes the body of one selection.
func (g *Generator) fields(b *strings.Builder, indent string, v vocabulary, shared *sharer) {
	seen := map[string]bool{}
	for range g.between(1, 2) {
		key, values := g.comparison(v)
		if seen[key] {
			continue
		}
		seen[key] = true
		switch at := g.between(0, len(values)-1); {
		case !g.oneIn(3):
			fmt.Fprintf(b, "%s%s: [%s]\n", indent, key, strings.Join(values, ", "))
		case at == 0:
			fmt.Fprintf(b, "%s%s: %s\n", indent, key, shared.list(values))
		default:
			fmt.Fprintf(b, "%s%s: [%s, %s]\n", indent, key, strings.Join(values[:at], ", "), shared.list(values[at:]))
		}
	}
}

func (g *Generator) comparison(v vocabulary) (key string, values []string) {
	n := 1
	if g.oneIn(2) {
		n = g.between(1, 4)
	}
	switch g.rnd.IntN(10) {
	case 0:
		field := pick(g, v.numbers)
		for range n {
			values = append(values, itoa(pick(g, numbersOf(field))))
			values = append(values, itoa(g.between(1, 4)))
		}
		return field.String(), values
	case 1:
		return pick(g, v.booleans).String(), []string{pick(g, []string{"true", "false"})}
	}
	field := pick(g, v.strings)
	how := pick(g, []string{"", "contains", "startswith", "endswith", "re", "glob"})
	if field.Info().Address && g.oneIn(2) {
		how = "cidr"
	}
	for range n {
		values = append(values, quote(g.operand(field, how)))
	}
	key = field.String()
	if how != "" && how != "glob" {
		key += "|" + how
	}
	if g.oneIn(4) {
		key += "|all"
	}
	if how != "cidr" && g.oneIn(3) {
		key += "|nocase"
	}
	return key, values
}

// operand returns a value or pattern that some events' values satisfy.
func (g *Generator) operand(f event.Field, how string) string {
	value := g.value(f)
	switch {
	case how == "cidr":
		return g.networkOf(value)
	case how == "" && (f.Info().Address || f.Info().Values != nil): // any other is an error
		return value
	}
	if len(value) > maxOperand {
		value = longText(g.between(rules.MaxKeyBytes-2, rules.MaxKeyBytes+4))
	}
	if g.oneIn(4) {
		value = g.swapCase(value)
	}
	before, part, after := g.cut(value)
	if part == "" || g.oneIn(4) {
		part = value
		before, after = "", ""
	}
	switch how {
	case "re":
		return g.pattern(value)
	case "glob":
		hole := pick(g, []string{"*", "?", "*?", "**"})
		head, _, tail := g.cut(after)
		p := pick(g, []string{
			escapeWildcards(before) + hole + escapeWildcards(after),
			escapeWildcards(part) + hole,
			hole + escapeWildcards(part),
			hole + escapeWildcards(part) + "*",
			escapeWildcards(before) + hole + escapeWildcards(head) + "*" + escapeWildcards(tail),
		})
		if strings.Trim(p, "*") == "" { // says nothing
			return "?*"
		}
		return p
	case "contains":
		if g.oneIn(2) { // as short as a gram
			runes := []rune(part)
			part = string(runes[:min(len(runes), g.between(1, 4))])
		}
		return orSome(escapeWildcards(part))
	case "startswith":
		return orSome(escapeWildcards(before + part))
	case "endswith":
		return orSome(escapeWildcards(part + after))
	}
	return escapeWildcards(value)
}

// orSome replaces texts that rules may not have because they say nothing.
func orSome(s string) string {
	if strings.Trim(s, "*") == "" {
		return "a"
	}
	return s
}

func escapeWildcards(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(s)
}

// pattern returns a regular expression, one that matches the value or one of
// the grammar below.
func (g *Generator) pattern(value string) string {
	var p string
	if g.oneIn(3) {
		p = g.expression(3)
	} else {
		before, part, after := g.cut(value)
		p = g.loosen(part)
		if before == "" || g.oneIn(8) {
			p = pick(g, []string{"^", `\A`, "(?:^|x)", ""}) + p
		}
		if after == "" || g.oneIn(8) {
			p += pick(g, []string{"$", `\z`, "(?:$|x)", ""})
		}
	}
	if g.oneIn(3) {
		p = pick(g, []string{"(?i)", "(?m)", "(?s)", "(?is)"}) + p
	}
	if p == "" {
		return "a"
	}
	return p
}

// loosen returns an expression that matches the text, and others.
func (g *Generator) loosen(text string) string {
	var b strings.Builder
	for _, r := range text {
		s := regexp.QuoteMeta(string(r))
		switch g.rnd.IntN(24) {
		case 0:
			s = "."
		case 1:
			s += "?"
		case 2:
			s += "+"
		case 3:
			s = "(?:" + s + "|b)"
		case 4:
			s = "(?i:" + s + ")"
		case 5:
			s = `\b` + s
		case 6:
			s += ".*"
		case 7:
			s = "(" + s + "){1,2}"
		}
		if b.Len()+len(s) > 1000 {
			break
		}
		b.WriteString(s)
	}
	return b.String()
}

// expression draws from a grammar over a few letters.
func (g *Generator) expression(depth int) string {
	if depth == 0 || g.oneIn(4) {
		return pick(g, []string{
			"a", "b", "ab", "k", "s", "curl", "sh", "/", " ", "-c", "http", ".", "[ab]", "[a-c]", "[^a]", `\d`, `\w`, `\s`, `\b`, `\B`,
			"^", "$", `\A`, `\z`, "(?i:k)", "(?i:sh)", "(?i:caf\u00e9)", "\u00e9", "\u212a", "(?:)", `\x{fffd}`, "[kK]", "[Ss]", "[\u212ak]",
			"(?m:^)", "(?m:$)", "(?s:.)", "https?://",
		})
	}
	switch g.rnd.IntN(7) {
	case 0:
		return "(?:" + g.expression(depth-1) + "|" + g.expression(depth-1) + ")"
	case 1:
		return "(?:" + g.expression(depth-1) + ")" + pick(g, []string{"*", "+", "?", "*?", "{2}", "{0,2}", "{1,3}"})
	case 2:
		return "(?i:" + g.expression(depth-1) + ")"
	case 3:
		return "(" + g.expression(depth-1) + ")"
	}
	return g.expression(depth-1) + g.expression(depth-1)
}

// quote returns s as a double-quoted YAML scalar.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
