package fsstore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify"
	"bittern/internal/rules"
	"bittern/internal/rules/storetest"
)

func (f *fixture) hold(t testing.TB)    { t.Helper(); must(t, os.WriteFile(f.file(HoldName), nil, 0o600)) }
func (f *fixture) release(t testing.TB) { t.Helper(); must(t, os.Remove(f.file(HoldName))) }

// wantSet receives changes, in any order, that are one set, and the latest of each rule.
func wantSet(t *testing.T, sub *rules.Subscription, want ...string) {
	t.Helper()
	got := map[string]bool{}
	var first rules.ChangeSet
	for i := range want {
		c := storetest.Next(t, sub)
		if got[storetest.Show(c)] = true; i == 0 {
			first = c.Set
		}
		if c.Set != first || !first.Whole || first.Size != len(want) {
			t.Errorf("%s is of set %+v, the first of %d of %+v", storetest.Show(c), c.Set, len(want), first)
		}
	}
	for _, w := range want {
		if !got[w] {
			t.Errorf("changes are %v, want %q", got, want)
		}
	}
}

// TestNothingIsReadWhileHeld drives the loop, so that what it does with each event is seen.
func TestNothingIsReadWhileHeld(t *testing.T) {
	l := begun(t, map[string]string{"c.yml": storetest.Text("R3", 1)})
	sub := l.store.Changes()
	step := func() {
		batch, err := l.w.Read(time.Now().Add(storetest.Patience))
		must(t, err)
		must(t, l.handle(batch))
		l.tick(time.Now())
	}
	write := func(name, text string) { must(t, os.WriteFile(filepath.Join(l.path, name), []byte(text), 0o600)) }
	must(t, os.Rename(filepath.Join(l.path, "c.yml"), filepath.Join(l.path, "c.old")))
	step() // it may come back, and is not deleted yet
	l.cfg.DeleteGrace = -1
	write(HoldName, "")
	step()
	write("a.yml", storetest.Text("R1", 2))
	step()
	write("b.yml", storetest.Text("R2", 2))
	step()
	if c, ok := sub.TryNext(); ok || l.held == nil || len(l.held.parsed) > 0 {
		t.Fatalf("while it is held: %s, %+v", storetest.Show(c), l.held)
	}
	if due := time.Until(l.nextDue()); due < time.Minute {
		t.Errorf("looks again in %s", due)
	}
	must(t, os.Remove(filepath.Join(l.path, HoldName)))
	step()
	wantSet(t, sub, "definition R1 v2", "definition R2 v2", "deleted R3")
	if l.held != nil || !l.nextDue().IsZero() {
		t.Errorf("after it: %+v, due %v", l.held, l.nextDue())
	}
}

// TestHoldWhileFilesAreRead begins a set, and ends it, while an edit from before it is read:
// what of the set was read with that must not be live without the rest.
func TestHoldWhileFilesAreRead(t *testing.T) {
	cfg := config(t.TempDir(), brief)
	fill(t, cfg.Dir, two())
	var f *fixture
	parse, during := cfg.Parse, map[string]func(){}
	cfg.Parse = func(path string, data []byte, lists rules.Lists) *rules.File {
		if do := during[filepath.Base(path)]; do != nil {
			delete(during, filepath.Base(path))
			do()
		}
		return parse(path, data, lists)
	}
	entered, resume := make(chan struct{}), make(chan struct{})
	f = openStore(t, cfg)
	sub := f.Changes()
	during["first.yml"] = func() { close(entered); <-resume }
	f.Put(t, "first.yml", storetest.Text("FIRST", 1))
	<-entered
	// Of one batch, the first file is read when the set begins, and the second when it is half there.
	during["x.yml"] = func() {
		f.hold(t)
		f.Put(t, "a.yml", storetest.Text("R1", 3))
	}
	during["a.yml"] = func() {
		f.Put(t, "b.yml", storetest.Text("R2", 3))
		f.release(t)
	}
	f.Put(t, "x.yml", storetest.Text("X", 1))
	f.Put(t, "a.yml", storetest.Text("R1", 2))
	close(resume)
	storetest.Expect(t, sub, "definition FIRST v1")
	wantSet(t, sub, "definition X v1", "definition R1 v3", "definition R2 v3")
	storetest.Quiet(t, f, sub)
}

func TestHoldAtTheStart(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, two())
	fill(t, dir, map[string]string{HoldName: "alice: git pull\nmore", "bad.yml": storetest.BadText("R9")})
	s, err := New(config(dir, brief))
	must(t, err)
	t.Cleanup(s.Stop)
	sub := s.Changes()
	must(t, s.Start())
	f := &fixture{Store: s, dir: dir, stage: t.TempDir(), cfg: s.cfg}
	storetest.WantLive(t, f, "R1v1 R2v1")
	all := storetest.Expect(t, sub, "definition R1 v1", "definition R2 v1", "rejected R9", "rejected")
	for _, want := range []string{f.file(HoldName) + ": rules directory is held since 20", "(alice: git pull)", "may be half of a set", "rm " + f.file(HoldName)} {
		if text := all[3].Problems.Error(); !strings.Contains(text, want) {
			t.Errorf("it says %q, not %q", text, want)
		}
	}
	storetest.WantProblem(t, f, HoldName, "half of a set")
	f.Put(t, "a.yml", storetest.Text("R1", 2))
	f.Put(t, "b.yml", storetest.Text("R2", 2))
	f.release(t)
	wantSet(t, sub, "definition R1 v2", "definition R2 v2")
	storetest.Quiet(t, f, sub)
	storetest.WantProblem(t, f, HoldName, "")
}

func TestLongHoldIsReportedOnce(t *testing.T) {
	f := start(t, brief, two())
	sub := f.Changes()
	old := filepath.Join(f.stage, "old")
	must(t, os.WriteFile(old, []byte("bob \x1b[2J"), 0o600))
	must(t, os.Chtimes(old, time.Time{}, time.Now().Add(-defaultHoldLong-time.Second)))
	must(t, os.Rename(old, f.file(HoldName)))
	c := storetest.Expect(t, sub, "rejected")[0]
	if text := c.Problems.Error(); !strings.Contains(text, "(bob [2J): no edit takes effect") {
		t.Errorf("it says %q", text)
	}
	f.Put(t, "a.yml", storetest.Text("R1", 2))
	must(t, os.WriteFile(f.file(HoldName), []byte("bob again"), 0o600))
	f.release(t)
	storetest.Expect(t, sub, "definition R1 v2")
	storetest.Quiet(t, f, sub)
	if got := f.Problems(); got != nil {
		t.Errorf("problems %+v remain", got)
	}

	// One that is not old is a warning, to those who ask.
	f.hold(t)
	f.Together(t, func() {}) // takes the place of the hold, and ends it
	f.hold(t)
	until(t, func() bool { return storetest.ProblemsOf(f, HoldName).Problems != nil })
	if p := storetest.ProblemsOf(f, HoldName).Problems; p.Failed() {
		t.Errorf("it is an error: %v", p)
	}
	f.release(t)
	storetest.Quiet(t, f, sub)
}

func TestOverflowWhileHeld(t *testing.T) {
	cfg := config(t.TempDir(), brief)
	fill(t, cfg.Dir, two())
	w := &faulty{}
	cfg.newWatcher = func() (watcher, error) {
		var err error
		w.Watcher, err = inotify.New()
		return w, err
	}
	f := openStore(t, cfg)
	sub := f.Changes()
	for round := 2; round < 12; round++ {
		f.hold(t)
		// To be sure that it is read, and the overflow that of what follows.
		until(t, func() bool { return storetest.ProblemsOf(f, HoldName).Problems != nil })
		w.overflow.Store(true)
		f.Put(t, "a.yml", storetest.Text("R1", round))
		f.Put(t, "b.yml", storetest.Text("R2", round))
		w.overflow.Store(true)
		f.release(t)
		wantSet(t, sub, fmt.Sprintf("definition R1 v%d", round), fmt.Sprintf("definition R2 v%d", round))
	}
	w.overflow.Store(false)
	storetest.Quiet(t, f, sub)
}

// TestDirectoryThatIsRemovedWhileHeld, as by rm -rf: its rules stay live.
func TestDirectoryThatIsRemovedWhileHeld(t *testing.T) {
	f := start(t, endless, two())
	sub := f.Changes()
	f.hold(t)
	f.Remove(t, "a.yml")
	f.Remove(t, "b.yml")
	f.release(t)
	must(t, os.Remove(f.dir))
	gone(t, f, sub, "R1v1 R2v1")
	must(t, os.Mkdir(f.dir, 0o700))
	f.Put(t, "a.yml", storetest.Text("R1", 2))
	f.Put(t, "b.yml", storetest.Text("R2", 2))
	wantSet(t, sub, "definition R1 v2", "definition R2 v2")
}

func TestDirectoryIsExchangedWhileHeld(t *testing.T) {
	f := start(t, brief, two())
	sub := f.Changes()
	fresh := filepath.Join(f.stage, "fresh")
	must(t, os.Mkdir(fresh, 0o700))
	fill(t, fresh, map[string]string{"a.yml": storetest.Text("R1", 2), "c.yml": storetest.Text("R3", 1)})
	f.hold(t)
	f.Put(t, "b.yml", storetest.Text("R2", 9)) // goes away with the directory
	must(t, unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, f.dir, unix.RENAME_EXCHANGE))
	wantSet(t, sub, "definition R1 v2", "definition R3 v1", "deleted R2")
	// The other way round: what comes is held.
	must(t, unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, f.dir, unix.RENAME_EXCHANGE))
	until(t, func() bool { return storetest.ProblemsOf(f, HoldName).Problems != nil })
	f.Put(t, "a.yml", storetest.Text("R1", 3))
	f.release(t)
	wantSet(t, sub, "definition R1 v3", "definition R2 v9", "deleted R3")
	storetest.Quiet(t, f, sub)
}
