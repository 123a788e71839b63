package fsstore

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"bittern/internal/rules"
	"bittern/internal/rules/statefile"
	"bittern/internal/rules/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Graces of tests: brief where deletions are awaited, endless where there must
// be none.
const (
	brief   = 20 * time.Millisecond
	endless = time.Hour
)

// fixture is a store over a directory, with the means to edit it.
type fixture struct {
	*Store
	dir   string
	stage string // a directory outside of dir, on the same file system
	cfg   Config
	log   *journal // nil if the test has a logger of its own
}

func config(dir string, grace time.Duration) Config {
	return Config{
		Dir: dir, DeleteGrace: grace, Logger: slog.New(&journal{}),
		Parse: func(path string, data []byte, lists rules.Lists) *rules.File {
			return rules.Parse(path, data, rules.Options{Lists: lists})
		},
	}
}

func openStore(t testing.TB, cfg Config) *fixture {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	log, _ := cfg.Logger.Handler().(*journal)
	return &fixture{Store: s, dir: cfg.Dir, stage: t.TempDir(), cfg: cfg, log: log}
}

// start opens a store over a new directory with the given files.
func start(t testing.TB, grace time.Duration, files map[string]string) *fixture {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "rules")
	must(t, os.Mkdir(dir, 0o700))
	fill(t, dir, files)
	return openStore(t, config(dir, grace))
}

func fill(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) file(name string) string { return filepath.Join(f.dir, name) }

// Put writes a file elsewhere and renames it into place.
func (f *fixture) Put(t testing.TB, name, text string) {
	t.Helper()
	temp := filepath.Join(f.stage, name)
	must(t, os.WriteFile(temp, []byte(text), 0o600))
	must(t, os.Rename(temp, f.file(name)))
}

func (f *fixture) Remove(t testing.TB, name string) {
	t.Helper()
	must(t, os.Remove(f.file(name)))
}

func (f *fixture) Rename(t testing.TB, from, to string) {
	t.Helper()
	must(t, os.Rename(f.file(from), f.file(to)))
}

// Together edits while the directory is held.
func (f *fixture) Together(t testing.TB, edit func()) {
	t.Helper()
	must(t, os.WriteFile(f.file(HoldName), []byte("a test\n"), 0o600))
	edit()
	must(t, os.Remove(f.file(HoldName)))
}

// Restart starts another store over the same directories.
func (f *fixture) Restart(t testing.TB, meanwhile func()) *rules.Subscription {
	t.Helper()
	f.Stop()
	meanwhile()
	s, err := New(f.cfg)
	must(t, err)
	sub := s.Changes()
	must(t, s.Start())
	t.Cleanup(s.Stop)
	f.Store = s
	return sub
}

// brokenFile can be read and not written.
type brokenFile struct{ stateFile }

func (brokenFile) Change(func(*rules.StateFile) (*rules.StateFile, error)) (*rules.StateFile, error) {
	return nil, errBroken
}

func (brokenFile) Set(map[string]rules.RuleState) (*rules.StateFile, error) { return nil, errBroken }

var errBroken = errors.New("broken")

func (f *fixture) Break(t testing.TB, broken bool) {
	t.Helper()
	f.st.writing.Lock()
	defer f.st.writing.Unlock()
	f.st.file = statefile.In(f.cfg.States)
	if broken {
		f.st.file = brokenFile{f.st.file}
	}
}

// inPlace is a fixture that writes its files as cp and shells do.
type inPlace struct{ *fixture }

func (f inPlace) Put(t testing.TB, name, text string) {
	t.Helper()
	must(t, os.WriteFile(f.file(name), []byte(text), 0o600))
}

// statedConfig is of a store that keeps states, in a directory that is not there yet.
func statedConfig(t testing.TB, clock *storetest.Clock) Config {
	t.Helper()
	cfg := config(filepath.Join(t.TempDir(), "rules"), brief)
	must(t, os.Mkdir(cfg.Dir, 0o700))
	cfg.States, cfg.Clock = filepath.Join(t.TempDir(), "state", "states"), clock
	return cfg
}

func TestConformance(t *testing.T) {
	tests := 0 // each has a store of its own
	stated := func(t *testing.T, clock *storetest.Clock) *fixture {
		tests++
		return openStore(t, statedConfig(t, clock))
	}
	t.Run("renamed into place", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T, clock *storetest.Clock) storetest.Backend { return stated(t, clock) })
	})
	t.Run("written in place", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T, clock *storetest.Clock) storetest.Backend { return inPlace{stated(t, clock)} })
	})
	t.Logf("%d tests of the suite were run", tests)
}

// until looks again and again until something is so that makes no change.
func until(t testing.TB, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(storetest.Patience); !so(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it did not come to that")
		}
	}
}
