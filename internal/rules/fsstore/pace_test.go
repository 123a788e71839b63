package fsstore

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"bittern/internal/inotify"
	"bittern/internal/rules/storetest"
)

// TestRescanOfALiveStore is the whole of it, at the pace of its own.
func TestRescanOfALiveStore(t *testing.T) {
	cfg := config(filepath.Join(t.TempDir(), "rules"), brief)
	cfg.Rescan = time.Millisecond
	must(t, os.Mkdir(cfg.Dir, 0o700))
	target := filepath.Join(t.TempDir(), "target")
	must(t, os.WriteFile(target, []byte(storetest.Text("R1", 1)), 0o600))
	must(t, os.Symlink(target, filepath.Join(cfg.Dir, "a.yml")))
	f := openStore(t, cfg)
	sub := f.Changes()
	for version := 2; version < 10; version++ {
		temp := target + ".new"
		must(t, os.WriteFile(temp, []byte(storetest.Text("R1", version)), 0o600))
		must(t, os.Rename(temp, target))
		storetest.Expect(t, sub, fmt.Sprintf("definition R1 v%d", version))
		storetest.Quiet(t, f, sub) // which events tell
		if got := f.Stats().Missed; got != uint64(version-1) {
			t.Fatalf("%d edits were missed, want %d", got, version-1)
		}
	}
}

// TestRescanDoesNotSuspectEvents edits a store without a pause while it rescans without a pause.
func TestRescanDoesNotSuspectEvents(t *testing.T) {
	cfg := config(filepath.Join(t.TempDir(), "rules"), endless)
	cfg.Rescan = time.Nanosecond
	must(t, os.Mkdir(cfg.Dir, 0o700))
	f := openStore(t, cfg)
	sub := f.Changes()
	for version := 1; version <= 200; version++ {
		for i, put := range []func(t testing.TB, name, text string){f.Put, inPlace{f}.Put} {
			id := fmt.Sprintf("R%d", i)
			put(t, id+".yml", storetest.Text(id, version))
			storetest.Expect(t, sub, fmt.Sprintf("definition %s v%d", id, version))
		}
	}
	if got := f.Stats(); got.Missed != 0 || got.Rescans == 0 {
		t.Errorf("stats are %+v", got)
	}
	f.wantLog(t)
}

func TestPace(t *testing.T) {
	for _, c := range []struct {
		interval time.Duration
		files    int
		step     time.Duration
		batch    int
	}{
		{5 * time.Minute, 0, 10 * time.Second, 1},
		{5 * time.Minute, 82, 5 * time.Minute / 82, 1},
		{5 * time.Minute, 4096, time.Second, 14},
		{time.Millisecond, 4096, time.Millisecond, 4096},
		{time.Hour, 3, 10 * time.Second, 1},
		{10 * time.Second, 1 << 20, time.Second, 1<<20/10 + 1},
	} {
		if step, batch := pace(c.interval, c.files); step != c.step || batch != c.batch {
			t.Errorf("%v, %d files: %d files each %v, want %d each %v", c.interval, c.files, batch, step, c.batch, c.step)
		}
	}
}

// woken is a watcher that counts how often it is woken: in /tmp others' files wake it as well.
type woken struct {
	*inotify.Watcher
	times atomic.Int32
}

func (w *woken) Wake() {
	w.times.Add(1)
	w.Watcher.Wake()
}

// TestRescanIsChangedWhileItRuns turns it on in a store that waits for events only, and off again.
func TestRescanIsChangedWhileItRuns(t *testing.T) {
	cfg := config(t.TempDir(), time.Minute)
	outside := filepath.Join(t.TempDir(), "a.yml")
	must(t, os.WriteFile(outside, []byte(storetest.Text("R1", 1)), 0o600))
	must(t, os.Link(outside, filepath.Join(cfg.Dir, "a.yml")))
	w := &woken{}
	cfg.newWatcher = func() (_ watcher, err error) {
		w.Watcher, err = inotify.New()
		return w, err
	}
	f := openStore(t, cfg)
	sub := f.Changes()
	must(t, os.WriteFile(outside, []byte(storetest.Text("R1", 2)), 0o600))
	must(t, f.SetRescan(time.Millisecond))
	if n := w.times.Load(); n != 1 {
		t.Errorf("the store was woken %d times, want once", n)
	}
	storetest.Expect(t, sub, "definition R1 v2")
	must(t, f.SetRescan(0))
	if err := f.SetRescan(-1); err == nil {
		t.Error("a negative time is accepted")
	}
	f.Put(t, "b.yml", storetest.Text("R2", 1))
	storetest.Expect(t, sub, "definition R2 v1")
	rounds := f.Stats().Rescans
	f.Put(t, "b.yml", storetest.Text("R2", 2))
	storetest.Expect(t, sub, "definition R2 v2")
	if now := f.Stats().Rescans; now != rounds {
		t.Errorf("%d rounds, then %d: it still goes on", rounds, now)
	}
}
