package reference

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

const guide = "../../docs/operations.md"

// What a row has that is still to be filled in.
const (
	cause  = "CAUSE"
	action = "WHAT TO DO"
)

// section returns the rows of the tables below a heading of the guide: their cells, without those of the head.
func section(t *testing.T, heading string) [][]string {
	t.Helper()
	data, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("the guide has no section %q", heading)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	var rows [][]string
	for line := range strings.Lines(rest) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "| `") {
			rows = append(rows, strings.Split(strings.Trim(line, "| "), " | "))
		}
	}
	for _, row := range rows {
		if text := strings.Join(row, " | "); len(row) < 3 || slices.Contains(row, "") || strings.Contains(text, cause) || strings.Contains(text, action) {
			t.Errorf("section %q: this row is not filled in: %s", heading, text)
		}
	}
	return rows
}

// names returns what is between backticks.
func names(cell string) []string {
	var found []string
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cell, -1) {
		found = append(found, m[1])
	}
	return found
}

// compare reports what the code has and the guide has not, with the row to add, and the other way round.
func compare(t *testing.T, what, heading string, want, have []string, row func(string) string) {
	t.Helper()
	for _, name := range want {
		if !slices.Contains(have, name) {
			t.Errorf("%s is not in docs/operations.md: add to the section %q, with its cause and what to do:\n%s", what, heading, row(name))
		}
	}
	for _, name := range have {
		if !slices.Contains(want, name) {
			t.Errorf("docs/operations.md, section %q: there is no %s %q any more: remove its row", heading, what, name)
		}
	}
}

// Each message of the log at warn or error has a row, with its level.
func TestGuideHasMessages(t *testing.T) {
	const heading = "Messages of the log"
	s := readSource(t)
	var want, have []string
	for text, levels := range s.messages {
		slices.Sort(levels)
		want = append(want, strings.Join(levels, ", ")+" "+text)
	}
	for _, row := range section(t, heading) {
		have = append(have, row[1]+" "+names(row[0])[0])
	}
	slices.Sort(want)
	compare(t, "message of the log", heading, want, have, func(entry string) string {
		level, text, _ := strings.Cut(entry, " ")
		return fmt.Sprintf("| `%s` | %s | %s | %s |", text, level, cause, action)
	})
}

// Each exported error has a row.
func TestGuideHasErrors(t *testing.T) {
	const heading = "Errors in the code"
	var have []string
	for _, row := range section(t, heading) {
		have = append(have, names(row[0])...)
	}
	compare(t, "exported error", heading, readSource(t).errors, have, func(name string) string {
		return fmt.Sprintf("| `%s` | %s | %s |", name, cause, action)
	})
}

// Each part of the board has a row, and what the guide says of errors is in the code.
func TestGuideHasHealth(t *testing.T) {
	s := readSource(t)
	var have []string
	for _, row := range section(t, "Health") {
		part, _, _ := strings.Cut(names(row[0])[0], ":")
		if !slices.Contains(have, part) {
			have = append(have, part)
		}
	}
	slices.Sort(have)
	slices.Sort(s.parts)
	compare(t, "part of the agent's health", "Health", s.parts, have, func(name string) string {
		return fmt.Sprintf("| `%s: ...` | %s | %s |", name, cause, action)
	})
	for _, row := range append(section(t, "When the agent does not start, or ends"), section(t, "Health")...) {
		text := names(row[0])[0]
		for _, part := range s.parts {
			text = strings.TrimPrefix(text, part+": ")
		}
		for piece := range strings.SplitSeq(strings.ReplaceAll(text, "...", ": "), ": ") {
			if piece = strings.Trim(piece, " :"); !strings.Contains(s.texts.String(), piece) {
				t.Errorf("docs/operations.md: no error has the text %q (of %q) any more", piece, text)
			}
		}
	}
}

// Each metric has a row, with its alert or why there is none; the alerts are rules for Prometheus of metrics that there are.
func TestGuideHasAlerts(t *testing.T) {
	data, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var want, have []string
	for line := range strings.Lines(string(data)) {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "`"); ok && strings.HasPrefix(line, "| `bittern_") {
			want = append(want, name)
		}
	}
	alerts := make(map[string]bool)
	for _, a := range readAlerts(t) {
		alerts[a.Alert] = true
		for _, name := range regexp.MustCompile(`bittern_\w+`).FindAllString(a.Expr, -1) {
			if !slices.Contains(want, strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count")) {
				t.Errorf("alert %s is about %s, which is not in docs/metrics.md", a.Alert, name)
			}
		}
		if a.Expr == "" || a.Annotations["summary"] == "" || a.Labels["severity"] == "" {
			t.Errorf("alert %s lacks something: %+v", a.Alert, a)
		}
	}
	const heading = "Metrics and alerts"
	named := make(map[string]bool)
	for _, row := range section(t, heading) {
		have = append(have, names(row[0])...)
		for _, name := range names(row[1]) {
			if !alerts[name] {
				t.Errorf("docs/operations.md names the alert %s, which is not among the rules", name)
			}
			named[name] = true
		}
	}
	for name := range alerts {
		if !named[name] && name != "BitternDown" && name != "BitternUnhealthy" { // of metrics that are not ours
			t.Errorf("no metric of docs/operations.md names the alert %s", name)
		}
	}
	compare(t, "metric", heading, want, have, func(name string) string {
		return fmt.Sprintf("| `%s` | `ALERT`, or none: %s | %s |", name, cause, action)
	})
}

// alert is a rule for Prometheus.
type alert struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func readAlerts(t *testing.T) []alert {
	t.Helper()
	data, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "```yaml\ngroups:")
	text, _, _ := strings.Cut(rest, "```")
	var file struct {
		Groups []struct {
			Name  string
			Rules []alert
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader("groups:" + text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil || len(file.Groups) == 0 || len(file.Groups[0].Rules) == 0 {
		t.Fatalf("the alerts are no rules for Prometheus: %v", err)
	}
	return file.Groups[0].Rules
}
