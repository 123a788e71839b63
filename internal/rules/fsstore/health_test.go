package fsstore

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bittern/internal/inotify"
	"bittern/internal/rules/storetest"
)

// becomes waits until the health of a store is as wanted: "" for well, else a part of the error.
func becomes(t *testing.T, f *fixture, want string) error {
	t.Helper()
	for deadline := time.Now().Add(storetest.Patience); ; runtime.Gosched() {
		err := f.Health()
		if err == nil && want == "" || err != nil && want != "" && strings.Contains(err.Error(), want) {
			return err
		}
		if time.Now().After(deadline) {
			t.Fatalf("health is %v, want %q", err, want)
		}
	}
}

// broken makes watchers until it is told to fail.
type broken struct {
	fail atomic.Bool
	last atomic.Pointer[inotify.Watcher]
}

var errNoWatcher = errors.New("no instance to be had")

func (b *broken) make() (watcher, error) {
	if b.fail.Load() {
		return nil, errNoWatcher
	}
	w, err := inotify.New()
	b.last.Store(w)
	return w, err
}

// kill takes the descriptor away from the store, and does not let it have another one.
func (b *broken) kill(t *testing.T) {
	t.Helper()
	b.fail.Store(true)
	must(t, b.last.Load().Close())
}

func TestDeadWatcherIsUnhealthy(t *testing.T) {
	var dead broken
	cfg := config(t.TempDir(), brief)
	fill(t, cfg.Dir, two())
	cfg.newWatcher = dead.make
	f := openStore(t, cfg)
	sub := f.Changes()
	must(t, f.Health())
	for version := 2; version <= 3; version++ {
		dead.kill(t)
		first := becomes(t, f, f.dir+" is not watched: rules directory is not watched: ")
		again := becomes(t, f, errNoWatcher.Error())
		var was, is *UnwatchedError
		if !errors.As(first, &was) || !errors.As(again, &is) || !is.Since.Equal(was.Since) || is.Source != f.dir {
			t.Errorf("health was %+v, is %+v", was, is)
		}
		storetest.Expect(t, sub, "rejected")
		storetest.WantProblem(t, f, f.dir, errNoWatcher.Error())
		f.Put(t, "a.yml", storetest.Text("R1", version))
		dead.fail.Store(false)
		storetest.Expect(t, sub, "definition R1 v"+string(rune('0'+version)))
		becomes(t, f, "")
		storetest.Quiet(t, f, sub)
	}
}

func TestDeadWatcherOfStatesIsUnhealthy(t *testing.T) {
	var dead broken
	cfg := statedConfig(t, storetest.NewClock())
	cfg.newStateWatcher = dead.make
	f := openStore(t, cfg)
	becomes(t, f, "")
	dead.kill(t)
	becomes(t, f, "states.yaml is not watched: "+errNoWatcher.Error())
	dead.fail.Store(false)
	becomes(t, f, "")
}

// mortal is a watcher whose reader ends when it is killed, as by a bug.
type mortal struct{ *inotify.Watcher }

func (w mortal) Read(deadline time.Time) (inotify.Batch, error) {
	return die(w.Watcher.Read(deadline))
}

func (w mortal) TryRead() (inotify.Batch, error) { return die(w.Watcher.TryRead()) }

func die(b inotify.Batch, err error) (inotify.Batch, error) {
	if errors.Is(err, os.ErrClosed) {
		runtime.Goexit()
	}
	return b, err
}

func TestEndOfTheGoroutineIsUnhealthy(t *testing.T) {
	var raw *inotify.Watcher
	cfg := config(t.TempDir(), brief)
	cfg.newWatcher = func() (_ watcher, err error) {
		raw, err = inotify.New()
		return mortal{raw}, err
	}
	f := openStore(t, cfg)
	must(t, f.Health())
	must(t, raw.Close())
	becomes(t, f, f.dir+" is not watched: what watches it has ended")
}

// TestHealthTakesNoLock holds up the store with its lock held.
func TestHealthTakesNoLock(t *testing.T) {
	cfg := config(t.TempDir(), brief)
	cfg.stuck = time.Nanosecond
	f, resume := holding(t, cfg)
	f.mu.Lock()
	err := becomes(t, f, f.dir+" is not watched: a look at it takes ")
	f.mu.Unlock()
	var e *UnwatchedError
	if !errors.As(err, &e) || e.Since.After(time.Now()) || e.Since.Before(f.health.began) {
		t.Errorf("health is %+v", err)
	}
	resume()
	becomes(t, f, "")
}

func TestHealthBeforeAndAfter(t *testing.T) {
	s, err := New(config(t.TempDir(), brief))
	must(t, err)
	if err := s.Health(); !errors.Is(err, errNotStarted) {
		t.Errorf("before the start: %v", err)
	}
	must(t, s.Start())
	must(t, s.Health())
	s.Stop()
	if err := s.Health(); !errors.Is(err, ErrStopped) {
		t.Errorf("after the end: %v", err)
	}
	s, err = New(config(filepath.Join(t.TempDir(), "none"), brief))
	must(t, err)
	defer s.Stop()
	if err := s.Start(); err == nil || !errors.Is(s.Health(), errGone) {
		t.Errorf("start failed with %v, health is %v", err, s.Health())
	}
}
