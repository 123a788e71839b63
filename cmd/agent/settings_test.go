package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// TestSettingsAreDocumented checks that docs/cli.md has each setting with all of
// its names, and its default.
func TestSettingsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]string)
	for line := range strings.Lines(string(doc)) {
		if name, ok := strings.CutPrefix(line, "| `--"); ok {
			name, _, _ = strings.Cut(name, " ")
			rows[strings.TrimRight(name, "`")] = line
		}
	}
	s := newSettings(paths{state: "/var/lib/bittern"})
	s.flags.VisitAll(func(f *pflag.Flag) {
		row := rows[f.Name]
		want := []string{"`" + variable(f.Name) + "`"}
		if f.Name != "config" {
			want = append(want, "`"+key(f.Name)+"`")
		}
		if f.DefValue != "" {
			want = append(want, f.DefValue)
		}
		for _, name := range want {
			if !strings.Contains(row, name) {
				t.Errorf("--%s: %s is missing in %q", f.Name, name, row)
			}
		}
		delete(rows, f.Name)
	})
	for name := range rows {
		t.Errorf("--%s is documented, and does not exist", name)
	}
}

// TestPrecedence: a flag comes before the environment, which comes before the file.
func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bittern.yaml")
	write(t, file, "log_level: warn\nslots: 64\noutput: text\n")
	env := map[string]string{"BITTERN_LOG_LEVEL": "error", "BITTERN_SLOTS": "128", "BITTERN_STATE": "", "BITTERN_CONFIG": file}
	a := &app{env: func(name string) (string, bool) { value, ok := env[name]; return value, ok }}
	s := newSettings(paths{state: "default"})
	if err := s.flags.Parse([]string{"--log-level", "debug"}); err != nil {
		t.Fatal(err)
	}
	if err := s.resolve(a); err != nil {
		t.Fatal(err)
	}
	if s.logLevel != "debug" || s.slots != 128 || s.output != "text" || s.state != "default" {
		t.Errorf("flag %s, environment %d, file %s, default %s", s.logLevel, s.slots, s.output, s.state)
	}
}

func TestSpan(t *testing.T) {
	var d time.Duration
	s := newSpan(&d, time.Hour)
	for value, want := range map[string]string{"0": "0s", "300s": "5m", "90m": "1h30m", "2h": "2h", "1.5s": "1.5s", "1h0m1s": "1h0m1s", "10s": "10s", "20m": "20m"} {
		if err := s.Set(value); err != nil || s.String() != want {
			t.Errorf("%s is %s, %v; want %s", value, s, err, want)
		}
		if err := s.Set(s.String()); err != nil || s.String() != want {
			t.Errorf("%s does not read itself: %v", want, err)
		}
	}
	for _, value := range []string{"", "5", "-5m", "999ms", "never"} {
		if err := s.Set(value); err == nil {
			t.Errorf("%q is %v", value, d)
		}
	}
}
