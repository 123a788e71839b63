package main

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bittern/internal/agent"
	"bittern/internal/schematest"
)

// TestEverySettingHasItsTraits: a setting can't forget to say whether it changes while the agent runs.
func TestEverySettingHasItsTraits(t *testing.T) {
	s := newSettings(paths{})
	names := s.names()
	for _, name := range names {
		if _, ok := traits[name]; !ok {
			t.Errorf("traits does not have --%s: say how it changes while the agent runs, or {} if it needs a restart", name)
		}
	}
	for name := range traits {
		if !slices.Contains(names, name) {
			t.Errorf("traits has %s, which is no setting", name)
		}
	}
}

// TestKnobsFollow: each setting that is live moves a knob, and nothing else does.
func TestKnobsFollow(t *testing.T) {
	other := map[string]string{"rescan": "7m", "output": "text", "keep": "true", "log-level": "error", "metrics": "[::1]:1", "program-stats": "true"}
	for _, name := range newSettings(paths{}).names() {
		s := newSettings(paths{metrics: off})
		before := s.knobs(false)
		live := traits[name].tune != nil
		if value, ok := other[name]; ok != live {
			t.Errorf("--%s: live is %v, and this test knows another value: %v", name, live, ok)
		} else if ok {
			if err := s.flags.Set(name, value); err != nil {
				t.Fatal(err)
			}
		}
		if moved := s.knobs(false) != before; moved != live {
			t.Errorf("--%s: a knob has moved: %v, want %v", name, moved, live)
		}
	}
}

// TestSchemaAgrees holds files against the schema and against the agent's own reading of them.
func TestSchemaAgrees(t *testing.T) {
	var printed strings.Builder
	if err := writeJSON(&printed, configSchema(paths{state: "/s", pins: "/p", metrics: "127.0.0.1:9435"})); err != nil {
		t.Fatal(err)
	}
	schema := schematest.Compile(t, []byte(printed.String()))
	file := filepath.Join(t.TempDir(), "bittern.yaml")
	for text, valid := range map[string]bool{
		"": true, "# nothing\n": true, "{}": true, "- rules": false, "text": false,
		"rules: /r\nstate: /s\ncgroup: /c\npins: off\nkeep: true\n": true,
		"rulse: /r": false, "log-level: debug": false, "config: /c": false,
		"rules: 5": false, `rules: "5"`: true, "rules: [/r]": false, "rules:": false, `rules: ""`: false, "rules: true": false, "state: 2026-01-01": true,
		"rules: &r /r\nstate: *r": true, "rules: /r\nrules: /s": false, "rules: [": false,
		"keep: yes": false, "keep: True": true, `keep: "true"`: false, "keep: 1": false,
		"slots: 64": true, "slots: 0x40": true, `slots: "64"`: false, "slots: 31": false, "slots: 65537": false, "slots: 64.5": false, "slots: many": false,
		"ring_bytes: 4096": true, "ring_bytes: 5000": false, "ring_bytes: 2048": false, "ring_bytes: 1073741824": true, "ring_bytes: 2147483648": false,
		"rescan: 0": true, "rescan: 5m": true, "rescan: 1h0m1s": true, "rescan: 0s": true, `rescan: "0"`: true, `rescan: ""`: false,
		"rescan: 5": false, "rescan: 10ms": false, "rescan: 1.5s": false, "rescan: -5m": false, "rescan: 9999999h": false, "rescan: 5m1h": false,
		"metrics: off": true, "metrics: :9435": true, "metrics: localhost:0": true, "metrics: '[::1]:9435'": true, "metrics: '[fe80::1%eth0]:65535'": true,
		"metrics: localhost": false, "metrics: localhost:65536": false, "metrics: ::1:9435": false, "metrics: http://localhost:9435": false, "metrics: 9435": false,
		"output: auto": true, "output: xml": false, "log_level: warn": true, "log_level: WARN": false, "log_format: json": true, "log_format: null": false,
		"program_stats: false": true, "program_stats: off": false,
	} {
		write(t, file, text)
		problems := newSettings(paths{}).resolveFile(readFile(file, true))
		if (len(problems) == 0) != valid {
			t.Errorf("%q: the agent says %v, want it to be right: %v", text, problems, valid)
		}
		if err := schema.YAML([]byte(text)); (err == nil) != valid {
			t.Errorf("%q: the schema says %v, want it to be right: %v", text, err, valid)
		}
	}
}

func TestRedact(t *testing.T) {
	for value, want := range map[string]string{
		"postgres://bittern:s3cret@db.example:5432/fleet?sslmode=require": "postgres://bittern:xxxxx@db.example:5432/fleet?sslmode=require",
		"postgres://bittern:a@b:c@db/fleet":                               "postgres://bittern:xxxxx@db/fleet",
		"postgres://bittern@db/fleet?password=s3cret":                     "postgres://bittern@db/fleet?password=xxxxx",
		"host=db user=bittern password=s3cret dbname=fleet":               "host=db user=bittern password=xxxxx dbname=fleet",
		`host=db PassWord = 'two \' words' dbname=fleet`:                  "host=db PassWord = xxxxx dbname=fleet",
		"/etc/bittern/rules":                                              "/etc/bittern/rules",
		"[::1]:9435":                                                      "[::1]:9435",
		"postgres://db/fleet":                                             "postgres://db/fleet",
	} {
		if got := redact(value); got != want {
			t.Errorf("%s: got %s, want %s", value, got, want)
		}
	}
}

// TestSettingsAreReported: what is in force, where it comes from, and what waits for a restart.
func TestSettingsAreReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bittern.yaml")
	write(t, path, "slots: 64\nkeep: true\n")
	a := &app{
		out: io.Discard, err: io.Discard, paths: paths{config: path, state: "/s"},
		env: func(name string) (string, bool) { return "/p", name == "BITTERN_PINS" },
	}
	s := newSettings(a.paths)
	if err := s.flags.Parse([]string{"--rescan", "1h"}); err != nil {
		t.Fatal(err)
	}
	if err := s.resolve(a); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	detector, err := agent.New(agent.Config{Rules: func() (string, error) { return "", nil }, Output: io.Discard, Log: log, Tunables: s.knobs(false).Tunables})
	if err != nil {
		t.Fatal(err)
	}
	level := new(slog.LevelVar)
	r := newReloader(a, s, detector, level, log)
	want := func(key, value, from, changes, wanted string) {
		t.Helper()
		got := r.report()[key]
		waiting := ""
		if got.Wanted != nil {
			waiting = *got.Wanted
		}
		if got.Value != value || got.Source != from || got.Changes != changes || waiting != wanted {
			t.Errorf("got %+v, %q; want %s is %s from %s, %s, waiting for %q", got, waiting, key, value, from, changes, wanted)
		}
	}
	want("slots", "64", path+":1:8", "restart", "")
	want("keep", "true", path+":2:7", "live", "")
	want("rescan", "1h", "--rescan", "live", "")
	want("pins", "/p", "BITTERN_PINS", "restart", "")
	want("state", "/s", "default", "restart", "")
	want("config", path, "default", "restart", "")

	edit := func(text string) {
		t.Helper()
		write(t, path, text)
		r.reload(readFile(path, false), false)
	}
	edit("rescan: 2h\nslots: 128\n")
	want("slots", "64", path+":1:8", "restart", "128")
	want("keep", "false", "default", "live", "")
	want("rescan", "1h", "--rescan", "live", "")
	if detector.Tunables().Keep {
		t.Error("keep is still in force")
	}
	edit("slots: 128\nlog_level: error\npins: /q\n")
	want("log_level", "error", path+":2:12", "live", "")
	want("pins", "/p", "BITTERN_PINS", "restart", "")
	if level.Level() != slog.LevelError {
		t.Errorf("the level is %v", level)
	}
	edit("slots: 128\n")
	if level.Level() != slog.LevelInfo {
		t.Errorf("the level is %v", level)
	}
	edit("slots: [\n")
	want("slots", "64", path+":1:8", "restart", "128")
	edit("# moved\nslots: 64\n")
	want("slots", "64", path+":2:8", "restart", "")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.reload(readFile(path, false), false)
	want("slots", "64", path+":2:8", "restart", "8192")
}
