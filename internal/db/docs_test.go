package db_test

import (
	"os"
	"strings"
	"testing"
)

// TestDocumentedSQL runs what docs/fleet.md says, with two hosts, as the roles that it names.
func TestDocumentedSQL(t *testing.T) {
	text, err := os.ReadFile("../../docs/fleet.md")
	if err != nil {
		t.Fatal(err)
	}
	f := newFleet(t)
	f.host("web-1")
	f.host("web-2")
	console := f.Connect(t, "fleet_console")
	asked, changed := 0, 0
	for _, part := range strings.Split(string(text), "```sql\n")[1:] {
		block, _, _ := strings.Cut(part, "```")
		for sql := range strings.SplitSeq(block, ";") {
			sql = withoutComments(sql)
			if sql == "" {
				continue
			}
			conn := console
			switch {
			case strings.HasPrefix(sql, "SELECT fleet."):
				conn = f.ops
				changed++
			case strings.HasPrefix(sql, "REVOKE "):
				conn = f.super
			default:
				asked++
			}
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Errorf("%s: %v", sql, err)
			}
		}
	}
	if asked == 0 || changed == 0 {
		t.Errorf("%d questions and %d changes: the page has another form", asked, changed)
	}
}

func withoutComments(sql string) string {
	var lines []string
	for line := range strings.Lines(sql) {
		line, _, _ = strings.Cut(line, "--")
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.TrimSpace(strings.Join(lines, " "))
}
