package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"bittern/internal/attack"
	"bittern/internal/rules"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rule returns a rule that matches executions of /bin/ID.
func rule(t *testing.T, id string, version int) *rules.Rule {
	t.Helper()
	return ruleOf(t, fmt.Sprintf(`rule_id: %s
rule_version: %d
name: test
description: For tests.
severity: high
applies_to: [process_exec]
match:
  program: {process.executable: /bin/%s}
  condition: program
emits: [{tactic: TA0011, technique_id: T1105, sub_technique_id: T1059.004, confidence: 0.5}]
evidence_fields: [process.executable]
`, id, version, id))
}

func ruleOf(t *testing.T, content string) *rules.Rule {
	t.Helper()
	f := Parser(catalogue(t))("test.yml", []byte(content), nil)
	if problems := f.AllProblems(); len(problems) > 0 {
		t.Fatal(problems)
	}
	return f.Documents[0].Rule
}

func catalogue(t testing.TB) *attack.Catalogue {
	t.Helper()
	c, err := attack.Load()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// logbook keeps what is logged, for tests to look at.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// lines returns what was logged so far, as "LEVEL message name=value ...", without
// the time and what differs from run to run.
func (l *logbook) lines(t *testing.T) []string {
	t.Helper()
	return l.linesWith(t)
}

// linesWith is lines, with more attributes.
func (l *logbook) linesWith(t *testing.T, more ...string) []string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for line := range strings.Lines(l.buf.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprint(fields["level"], " ", fields["msg"])
		for _, name := range append([]string{"rule_id", "rule_version", "replaces_version", "stays_live", "epoch", "kernel", "problem", "class", "hook", "misses", "reason", "count", "error"}, more...) {
			if value, ok := fields[name]; ok {
				text += fmt.Sprintf(" %s=%v", name, value)
			}
		}
		all = append(all, text)
	}
	return all
}
