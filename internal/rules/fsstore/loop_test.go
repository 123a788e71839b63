package fsstore

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"bittern/internal/inotify"
	"bittern/internal/rules/storetest"
)

// begun is a loop that has read two files, and perhaps more, and is driven by the test.
func begun(t *testing.T, more ...map[string]string) *loop {
	t.Helper()
	cfg := config(t.TempDir(), time.Minute)
	for _, files := range append(more, two()) {
		fill(t, cfg.Dir, files)
	}
	s, err := New(cfg)
	must(t, err)
	l := newLoop(s)
	must(t, l.begin())
	t.Cleanup(func() {
		l.end()
		s.Stop()
	})
	return l
}

func TestWhatVanishedBeforeTheDirectoryStays(t *testing.T) {
	l := begun(t)
	must(t, os.Remove(filepath.Join(l.path, "a.yml")))
	l.refresh(&dirty{order: []string{"a.yml"}, hints: map[string]*hint{"a.yml": {removed: true}}})
	if len(l.vanished) != 1 || l.nextDue().IsZero() {
		t.Fatalf("vanished are %v", l.vanished)
	}
	l.lost("gone", "")
	if due := l.nextDue(); len(l.vanished) > 0 || !due.IsZero() {
		t.Errorf("%v is still to be deleted, at %v", l.vanished, due)
	}
	if got := storetest.Live(l.store.Load()); got != "R1v1 R2v1" {
		t.Errorf("live are %q", got)
	}
}

func TestLookBeforeDeletion(t *testing.T) {
	l := begun(t)
	now := time.Now()
	must(t, os.Remove(filepath.Join(l.path, "b.yml")))
	for _, name := range []string{"a.yml", "b.yml"} {
		l.vanished[name] = vanished{seen: now, due: now}
	}
	l.tick(now) // of the two, a.yml is back
	if got := storetest.Live(l.store.Load()); got != "R1v1" {
		t.Errorf("live are %q", got)
	}
	if len(l.vanished) > 0 {
		t.Errorf("%v is still to be deleted", l.vanished)
	}
}

func TestDirectoryThatIsBackHasTimeToBeFilled(t *testing.T) {
	for _, away := range []bool{false, true} {
		l := begun(t)
		if away {
			l.lost("gone", "")
		}
		must(t, os.Remove(filepath.Join(l.path, "a.yml")))
		before := time.Now()
		must(t, l.rescan(newDirty(before)))
		due := l.vanished["a.yml"].due.Sub(before)
		if long := due >= returnGraceFactor*l.cfg.DeleteGrace; long != away || due < l.cfg.DeleteGrace {
			t.Errorf("away %v: deleted after %v", away, due)
		}
	}
}

// TestDirectoryIsComparedBeforeItIsRead: what makes no event, or has not made one yet, shows at the next one.
func TestDirectoryIsComparedBeforeItIsRead(t *testing.T) {
	l := begun(t)
	must(t, os.Rename(l.path, l.path+".old"))
	must(t, os.Mkdir(l.path, 0o700))
	fill(t, l.path, map[string]string{"a.yml": storetest.Text("R1", 2), "b.yml": storetest.Text("R2", 1)})
	must(t, l.handle(inotify.Batch{At: time.Now()}))
	if got := storetest.Live(l.store.Load()); got != "R1v2 R2v1" {
		t.Errorf("live are %q", got)
	}
}

// TestNothingIsDueInADirectoryThatIsAway: that a file is not there says nothing then.
func TestNothingIsDueInADirectoryThatIsAway(t *testing.T) {
	l := begun(t)
	now := time.Now()
	l.vanished["a.yml"] = vanished{seen: now, due: now}
	must(t, os.Rename(l.path, l.path+".old"))
	must(t, l.tick(now))
	if got := storetest.Live(l.store.Load()); got != "R1v1 R2v1" || !l.gone {
		t.Errorf("live are %q, gone is %v", got, l.gone)
	}
	if due := l.nextDue(); !due.IsZero() {
		t.Errorf("something is due at %v", due)
	}
}
