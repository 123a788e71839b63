package rules

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// textWidth is the column after which a list of keys goes on in the next line.
const textWidth = 110

// String describes the plan for people: what the kernel looks for, and what is
// left to user space. It is the same for the same plan.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, %s\n", p.Class, count(len(p.Clauses), "clause"), p.verdict())
	for i, c := range p.Clauses {
		fmt.Fprintf(&b, "  clause %d\n", i+1)
		if len(c.Groups) == 0 {
			fmt.Fprintf(&b, "    every %s event\n", p.Class)
		}
		for _, g := range c.Groups {
			g.write(&b, "    ")
		}
		if len(c.Not) > 0 {
			Group(c.Not).write(&b, "    not ")
		}
	}
	if len(p.Notes) > 0 {
		b.WriteString("  left to user space:\n")
	}
	for _, n := range p.Notes {
		b.WriteString("    ")
		if at := n.Pos.String(); at != "" {
			b.WriteString(at + " ")
		}
		fmt.Fprintf(&b, "%s: %s\n", n.Literal, n.Reason)
	}
	return b.String()
}

func (p *Plan) verdict() string {
	switch {
	case len(p.Clauses) == 0:
		return "no event can match"
	case p.Exact:
		return "decided in the kernel"
	case p.Narrowed():
		return "narrowed in the kernel, decided in user space"
	}
	return "not narrowed in the kernel, decided in user space"
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// groupText is how many keys a group's String has at most.
const groupText = 8

// String lists the keys as the plan's text does, in one line; of many, only the first.
func (g Group) String() string {
	var b strings.Builder
	for i, k := range g[:min(len(g), groupText)] {
		if i > 0 {
			b.WriteString(" | ")
		}
		if i == 0 || g[i-1].Field != k.Field {
			b.WriteString(k.Field.String() + ": ")
		}
		b.WriteString(k.test())
	}
	if more := len(g) - groupText; more > 0 {
		fmt.Fprintf(&b, " | and %d more", more)
	}
	return b.String()
}

// textKeys is how many keys of a group are printed.
const textKeys = 200

// write prints the keys as alternatives, the field before the first key of each
// field, wrapped at textWidth.
func (g Group) write(b *strings.Builder, indent string) {
	further := strings.Repeat(" ", len(indent)+2)
	b.WriteString(indent)
	column := len(indent)
	for i, k := range g {
		if i == textKeys {
			fmt.Fprintf(b, "\n%s| and %d more", further, len(g)-i)
			break
		}
		word := k.test()
		if i == 0 || g[i-1].Field != k.Field {
			word = k.Field.String() + ": " + word
		}
		width := utf8.RuneCountInString(word)
		switch {
		case i == 0:
			b.WriteString(word)
			column += width
		case column+len(" | ")+width > textWidth:
			b.WriteString("\n" + further + "| " + word)
			column = len(further) + len("| ") + width
		default:
			b.WriteString(" | " + word)
			column += len(" | ") + width
		}
	}
	b.WriteByte('\n')
}
