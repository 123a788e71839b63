package reference

import (
	"fmt"
	"strings"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// decision is what the kernel makes of a comparison.
type decision uint8

const (
	exact    decision = iota // it decides it
	superset                 // it leaves out most events that don't satisfy it
	nothing                  // it leaves none out
)

func (d decision) String() string { return [...]string{"exactly", "a superset", "nothing"}[d] }

// planned asks the planner what the kernel makes of a comparison, and why if that is not all.
func planned(class event.Class, comparison string) (decision, string) {
	text := fmt.Sprintf("rule_id: R\nrule_version: 1\nname: n\napplies_to: [%s]\nemits: [{tactic: TA0002, technique_id: T1059, confidence: 1}]\nmatch:\n  s:\n    %s\n",
		class, comparison)
	file := rules.Parse("reference.yml", []byte(text), rules.Options{})
	if problems := file.AllProblems(); problems.Failed() {
		panic(fmt.Sprintf("reference: %s: %s", comparison, problems.Error())) // the tables below are wrong
	}
	plan := file.Documents[0].Rule.Plans()[0]
	why := ""
	if len(plan.Notes) > 0 {
		why = plan.Notes[0].Reason
	}
	switch {
	case plan.Exact:
		return exact, why
	case plan.Narrowed():
		return superset, why
	}
	return nothing, why
}

// decidedOf says what the kernel decides of comparisons with a field.
func decidedOf(f event.FieldInfo) string {
	ways := []struct{ name, comparison string }{{"whole", ": 1"}}
	switch {
	case f.Kind == event.Bool:
		ways[0].comparison = ": true"
	case f.Address:
		ways = []struct{ name, comparison string }{
			{"whole", ": 198.51.100.7"}, {"`cidr`", "|cidr: 198.51.100.0/24"}, {"`startswith`", "|startswith: '198.51.'"}, {"`endswith`", "|endswith: '.7'"}, {"`contains`", "|contains: '.100.'"},
		}
	case f.Kind == event.String:
		value := "abc"
		if f.Values != nil {
			value = f.Values[0]
		}
		ways = []struct{ name, comparison string }{
			{"whole", ": " + value}, {"`startswith`", "|startswith: " + value}, {"`endswith`", "|endswith: " + value}, {"`contains`", "|contains|nocase: " + value},
		}
	}
	var by [nothing + 1][]string
	for _, way := range ways {
		d, _ := planned(f.Classes[0], f.Name+way.comparison)
		by[d] = append(by[d], way.name)
	}
	for d, names := range by {
		if len(names) == len(ways) {
			return decision(d).String()
		}
	}
	var parts []string
	for _, d := range []decision{exact, superset, nothing} {
		if len(by[d]) > 0 {
			parts = append(parts, d.String()+": "+strings.Join(by[d], ", "))
		}
	}
	return strings.Join(parts, "; ")
}

// kernelTable shows what the kernel makes of comparisons of each kind.
func kernelTable() string {
	long := strings.Repeat("x", rules.MaxKeyBytes)
	examples := []string{
		"process.executable: /usr/bin/curl",
		"process.executable|nocase: /usr/bin/curl",
		"process.executable: /tmp/" + long,
		"process.executable|startswith: /tmp/",
		"process.executable|endswith: /curl",
		"process.executable|endswith: /" + long,
		"process.command_line|contains: '://'",
		"process.command_line|contains|nocase: 'nc '",
		"process.command_line|contains: 'nc '",
		"process.command_line|contains|nocase: 'http://'",
		"process.command_line|contains: 'x'",
		"process.command_line|contains|all: ['--out', '--key']",
		"process.executable: '/tmp/*/sh'",
		"process.executable: '/tmp/?/sh'",
		"process.command_line|re: 'https?://'",
		"process.command_line|re: '[0-9]+'",
		"process.name: curl",
		"process.name|startswith: curl",
		"process.args: --upload",
		"user.name: root",
		"container.id|startswith: 0a1b",
	}
	var rows [][]string
	for _, example := range examples {
		d, why := planned(event.ProcessExec, example)
		if strings.Contains(example, long) {
			shown := "..., of more than " + fmt.Sprint(rules.MaxKeyBytes) + " bytes"
			example, why = strings.Replace(example, long, shown, 1), strings.ReplaceAll(why, long, "...")
		}
		rows = append(rows, []string{code(cell(example)), d.String(), cell(why)})
	}
	more := []struct {
		class   event.Class
		example string
	}{
		{event.NetworkConnect, "destination.ip: 198.51.100.7"},
		{event.NetworkConnect, "destination.ip|cidr: 198.51.100.0/24"},
		{event.NetworkConnect, "destination.ip|startswith: '198.51.'"},
		{event.NetworkConnect, "destination.port: 443"},
		{event.FileChange, "file.operation|startswith: un"},
		{event.FileChange, "file.mode.setuid: true"},
	}
	for _, m := range more {
		d, why := planned(m.class, m.example)
		rows = append(rows, []string{code(cell(m.example)), d.String(), cell(why)})
	}
	return table([]string{"comparison", "the kernel decides", "why not exactly, and what it looks for"}, rows)
}

// cell makes a text fit into a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
