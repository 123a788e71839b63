package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestFloor(t *testing.T) {
	for list, want := range map[string]map[string]bool{
		"A":          {"A": true, "AB": false, "": false},
		"A,BTN_*":    {"A": true, "BTN_": true, "BTN_1": true, "BT": false},
		"*":          {"A": true, "ANY_1": true},
		"A,,B":       {"A": true, "B": true, "C": false},
		"BTN_1,A*,B": {"AB": true, "BTN_1": true, "BTN_12": false, "BC": false},
	} {
		if err := newFloor(new(string)).Set(list); err != nil {
			t.Errorf("%s: %v", list, err)
		}
		is := floorOf(list)
		for id, want := range want {
			if is(id) != want {
				t.Errorf("floor %s has %s: %v, want %v", list, id, is(id), want)
			}
		}
	}
	if floorOf("") != nil {
		t.Error("no list is a floor")
	}
	for _, wrong := range []string{"A B", "A*B", "**", "A-1", "*A"} {
		if newFloor(new(string)).Set(wrong) == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}

// TestFleetSettings has settings that don't fit together.
func TestFleetSettings(t *testing.T) {
	const dsn = "postgres://h@127.0.0.1/fleet"
	missing := filepath.Join(t.TempDir(), "missing.pub")
	for _, c := range []struct {
		args, want string // want is "" if they fit
	}{
		{"", ""},
		{"--database " + dsn, ""},
		{"--database " + dsn + " --floor A", ""},
		{"--database " + dsn + " --rules postgres --rules-unsigned", ""},
		{"--rules postgres --rules-unsigned", "set database as well"},
		{"--floor A", "set database as well"},
		{"--database " + dsn + " --rules postgres", "must be signed"},
		{"--database " + dsn + " --rules-unsigned", "set rules to postgres"},
		{"--database " + dsn + " --rules postgres --rules-unsigned --rules-keys " + missing, "not both"},
		{"--database " + dsn + " --rules postgres --rules-keys " + missing, missing},
		{"--database postgres://h@db.example/fleet", "verify-full"},
	} {
		s := newSettings(paths{state: "state"})
		if err := s.flags.Parse(strings.Fields(c.args)); err != nil {
			t.Fatal(err)
		}
		f, err := s.fleet()
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		case c.want == "" && (f != nil) != (s.database != ""):
			t.Errorf("%s: %+v", c.args, f)
		}
	}
}
