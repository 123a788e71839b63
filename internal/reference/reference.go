// Package reference writes the reference of the rule language, docs/reference.md, from the tables that the parser, the
// planner and the loader go by.
package reference

import (
	_ "embed"
	"fmt"
	"strings"
	"text/template"

	"bittern/internal/event"
	"bittern/internal/rules"
)

//go:generate go run ./generate ../../docs/reference.md

//go:embed reference.md.tmpl
var text string

// Markdown returns the reference.
func Markdown() (string, error) {
	page, err := template.New("reference").Funcs(template.FuncMap{
		"keys":      keyTable,
		"classes":   classTable,
		"hooks":     hookTable,
		"fields":    fieldTable,
		"values":    valueLists,
		"modifiers": modifierTable,
		"kernel":    kernelTable,
		"limits":    limitTable,
	}).Parse(text)
	if err != nil {
		return "", fmt.Errorf("reading the template of the reference: %w", err)
	}
	var b strings.Builder
	err = page.Execute(&b, map[string]any{
		"Rule": rules.Keys(), "Emit": rules.EmitKeys(), "Exception": rules.ExceptionKeys(), "Limit": rules.LimitKeys(), "Match": rules.MatchKeys(), "Test": rules.TestKeys(), "Fields": event.Fields(),
	})
	if err != nil {
		return "", fmt.Errorf("writing the reference: %w", err)
	}
	return b.String(), nil
}

// table writes rows of Markdown under a head.
func table(head []string, rows [][]string) string {
	var b strings.Builder
	line := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line(head)
	b.WriteString(strings.Repeat("|---", len(head)) + "|\n")
	for _, row := range rows {
		line(row)
	}
	return strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "|  |", "| |")
}

// code puts a name between backticks.
func code(name string) string { return "`" + name + "`" }

// codes puts names between backticks, with commas.
func codes(names []string) string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = code(name)
	}
	return strings.Join(all, ", ")
}

// thousands writes a number with commas.
func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
