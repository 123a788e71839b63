package reference

import (
	"fmt"
	"slices"
	"strings"

	"bittern/internal/event"
	"bittern/internal/loader"
	"bittern/internal/rules"
)

func keyTable(keys []rules.KeyInfo) string {
	var rows [][]string
	for _, k := range keys {
		kind := string(k.Type)
		if k.Type == rules.TypeSeverity {
			var names []string
			for _, s := range rules.Severities() {
				names = append(names, string(s))
			}
			kind = codes(names)
		}
		if k.Most > 0 {
			kind += ", at most " + thousands(k.Most) + " bytes"
			if k.Type == rules.TypeTexts {
				kind += " each"
			}
		}
		required := ""
		if k.Required {
			required = "yes"
		}
		rows = append(rows, []string{code(k.Name), required, kind, k.Doc})
	}
	return table([]string{"key", "required", "value", "what it is"}, rows)
}

func classTable() string {
	var rows [][]string
	for _, c := range event.Classes() {
		name := code(c.String())
		if alias := c.Info().Alias; alias != "" {
			name += ", also " + code(alias)
		}
		rows = append(rows, []string{name, c.Info().Doc})
	}
	return table([]string{"class", "fires when"}, rows)
}

func hookTable() string {
	var rows [][]string
	for _, c := range event.Classes() {
		name := code(c.String())
		for _, h := range loader.HookChoices(c) {
			misses := h.Misses
			if len(h.Without) > 0 {
				misses = strings.TrimPrefix(misses+"; where the kernel has no hook for it: "+strings.Join(h.Without, "; "), "; ")
			}
			hook := strings.ReplaceAll(codes(strings.Split(h.Name, ", ")), " and others`", "` and others")
			rows = append(rows, []string{name, hook, h.Least, misses})
			name = ""
		}
	}
	return table([]string{"class", "hook", "Linux", "what it misses, or costs"}, rows)
}

func fieldTable() string {
	all := event.Fields()
	slices.SortStableFunc(all, func(a, b event.FieldInfo) int {
		return len(b.Classes)/len(event.Classes()) - len(a.Classes)/len(event.Classes())
	})
	var rows [][]string
	for _, f := range all { // those of all classes first
		name := code(f.Name)
		if f.Alias != "" {
			name += ", also " + code(f.Alias)
		}
		classes := "all"
		if len(f.Classes) < len(event.Classes()) {
			var names []string
			for _, c := range f.Classes {
				names = append(names, c.String())
			}
			classes = codes(names)
		}
		rows = append(rows, []string{name, kindOf(f), classes, decidedOf(f), f.Doc})
	}
	return table([]string{"field", "type", "classes", "the kernel decides", "what it is"}, rows)
}

// kindOf names the type of a field.
func kindOf(f event.FieldInfo) string {
	kind := f.Kind.String()
	switch {
	case f.Address:
		kind = "address"
	case f.Values != nil:
		kind = fmt.Sprintf("[name](#%s)", anchor(f))
	}
	if f.Many {
		kind += ", many"
	}
	return kind
}

// anchor is that of the heading of a field's values.
func anchor(f event.FieldInfo) string { return strings.ReplaceAll(f.Name, ".", "") }

// valueLists lists the values of each field that is enumerated.
func valueLists() string {
	var parts []string
	for _, f := range event.Fields() {
		if f.Values == nil {
			continue
		}
		part := "### " + code(f.Name) + "\n\n" + wrapped(codes(f.Values)+".")
		if f.ValueDocs != nil {
			var rows [][]string
			for i, value := range f.Values {
				doc, carried, _ := strings.Cut(f.ValueDocs[i], ": `")
				rows = append(rows, []string{code(value), doc, "`" + carried})
			}
			part = "### " + code(f.Name) + "\n\n" + table([]string{"value", "what it is", "fields beside `process.*` and `user.*`"}, rows)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "\n\n")
}

// wrapped breaks a text into lines.
func wrapped(text string) string {
	const width = 120
	var b strings.Builder
	column := 0
	for i, word := range strings.Fields(text) {
		switch {
		case i > 0 && column+1+len(word) > width:
			b.WriteByte('\n')
			column = 0
		case i > 0:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}

func modifierTable() string {
	var rows [][]string
	for _, m := range rules.Modifiers() {
		takes := "string"
		if m.Address {
			takes = "address"
		}
		excludes := ""
		if m.Way {
			var others []string
			for _, o := range rules.Modifiers() {
				if o.Way && o.Name != m.Name {
					others = append(others, o.Name)
				}
			}
			excludes = codes(others)
		}
		rows = append(rows, []string{code(m.Name), takes, m.Doc, excludes})
	}
	return table([]string{"modifier", "type of field", "meaning", "not with"}, rows)
}

func limitTable() string {
	var rows [][]string
	for _, l := range rules.Bounds() {
		rows = append(rows, []string{l.What, strings.TrimSpace(thousands(l.Most) + " " + l.Unit)})
	}
	return table([]string{"what", "at most"}, rows)
}
