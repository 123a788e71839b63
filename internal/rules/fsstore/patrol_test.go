package fsstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/rules"
	"bittern/internal/rules/storetest"
)

// patrolling is a loop with a patrol, which goes at the test's steps; and its log.
func patrolling(t *testing.T, prepare func(dir string)) (*loop, *rules.Subscription, *journal) {
	t.Helper()
	cfg := config(t.TempDir(), time.Minute)
	cfg.Rescan = time.Hour
	prepare(cfg.Dir)
	s, err := New(cfg)
	must(t, err)
	l := newLoop(s)
	must(t, l.begin())
	l.patrol.while = 0 // a round is enough
	t.Cleanup(func() {
		l.end()
		s.Stop()
	})
	return l, s.Changes(), cfg.Logger.Handler().(*journal)
}

// round goes once to each file.
func round(t *testing.T, l *loop) {
	t.Helper()
	for before := l.store.Stats().Rescans; l.store.Stats().Rescans == before; {
		must(t, l.step(l.patrol.due))
	}
}

// wantMissed checks how many edits the patrol has found so far, and that the log tells of each.
func wantMissed(t *testing.T, l *loop, log *journal, want int) {
	t.Helper()
	warned := 0
	for _, line := range log.lines {
		if strings.HasPrefix(line, "WARN rescan found what events missed path="+l.cfg.Dir) {
			warned++
		}
	}
	if got := l.store.Stats().Missed; got != uint64(want) || warned != want {
		t.Errorf("%d edits were missed and %d are in the log, want %d:\n%s", got, warned, want, strings.Join(log.lines, "\n"))
	}
}

// rewrite gives a file text of the same size, and sets its time back: only the content tells.
func rewrite(t *testing.T, path, text string) {
	t.Helper()
	before, err := os.Stat(path)
	must(t, err)
	must(t, os.WriteFile(path, []byte(text), 0o600))
	must(t, os.Chtimes(path, before.ModTime(), before.ModTime()))
	if after, err := os.Stat(path); err != nil || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		t.Fatalf("%s was %v and is %v, %v", path, before, after, err)
	}
}

// mapped is a file that is written to through a shared mapping.
func mapped(t *testing.T, path string) []byte {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	info, err := file.Stat()
	must(t, err)
	conn, err := file.SyscallConn()
	must(t, err)
	var memory []byte
	must(t, conn.Control(func(fd uintptr) {
		memory, err = unix.Mmap(int(fd), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}))
	must(t, errors.Join(err, file.Close()))
	return memory
}

// TestRescanFindsWhatEventsMiss makes edits that make no event, in all ways there are.
func TestRescanFindsWhatEventsMiss(t *testing.T) {
	outside := t.TempDir()
	l, sub, log := patrolling(t, func(dir string) {
		fill(t, outside, map[string]string{"target": storetest.Text("R1", 1), "other-name": storetest.Text("R2", 1)})
		must(t, os.Mkdir(filepath.Join(dir, "..data"), 0o700))
		fill(t, filepath.Join(dir, "..data"), map[string]string{"c": storetest.Text("R3", 1)})
		fill(t, dir, map[string]string{"d.yml": storetest.Text("R4", 1), "e.yml": storetest.Text("R5", 1)})
		must(t, errors.Join(os.Symlink(filepath.Join(outside, "target"), filepath.Join(dir, "a.yml")),
			os.Link(filepath.Join(outside, "other-name"), filepath.Join(dir, "b.yml")),
			os.Symlink("..data/c", filepath.Join(dir, "c.yml"))))
	})
	round(t, l)
	wantMissed(t, l, log, 0)
	memory := mapped(t, filepath.Join(l.path, "d.yml"))
	for version := 2; version <= 3; version++ {
		rewrite(t, filepath.Join(outside, "target"), storetest.Text("R1", version))
		rewrite(t, filepath.Join(outside, "other-name"), storetest.Text("R2", version))
		rewrite(t, filepath.Join(l.path, "..data", "c"), storetest.Text("R3", version))
		// Others' directories beside it make some.
		if batch, err := l.w.TryRead(); err != nil || slices.ContainsFunc(batch.Events, l.root.isDir) {
			t.Fatalf("there are events: %+v, %v", batch, err)
		}
		round(t, l)
		storetest.Expect(t, sub, fmt.Sprintf("definition R1 v%d", version), fmt.Sprintf("definition R2 v%d", version), fmt.Sprintf("definition R3 v%d", version))
		wantMissed(t, l, log, 3*(version-1))
	}

	// Whoever has a mapping may be about to write more, so that it takes a round longer.
	copy(memory, storetest.Text("R4", 2))
	round(t, l)
	wantMissed(t, l, log, 6)
	round(t, l)
	storetest.Expect(t, sub, "definition R4 v2")
	wantMissed(t, l, log, 7)
	must(t, unix.Munmap(memory))

	// What is now behind the link can't be read, or is gone.
	must(t, os.Remove(filepath.Join(outside, "target")))
	round(t, l)
	round(t, l)
	storetest.Expect(t, sub, "rejected")
	wantMissed(t, l, log, 8)
	fill(t, outside, map[string]string{"target": storetest.Text("R1", 4)})
	round(t, l)
	storetest.Expect(t, sub, "definition R1 v4")
	wantMissed(t, l, log, 9)
	if c, ok := sub.TryNext(); ok {
		t.Errorf("then comes %s", storetest.Show(c))
	}
	if got := l.store.Problems(); got != nil {
		t.Errorf("problems are %+v", got)
	}
}

// TestRescanLeavesToEventsWhatTheyTell edits in many ways while events wait in the queue: the rescan takes them in
// first, so that nothing was missed.
func TestRescanLeavesToEventsWhatTheyTell(t *testing.T) {
	for name, edit := range map[string]func(t *testing.T, l *loop) []string{
		"content": func(t *testing.T, l *loop) []string {
			fill(t, l.path, map[string]string{"a.yml": storetest.Text("R1", 2)})
			return []string{"definition R1 v2"}
		},
		"rename over": func(t *testing.T, l *loop) []string {
			fill(t, l.path, map[string]string{"temp": storetest.Text("R1", 2)})
			must(t, os.Rename(filepath.Join(l.path, "temp"), filepath.Join(l.path, "a.yml")))
			return []string{"definition R1 v2"}
		},
		"new file": func(t *testing.T, l *loop) []string {
			fill(t, l.path, map[string]string{"c.yml": storetest.Text("R3", 1)})
			return []string{"definition R3 v1"}
		},
		"new link": func(t *testing.T, l *loop) []string {
			fill(t, l.path, map[string]string{"temp": storetest.Text("R3", 1)})
			must(t, os.Symlink("temp", filepath.Join(l.path, "c.yml")))
			return []string{"definition R3 v1"}
		},
		"bad file": func(t *testing.T, l *loop) []string {
			fill(t, l.path, map[string]string{"a.yml": storetest.BadText("R1")})
			return []string{"rejected R1"}
		},
		"no file": func(t *testing.T, l *loop) []string {
			must(t, unix.Mkfifo(filepath.Join(l.path, "c.yml"), 0o600))
			return []string{"rejected"}
		},
		"removal": func(t *testing.T, l *loop) []string {
			must(t, os.Remove(filepath.Join(l.path, "a.yml")))
			return nil // it waits
		},
		"rename": func(t *testing.T, l *loop) []string {
			must(t, os.Rename(filepath.Join(l.path, "a.yml"), filepath.Join(l.path, "c.yml")))
			return nil
		},
		"directory replaced": func(t *testing.T, l *loop) []string {
			must(t, os.Rename(l.path, l.path+".old"))
			must(t, os.Mkdir(l.path, 0o700))
			fill(t, l.path, map[string]string{"a.yml": storetest.Text("R1", 2), "b.yml": storetest.Text("R2", 1)})
			return []string{"definition R1 v2"}
		},
		"file open for writing": func(t *testing.T, l *loop) []string {
			file, err := os.OpenFile(filepath.Join(l.path, "a.yml"), os.O_RDWR|os.O_TRUNC, 0)
			must(t, err)
			_, err = file.WriteString(storetest.Text("R1", 2))
			must(t, err)
			round(t, l)
			if c, ok := l.store.set.live["R1"]; !ok || c.rule.Version != 1 {
				t.Error("it is taken while it is written")
			}
			must(t, file.Close())
			return []string{"definition R1 v2"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, sub, log := patrolling(t, func(dir string) { fill(t, dir, two()) })
			want := edit(t, l)
			round(t, l)
			round(t, l)
			storetest.Expect(t, sub, want...)
			if c, ok := sub.TryNext(); ok {
				t.Errorf("then comes %s", storetest.Show(c))
			}
			wantMissed(t, l, log, 0)
		})
	}
}

// TestRescanTakesWhatIsKeptOpen: content that is right and has not changed for a round counts, even if its
// writer never closes the file. While it changes it does not.
func TestRescanTakesWhatIsKeptOpen(t *testing.T) {
	l, sub, log := patrolling(t, func(dir string) { fill(t, dir, two()) })
	file, err := os.OpenFile(filepath.Join(l.path, "a.yml"), os.O_RDWR, 0)
	must(t, err)
	defer file.Close()
	for version := 2; version <= 5; version++ {
		_, err := file.WriteAt([]byte(storetest.Text("R1", version)), 0)
		must(t, err)
		round(t, l)
		wantMissed(t, l, log, 0)
	}
	round(t, l)
	storetest.Expect(t, sub, "definition R1 v5")
	wantMissed(t, l, log, 1)
}

// TestRescanWhileHeld finds an edit without an event under a hold: it becomes a part of the set, and what waits
// with that is not taken for missed.
func TestRescanWhileHeld(t *testing.T) {
	outside := t.TempDir()
	l, sub, log := patrolling(t, func(dir string) {
		fill(t, outside, map[string]string{"target": storetest.Text("R1", 1)})
		fill(t, dir, map[string]string{"b.yml": storetest.Text("R2", 1)})
		must(t, os.Symlink(filepath.Join(outside, "target"), filepath.Join(dir, "a.yml")))
	})
	hold := filepath.Join(l.path, HoldName)
	must(t, os.WriteFile(hold, nil, 0o600))
	rewrite(t, filepath.Join(outside, "target"), storetest.Text("R1", 2))
	rewrite(t, filepath.Join(l.path, "b.yml"), storetest.Text("R2", 2))
	round(t, l)
	round(t, l)
	wantMissed(t, l, log, 1)
	if c, ok := sub.TryNext(); ok {
		t.Errorf("while it is held: %s", storetest.Show(c))
	}
	must(t, os.Remove(hold))
	batch, err := l.queued()
	must(t, err)
	must(t, l.handle(batch))
	wantSet(t, sub, "definition R1 v2", "definition R2 v2")
	round(t, l)
	wantMissed(t, l, log, 1)
}
