package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"bittern/internal/require"
	shipped "bittern/rules"
)

func TestSignals(t *testing.T) {
	signals := make(chan os.Signal, 2)
	signals <- syscall.SIGTERM
	if err := untilSignalled(signals, func(ctx context.Context) error { <-ctx.Done(); return nil }); err != nil {
		t.Errorf("one signal: %v", err)
	}
	release := make(chan struct{})
	defer close(release)
	signals <- syscall.SIGTERM
	signals <- syscall.SIGINT
	if err := untilSignalled(signals, func(context.Context) error { <-release; return nil }); !errors.Is(err, errInterrupted) {
		t.Errorf("two signals: %v", err)
	}
	failure := errors.New("failed")
	if err := untilSignalled(signals, func(context.Context) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("none: %v", err)
	}
}

// TestSecondSignal hangs a real agent, by not reading its output, and ends it.
func TestSecondSignal(t *testing.T) {
	cg, dir := newCgroup(t), t.TempDir()
	write(t, filepath.Join(dir, "numbered.yml"), numberedRule("HANG", 1))
	p := startUnread(t, "--rules", dir, "--cgroup", cg.path)
	for n := range 100 { // more than a pipe holds
		cg.execute(t, n, strings.Repeat("x", 2000))
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// Two signals of one kind may become one if they are pending together.
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	p.log.wait(t, "second signal", func(line string) bool {
		return line == "bittern: stopped by a second signal: what was not delivered yet is when the agent runs again"
	})
	if code, _ := p.end(t); code != exitFailure {
		t.Errorf("exit code %d, want %d", code, exitFailure)
	}
}

func TestShippedRulesAreWrittenOnce(t *testing.T) {
	home := t.TempDir()
	s := &settings{state: filepath.Join(home, "below", "state")}
	p := paths{rules: filepath.Join(home, "etc")}
	var log bytes.Buffer
	logger := newLogger(&log, slog.LevelInfo, "text", false)
	dir, err := rulesDir(s, p, logger)
	if err != nil {
		t.Fatal(err)
	}
	if dir != filepath.Join(s.state, "rules") || !strings.Contains(log.String(), "shipped rules written: edit them, changes go live at once dir="+dir) {
		t.Errorf("dir %s, log %s", dir, log.String())
	}
	names, err := shippedNames()
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 15 {
		t.Errorf("%d rules, want at least 15", len(names))
	}
	for _, name := range names {
		want, err := fs.ReadFile(shipped.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs: %v", name, err)
		}
	}
	// What was edited, and what was deleted, stays as it is.
	write(t, filepath.Join(dir, names[0]), "# mine\n")
	if err := os.Remove(filepath.Join(dir, names[1])); err != nil {
		t.Fatal(err)
	}
	if again, err := rulesDir(s, p, logger); err != nil || again != dir {
		t.Errorf("again: %s, %v", again, err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, names[0])); err != nil || string(got) != "# mine\n" {
		t.Errorf("edited file: %q, %v", got, err)
	}
	if left, err := os.ReadDir(s.state); err != nil || len(left) != 1 {
		t.Errorf("left in the state directory: %v, %v", left, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != len(names)-1 {
		t.Errorf("%d files, want %d: %v", len(entries), len(names)-1, err)
	}
}

func TestRulesDirOfTheHostComesFirst(t *testing.T) {
	home := t.TempDir()
	s := &settings{state: filepath.Join(home, "state")}
	for _, want := range []string{home, "chosen"} {
		dir, err := rulesDir(s, paths{rules: home}, slog.New(slog.DiscardHandler))
		if err != nil || dir != want {
			t.Errorf("got %s, %v; want %s", dir, err, want)
		}
		s.rules = "chosen"
	}
	if isDir(s.state) {
		t.Error("the state directory was made for nothing")
	}
}

func TestShippedRulesBelongToWhoOwnsThePlace(t *testing.T) {
	require.Root(t)
	const somebody = 65534
	home := t.TempDir()
	if err := os.Chown(home, somebody, somebody); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(home, "state")
	if err := writeShipped(filepath.Join(state, "rules")); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(home, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if o, err := ownerAbove(path); err != nil || o != (owner{somebody, somebody}) {
			t.Errorf("%s belongs to %v: %v", path, o, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestShippedRulesAllOrNothing(t *testing.T) {
	home := t.TempDir()
	write(t, filepath.Join(home, "file"), "")
	s := &settings{state: filepath.Join(home, "file", "state")}
	_, err := rulesDir(s, paths{rules: filepath.Join(home, "etc")}, slog.New(slog.DiscardHandler))
	if !errors.Is(err, syscall.ENOTDIR) || !strings.Contains(err.Error(), "--state") {
		t.Errorf("got %v", err)
	}
}

func TestLogLines(t *testing.T) {
	at := time.Date(2026, 11, 23, 16, 29, 1, 123456789, time.UTC)
	for _, c := range []struct {
		colour bool
		level  slog.Level
		with   func(*slog.Logger) *slog.Logger
		attrs  []any
		want   string
	}{
		{want: "2026-11-23 16:29:01.123 INFO     message\n"},
		{level: slog.LevelWarn, attrs: []any{"n", 1, "s", "two words", "e", errors.New(`tail with "quotes" = and spaces`)},
			with: func(l *slog.Logger) *slog.Logger { return l.With("component", "part", "id", "x") },
			want: "2026-11-23 16:29:01.123 WARN     part: message id=x n=1 s=\"two words\" e=tail with \"quotes\" = and spaces\n"},
		{level: slog.LevelError, attrs: []any{"a", "", "b", "line\nbreak\x1b[2J"},
			with: func(l *slog.Logger) *slog.Logger { return l.WithGroup("g") },
			want: "2026-11-23 16:29:01.123 ERROR    message g.a=\"\" g.b=\"line\\nbreak\\x1b[2J\"\n"},
		{colour: true, level: slog.LevelError, attrs: []any{"a", "\xff"},
			want: "\x1b[2m2026-11-23 16:29:01.123\x1b[0m \x1b[31mERROR\x1b[0m    message \x1b[2ma=\x1b[0m\"\\xff\"\n"},
	} {
		var out bytes.Buffer
		logger := newLogger(&out, slog.LevelInfo, "text", c.colour)
		if c.with != nil {
			logger = c.with(logger)
		}
		r := slog.NewRecord(at, c.level, "message", 0)
		r.Add(c.attrs...)
		if err := logger.Handler().Handle(context.Background(), r); err != nil {
			t.Fatal(err)
		}
		if out.String() != c.want {
			t.Errorf("got  %q\nwant %q", out.String(), c.want)
		}
	}
}

func TestLogLevels(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out bytes.Buffer
		l := newLogger(&out, slog.LevelWarn, format, false)
		l.Info("hidden")
		l.Warn("shown")
		if got := out.String(); strings.Contains(got, "hidden") || !strings.Contains(got, "shown") {
			t.Errorf("%s: %q", format, got)
		}
	}
}

func TestColourIsWanted(t *testing.T) {
	for _, c := range []struct {
		noColour, term string
		want           bool
	}{{"", "xterm", true}, {"1", "xterm", false}, {"", "dumb", false}, {"", "", true}} {
		env := func(name string) (string, bool) {
			return map[string]string{"NO_COLOR": c.noColour, "TERM": c.term}[name], true
		}
		if got := wantsColour(env); got != c.want {
			t.Errorf("NO_COLOR=%q TERM=%q: %v, want %v", c.noColour, c.term, got, c.want)
		}
	}
}
