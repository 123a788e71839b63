package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// TestSettingsAreDocumented checks that docs/configuration.md has the table of all settings, and examples
// that are right.
func TestSettingsAreDocumented(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "configuration.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(text), "./cmd/agent -->\n")
	_, after, ends := strings.Cut(rest, "<!-- end of settings -->")
	if !begins || !ends {
		t.Fatalf("%s does not say where the table of settings begins and ends", path)
	}
	want := before + "./cmd/agent -->\n" + settingsTable() + "<!-- end of settings -->" + after
	if os.Getenv("BITTERN_UPDATE_GOLDEN") != "" {
		write(t, path, want)
	} else if want != string(text) {
		t.Errorf("the table of settings in %s is not what it would be now; set BITTERN_UPDATE_GOLDEN=1", path)
	}
	examples := 0
	for _, part := range strings.Split(want, "```yaml\n")[1:] {
		example, _, _ := strings.Cut(part, "```")
		examples++
		if problems := newSettings(paths{}).resolveFile(file{path: path, data: []byte(example)}); len(problems) > 0 {
			t.Errorf("an example is wrong: %v\n%s", problems, example)
		}
	}
	if examples == 0 {
		t.Error("there are no examples")
	}
}

// settingsTable is the table of settings in Markdown.
func settingsTable() string {
	var table strings.Builder
	table.WriteString("| flag | key in the file | environment | default | a change | meaning |\n|---|---|---|---|---|---|\n")
	s := newSettings(hostPaths())
	for _, one := range s.report() {
		f := s.flags.Lookup(flagOf(one.Key))
		what, usage := pflag.UnquoteUsage(f)
		usage, _, _ = strings.Cut(usage, " (default ")
		name, fallback, inFile := "--"+f.Name, f.DefValue, "`"+one.Key+"`"
		if f.NoOptDefVal == "" {
			name += " " + strings.ToUpper(what)
		}
		switch f.Name {
		case "config":
			fallback, inFile = hostPaths().config+", if it exists", ""
		case "rules":
			fallback = "[see there](cli.md#which-rules)"
		case "cgroup":
			fallback = "the whole host"
		}
		fmt.Fprintf(&table, "| `%s` | %s | `%s` | %s | %s | %s |\n", name, inFile, variable(f.Name), fallback, one.Changes, usage)
	}
	return table.String()
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
	for value, want := range map[string]string{"0": "0s", "300s": "5m", "90m": "1h30m", "2h": "2h", "1h0m1s": "1h0m1s", "10s": "10s", "20m": "20m"} {
		if err := s.Set(value); err != nil || s.String() != want {
			t.Errorf("%s is %s, %v; want %s", value, s, err, want)
		}
		if err := s.Set(s.String()); err != nil || s.String() != want {
			t.Errorf("%s does not read itself: %v", want, err)
		}
	}
	for _, value := range []string{"", "5", "-5m", "999ms", "1.5s", "never", "1000000h"} {
		if err := s.Set(value); err == nil {
			t.Errorf("%q is %v", value, d)
		}
	}
}
