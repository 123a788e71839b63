package fsstore

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify"
	"bittern/internal/require"
	"bittern/internal/rules"
	"bittern/internal/rules/statefile"
	"bittern/internal/rules/storetest"
)

// stated is a store with states, and what an operator does to their file.
type stated struct {
	*fixture
	clock *storetest.Clock
	sub   *rules.Subscription
}

func startStated(t *testing.T, change func(*Config)) *stated {
	t.Helper()
	clock := storetest.NewClock()
	cfg := statedConfig(t, clock)
	must(t, os.MkdirAll(cfg.States, 0o755))
	change(&cfg)
	f := openStore(t, cfg)
	return &stated{fixture: f, clock: clock, sub: f.Changes()}
}

func unchanged(*Config) {}

func (s *stated) path() string { return filepath.Join(s.cfg.States, statefile.Name) }

func (s *stated) write(t *testing.T, text string) {
	t.Helper()
	must(t, os.WriteFile(s.path(), []byte(text), 0o644))
}

// quiet makes sure that nothing else was announced, by an edit of the states that is.
func (s *stated) quiet(t *testing.T) {
	t.Helper()
	must(t, s.SetState("FENCE", rules.RuleState{State: rules.Disabled}, "fence"))
	must(t, s.SetState("FENCE", rules.RuleState{}, "fence"))
	storetest.Expect(t, s.sub, "state FENCE disabled by fence", "state FENCE enabled by fence")
}

// TestOperatorsEdit has the file edited as editors and tools do: one change for each rule.
func TestOperatorsEdit(t *testing.T) {
	const first, second = "# mine\nR1: {state: disabled, reason: noisy}\n", "# mine\nR1: {state: disabled, reason: noisy}\nR2: {state: clipped, confidence_max: 0.5, set_by: bob}\n"
	edits := map[string]func(t *testing.T, s *stated, text string){
		"in place": func(t *testing.T, s *stated, text string) { s.write(t, text) },
		"in pieces": func(t *testing.T, s *stated, text string) {
			f, err := os.Create(s.path())
			must(t, err)
			for _, c := range []byte(text) {
				_, err := f.Write([]byte{c})
				must(t, err)
			}
			must(t, f.Close())
		},
		"renamed over": func(t *testing.T, s *stated, text string) {
			must(t, os.WriteFile(s.path()+".new", []byte(text), 0o644))
			must(t, os.Rename(s.path()+".new", s.path()))
		},
		"old one renamed away first": func(t *testing.T, s *stated, text string) {
			if err := os.Rename(s.path(), s.path()+"~"); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			s.write(t, text)
		},
		"removed first": func(t *testing.T, s *stated, text string) {
			if err := os.Remove(s.path()); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			s.write(t, text)
		},
		"linked": func(t *testing.T, s *stated, text string) {
			must(t, os.WriteFile(s.path()+".new", []byte(text), 0o644))
			_ = os.Remove(s.path()) // if it is there
			must(t, os.Link(s.path()+".new", s.path()))
			must(t, os.Remove(s.path()+".new"))
		},
		"directory replaced": func(t *testing.T, s *stated, text string) {
			must(t, os.Mkdir(s.cfg.States+".new", 0o755))
			must(t, os.WriteFile(filepath.Join(s.cfg.States+".new", statefile.Name), []byte(text), 0o644))
			must(t, os.RemoveAll(s.cfg.States+".old"))
			must(t, os.Rename(s.cfg.States, s.cfg.States+".old"))
			must(t, os.Rename(s.cfg.States+".new", s.cfg.States))
		},
	}
	if sed, err := exec.LookPath("sed"); err == nil {
		edits["sed -i"] = func(t *testing.T, s *stated, text string) {
			if !strings.Contains(text, "R2") {
				s.write(t, text)
				return
			}
			if out, err := exec.Command(sed, "-i", "$aR2: {state: clipped, confidence_max: 0.5, set_by: bob}", s.path()).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			s := startStated(t, func(c *Config) { c.DeleteGrace = time.Second }) // nothing is gone for that long
			edit(t, s, first)
			c := storetest.Expect(t, s.sub, "state R1 disabled by file")[0]
			if c.State.Reason != "noisy" || c.State.SetBy != "file" || c.State.SetAt.IsZero() {
				t.Errorf("state %+v", c.State)
			}
			edit(t, s, second)
			storetest.Expect(t, s.sub, "state R2 clipped by bob")
			s.quiet(t)
			if got := s.State("R1"); !got.Equal(c.State) {
				t.Errorf("R1 was not edited and became %+v, from %+v", got, c.State)
			}
			edit(t, s, "# mine\n")
			storetest.Expect(t, s.sub, "state R1 enabled by file", "state R2 enabled by file")
			s.quiet(t)
			data, err := os.ReadFile(s.path())
			must(t, err)
			if string(data) != "# mine\n\n" {
				t.Errorf("the file has become %q", data)
			}
		})
	}
}

// TestNotBelievedYet: a file that is away for a moment, or being saved in place.
func TestNotBelievedYet(t *testing.T) {
	s := startStated(t, func(c *Config) { c.DeleteGrace = time.Hour })
	s.write(t, "R1: {state: disabled}\n")
	storetest.Expect(t, s.sub, "state R1 disabled by file")
	must(t, os.Rename(s.cfg.States, s.cfg.States+".away"))
	if s.st.refresh(false) || s.State("R1").State != rules.Disabled {
		t.Errorf("R1 is %s, the directory being away", s.State("R1").State)
	}
	must(t, os.Rename(s.cfg.States+".away", s.cfg.States))
	editor, err := os.Create(s.path())
	must(t, err)
	defer editor.Close()
	if s.st.refresh(true) || s.State("R1").State != rules.Disabled {
		t.Errorf("R1 is %s, the file being written", s.State("R1").State)
	}
	_, err = editor.WriteString("R2: {state: disabled}\n")
	must(t, err)
	must(t, editor.Close())
	storetest.Expect(t, s.sub, "state R1 enabled by file", "state R2 disabled by file")
}

func TestNoFileIsNoState(t *testing.T) {
	s := startStated(t, unchanged)
	s.write(t, "R1: {state: disabled}\n")
	storetest.Expect(t, s.sub, "state R1 disabled by file")
	must(t, os.Remove(s.path()))
	storetest.Expect(t, s.sub, "state R1 enabled by file")
	must(t, os.RemoveAll(filepath.Dir(s.cfg.States)))
	must(t, os.MkdirAll(s.cfg.States, 0o755))
	s.write(t, "R1: {state: disabled}\n")
	storetest.Expect(t, s.sub, "state R1 disabled by file")
	must(t, os.RemoveAll(filepath.Dir(s.cfg.States)))
	storetest.Expect(t, s.sub, "state R1 enabled by file")
	s.quiet(t) // which makes the directory
}

// TestWrongEdit changes nothing of the rule that it is about, and says where.
func TestWrongEdit(t *testing.T) {
	s := startStated(t, unchanged)
	s.write(t, "R1: {state: disabled}\n")
	storetest.Expect(t, s.sub, "state R1 disabled by file")
	s.write(t, "R1: {state: disabeld}\nR2: {state: disabled}\n")
	all := storetest.Expect(t, s.sub, "state R2 disabled by file", "states rejected")
	const want = ":1:13: unknown state \"disabeld\" (did you mean disabled?)"
	if got := all[1].Problems.Error(); got != s.path()+want {
		t.Errorf("problem is %q, want %q", got, s.path()+want)
	}
	if got := s.State("R1").State; got != rules.Disabled {
		t.Errorf("R1 is %s", got)
	}
	p := storetest.ProblemsOf(s, statefile.Name)
	if got := p.Problems.Error(); got != s.path()+want || !p.States {
		t.Errorf("problems are %+v", p)
	}
	for _, state := range []rules.RuleState{{}, {State: rules.Disabled}} {
		if err := s.SetState("R3", state, "alice"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("edited all the same: %v", err)
		}
	}
	s.write(t, "R1: {state: disabeld}\nR2: {state: disabled}\n") // said once
	s.write(t, "R1: {state: [\n")
	storetest.Expect(t, s.sub, "states rejected")
	if s.State("R1").State != rules.Disabled || s.State("R2").State != rules.Disabled {
		t.Error("states are lost")
	}
	s.write(t, "R2: {state: disabled}\n")
	storetest.Expect(t, s.sub, "state R1 enabled by file")
	s.quiet(t)
	if p := storetest.ProblemsOf(s, statefile.Name); len(p.Problems) > 0 {
		t.Errorf("problems %+v remain", p)
	}
	must(t, os.Remove(s.path()))
	must(t, os.Mkdir(s.path(), 0o755))
	c := storetest.Expect(t, s.sub, "states rejected")[0]
	if got := c.Problems.Error(); !strings.Contains(got, "it is not a file") {
		t.Errorf("problem is %q", got)
	}
	if s.State("R2").State != rules.Disabled {
		t.Error("states are lost")
	}
}

// TestDamagedFile is what a crash, or a disk, has left. The store starts, says so, and can
// write a new one.
func TestDamagedFile(t *testing.T) {
	for name, content := range map[string]string{
		"zeros": strings.Repeat("\x00", 4096), "torn": "R1: {state: disabled, reason: \"so", "bytes": "\xff\xfe\x01", "not states": "- a\n- b\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := startStated(t, func(c *Config) {
				must(t, os.WriteFile(filepath.Join(c.States, statefile.Name), []byte(content), 0o644))
				fill(t, c.Dir, two())
			})
			if got := storetest.Live(s.Load()); got != "R1v1 R2v1" {
				t.Errorf("live are %s", got)
			}
			p := storetest.ProblemsOf(s, statefile.Name)
			if text := p.Problems.Error(); !strings.Contains(text, "is damaged") || !strings.Contains(text, "it is now "+s.path()+".damaged") || !p.States {
				t.Errorf("problems: %+v", p)
			}
			if data, err := os.ReadFile(s.path() + ".damaged"); err != nil || string(data) != content {
				t.Errorf("it was not kept: %q, %v", data, err)
			}
			must(t, s.SetState("R1", rules.RuleState{State: rules.Disabled}, "alice"))
			storetest.Expect(t, s.sub, "state R1 disabled by alice")
			s.quiet(t)
			must(t, os.Rename(s.path()+".damaged", filepath.Join(s.cfg.States, "elsewhere")))
			s.Restart(t, func() {})
			if p := storetest.ProblemsOf(s, statefile.Name); len(p.Problems) > 0 || s.State("R1").State != rules.Disabled {
				t.Errorf("after a restart: %+v", p)
			}
		})
	}
}

// TestWrittenAtTheStart: a file that an editor has written half of is not damaged. It is read when it is
// whole.
func TestWrittenAtTheStart(t *testing.T) {
	var editor *os.File
	s := startStated(t, func(c *Config) {
		var err error
		editor, err = os.Create(filepath.Join(c.States, statefile.Name))
		must(t, err)
		_, err = editor.WriteString("R1: {state: ")
		must(t, err)
	})
	defer editor.Close()
	if p := storetest.ProblemsOf(s, statefile.Name); len(p.Problems) == 0 {
		t.Error("nothing is said of it")
	}
	_, err := editor.WriteString("disabled}\n")
	must(t, err)
	must(t, editor.Close())
	storetest.Expect(t, s.sub, "state R1 disabled by file")
	s.quiet(t)
	if p := storetest.ProblemsOf(s, statefile.Name); len(p.Problems) > 0 {
		t.Errorf("problems %+v remain", p)
	}
}

// TestEntriesThatAreWrongAtTheStart don't take the others with them.
func TestEntriesThatAreWrongAtTheStart(t *testing.T) {
	s := startStated(t, func(c *Config) {
		must(t, os.WriteFile(filepath.Join(c.States, statefile.Name), []byte("R1: {state: disabled}\nR2: {state: off}\n"), 0o644))
	})
	if s.State("R1").State != rules.Disabled || !s.State("R2").IsZero() {
		t.Errorf("R1 %+v, R2 %+v", s.State("R1"), s.State("R2"))
	}
	if text := storetest.ProblemsOf(s, statefile.Name).Problems.Error(); !strings.Contains(text, ":2:13: unknown state") {
		t.Errorf("problems: %s", text)
	}
	if _, err := os.Stat(s.path()); err != nil {
		t.Errorf("it was set aside: %v", err)
	}
}

// TestExpiredEntry: what an operator writes too late has no effect and goes away.
func TestExpiredEntry(t *testing.T) {
	s := startStated(t, unchanged)
	soon := s.clock.Now().Add(time.Minute).Format(time.RFC3339)
	s.write(t, "R1: {state: disabled, expires_at: "+soon+"}\n# mine\nR2: {state: disabled, expires_at: 2020-01-01T00:00:00Z}\n")
	storetest.Expect(t, s.sub, "state R1 disabled by file")
	s.quiet(t)
	s.clock.Pass(time.Minute)
	storetest.Expect(t, s.sub, "state R1 enabled by expiry")
	s.quiet(t)
	data, err := os.ReadFile(s.path())
	must(t, err)
	if strings.Contains(string(data), "R1") || strings.Contains(string(data), "R2") {
		t.Errorf("the file still has\n%s", data)
	}
}

// TestExpiredEntryThatStays, since the file can't be written: it does not come back with the clock,
// whatever else is edited, until it is another one.
func TestExpiredEntryThatStays(t *testing.T) {
	s := startStated(t, unchanged)
	entry := "R1: {state: disabled, expires_at: " + s.clock.Now().Add(time.Minute).Format(time.RFC3339) + "}\n"
	s.write(t, entry)
	storetest.Expect(t, s.sub, "state R1 disabled by file")
	s.Break(t, true)
	s.clock.Pass(time.Minute)
	storetest.Expect(t, s.sub, "state R1 enabled by expiry")
	s.clock.Step(-time.Hour)
	s.write(t, entry+"R2: {state: disabled}\n")
	storetest.Expect(t, s.sub, "state R2 disabled by file")
	if got := s.State("R1"); !got.IsZero() {
		t.Errorf("it has come back: %+v", got)
	}
	s.write(t, strings.Replace(entry, "}", ", reason: anew}", 1)+"R2: {state: disabled}\n")
	storetest.Expect(t, s.sub, "state R1 disabled by file")
	s.Break(t, false)
	s.quiet(t)
}

// TestReadOnly sets states where nothing can be written.
func TestReadOnly(t *testing.T) {
	require.Root(t)
	s := startStated(t, unchanged)
	s.write(t, "R1: {state: disabled}\n")
	storetest.Expect(t, s.sub, "state R1 disabled by file")
	must(t, unix.Mount(s.cfg.States, s.cfg.States, "", unix.MS_BIND, ""))
	mounted := true
	unmount := func() {
		if mounted {
			mounted = false
			must(t, unix.Unmount(s.cfg.States, unix.MNT_DETACH))
		}
	}
	defer unmount()
	must(t, unix.Mount("", s.cfg.States, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	for _, id := range []string{"R1", "R2"} {
		err := s.SetState(id, rules.RuleState{State: rules.Clipped, ConfidenceMax: 0.5}, "alice")
		if err == nil || !strings.Contains(err.Error(), "read-only file system") {
			t.Errorf("got %v", err)
		}
	}
	if s.State("R1").State != rules.Disabled || !s.State("R2").IsZero() {
		t.Errorf("R1 %+v, R2 %+v", s.State("R1"), s.State("R2"))
	}
	unmount()
	s.quiet(t)
}

// TestStatesCantBeKept where there is no directory for them; rules can.
func TestStatesCantBeKept(t *testing.T) {
	f := start(t, brief, two())
	if err := f.SetState("R1", rules.RuleState{State: rules.Disabled}, "alice"); err == nil || !strings.Contains(err.Error(), "there is no directory for states") {
		t.Errorf("got %v", err)
	}
	s := startStated(t, func(c *Config) {
		must(t, os.Remove(c.States))
		must(t, os.WriteFile(c.States, nil, 0o644)) // a file
		fill(t, c.Dir, two())
	})
	if got := storetest.Live(s.Load()); got != "R1v1 R2v1" {
		t.Errorf("live are %s", got)
	}
	if err := s.SetState("R1", rules.RuleState{State: rules.Disabled}, "alice"); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("got %v", err)
	}
	must(t, os.Remove(s.cfg.States))
	s.quiet(t)
}

// TestOtherProcess sets states while the store does: none is lost, each is announced once.
func TestOtherProcess(t *testing.T) {
	s := startStated(t, unchanged)
	const edits = 20
	done := make(chan error)
	go func() {
		other := statefile.In(s.cfg.States)
		for i := range edits {
			if _, err := other.Set(map[string]rules.RuleState{fmt.Sprint("OTHER", i): {State: rules.Disabled, SetBy: "other"}}); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for i := range edits {
		must(t, s.SetState(fmt.Sprint("OWN", i), rules.RuleState{State: rules.Disabled}, "own"))
	}
	must(t, <-done)
	next := map[string]int{}
	for range 2 * edits {
		c := storetest.Next(t, s.sub)
		if want := fmt.Sprint(strings.ToUpper(c.By), next[c.By]); c.RuleID != want && c.By == "own" {
			t.Errorf("got %s, want %s", storetest.Show(c), want)
		}
		next[c.By]++
	}
	if next["own"] != edits || next["other"] != edits {
		t.Errorf("changes: %v", next)
	}
	s.quiet(t)
}

// TestStatesAreWatchedAgain after an overflow and after an error.
func TestStatesAreWatchedAgain(t *testing.T) {
	w := make(chan *faulty, 4)
	s := startStated(t, func(c *Config) {
		c.newStateWatcher = func() (watcher, error) {
			raw, err := inotify.New()
			f := &faulty{Watcher: raw}
			w <- f
			return f, err
		}
	})
	first := <-w
	first.overflow.Store(true)
	s.write(t, "R1: {state: disabled}\n")
	storetest.Expect(t, s.sub, "state R1 disabled by file")
	broken := fmt.Errorf("reading inotify: %w", unix.EIO)
	first.fail.Store(&broken)
	s.write(t, "R2: {state: disabled}\n")
	c := storetest.Expect(t, s.sub, "states rejected")[0]
	if text := c.Problems.Error(); !strings.Contains(text, "input/output error") {
		t.Errorf("problem is %q", text)
	}
	storetest.Expect(t, s.sub, "state R1 enabled by file", "state R2 disabled by file")
	s.quiet(t)
	if p := storetest.ProblemsOf(s, statefile.Name); len(p.Problems) > 0 {
		t.Errorf("problems %+v remain", p)
	}
}

// TestStatesLeakNothing starts and stops, also where the start fails.
func TestStatesLeakNothing(t *testing.T) {
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(entries)
	}
	cycle := func() {
		cfg := statedConfig(t, storetest.NewClock())
		cfg.Clock, cfg.Logger = nil, slog.New(slog.DiscardHandler)
		s, err := Open(cfg)
		must(t, err)
		must(t, s.SetState("R1", rules.RuleState{State: rules.Disabled, ExpiresAt: time.Now().Add(time.Hour)}, "alice"))
		s.Stop()
		if err := s.SetState("R1", rules.RuleState{}, "alice"); err == nil {
			t.Error("a stopped store sets states")
		}
		must(t, os.Remove(cfg.Dir))
		if _, err := Open(cfg); err == nil {
			t.Error("opened nothing")
		}
	}
	cycle()
	before := descriptors()
	for range 5 {
		cycle()
	}
	if after := descriptors(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// TestSystemClock has a state expire by the clock of this machine.
func TestSystemClock(t *testing.T) {
	s := startStated(t, func(c *Config) { c.Clock = nil })
	at := time.Now().Add(200 * time.Millisecond)
	must(t, s.SetState("R1", rules.RuleState{State: rules.Disabled, ExpiresAt: at}, "alice"))
	storetest.Expect(t, s.sub, "state R1 disabled by alice", "state R1 enabled by expiry")
	if time.Now().Before(at) {
		t.Error("it expired early")
	}
}
