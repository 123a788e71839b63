package fsstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify"
	"bittern/internal/rules"
	"bittern/internal/rules/storetest"
)

// faulty is a watcher that can be told to lose events, or to fail.
type faulty struct {
	*inotify.Watcher
	overflow atomic.Bool           // the next batch is lost, as if the queue had been full
	fail     atomic.Pointer[error] // the next read fails
}

func (w *faulty) Read(deadline time.Time) (inotify.Batch, error) {
	b, err := w.Watcher.Read(deadline)
	if fail := w.fail.Swap(nil); fail != nil {
		return inotify.Batch{}, *fail
	}
	if err == nil && w.overflow.Swap(false) {
		return inotify.Batch{Rescan: inotify.Overflow, At: b.At}, nil
	}
	return b, err
}

func TestOverflowLosesNothing(t *testing.T) {
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
	for round := 2; round < 20; round++ {
		w.overflow.Store(true)
		f.Put(t, "a.yml", storetest.Text("R1", round))
		storetest.Expect(t, sub, fmt.Sprintf("definition R1 v%d", round))
	}
	w.overflow.Store(true)
	f.Remove(t, "b.yml")
	storetest.Expect(t, sub, "deleted R2")
	w.overflow.Store(true)
	f.Rename(t, "a.yml", "c.yml")
	storetest.Quiet(t, f, sub)
}

// storm is how many events are more than any queue of usual size holds.
const storm = 50_000

// TestStorm fills the kernel's real queue while the store is held up in Parse.
func TestStorm(t *testing.T) {
	data, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	must(t, err)
	var limit int
	_, err = fmt.Sscan(string(data), &limit)
	must(t, err)
	if limit > 1<<17 {
		t.Skipf("a queue of %d events takes long to fill", limit)
	}
	cfg := config(t.TempDir(), brief)
	fill(t, cfg.Dir, two())
	f, resume := holding(t, cfg)
	sub := f.Changes()
	must(t, os.WriteFile(f.file("scratch0"), nil, 0o600))
	for i := range max(storm, limit+4) / 2 { // each makes two events, with names that don't fit into one
		f.Rename(t, fmt.Sprint("scratch", i%2), fmt.Sprint("scratch", (i+1)%2))
	}
	// None of these makes an event any more.
	f.Put(t, "a.yml", storetest.Text("R1", 2))
	f.Remove(t, "b.yml")
	f.Put(t, "c.yml", storetest.Text("R3", 1))
	resume()
	storetest.Expect(t, sub, "definition HOLD v1", "definition R1 v2", "definition R3 v1", "deleted R2")
	storetest.Quiet(t, f, sub)
	f.wantLog(t, "INFO reading rules directory anew dir="+cfg.Dir+" reason=overflow")
}

// holding is a store that is held up in Parse, so that events wait in the kernel's queue, until resume is called.
// It has then a rule HOLD.
func holding(t *testing.T, cfg Config) (f *fixture, resume func()) {
	t.Helper()
	entered, resumed := make(chan struct{}), make(chan struct{})
	parse, hold := cfg.Parse, sync.OnceFunc(func() { close(entered); <-resumed })
	cfg.Parse = func(path string, data []byte, lists rules.Lists) *rules.File {
		if strings.HasSuffix(path, "hold.yml") {
			hold()
		}
		return parse(path, data, lists)
	}
	f = openStore(t, cfg)
	resume = sync.OnceFunc(func() { close(resumed) })
	t.Cleanup(resume) // or Stop would wait for it
	f.Put(t, "hold.yml", storetest.Text("HOLD", 1))
	<-entered
	return f, resume
}

func TestWatchingIsTakenUpAfterAnError(t *testing.T) {
	cfg := config(t.TempDir(), brief)
	fill(t, cfg.Dir, two())
	var made []*faulty
	failNew := false
	cfg.newWatcher = func() (watcher, error) {
		if failNew {
			failNew = false
			return nil, errors.New("no instance to be had")
		}
		raw, err := inotify.New()
		made = append(made, &faulty{Watcher: raw})
		return made[len(made)-1], err
	}
	f := openStore(t, cfg)
	sub := f.Changes()
	failNew = true
	broken := fmt.Errorf("reading inotify: %w", unix.EIO)
	made[0].fail.Store(&broken)
	f.Put(t, "a.yml", storetest.Text("R1", 2))
	c := storetest.Expect(t, sub, "rejected")[0]
	if text := c.Problems.Error(); !strings.Contains(text, "not watched") || !strings.Contains(text, "input/output error") {
		t.Errorf("problem is %q", text)
	}
	storetest.Expect(t, sub, "definition R1 v2")
	storetest.Quiet(t, f, sub)
	if got := f.Problems(); got != nil {
		t.Errorf("problems %+v remain", got)
	}
}

func TestStartFailsWithAReason(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	none := filepath.Join(t.TempDir(), "none", "rules")
	limited := config(t.TempDir(), 0)
	limited.newWatcher = func() (watcher, error) {
		return nil, &inotify.LimitError{Sysctl: "fs.inotify.max_user_instances", Value: "128", Err: unix.EMFILE}
	}
	for want, cfg := range map[string]Config{
		"opening rules directory " + none + ": rules directory is gone": config(none, 0),
		"not a directory":                     config(file, 0),
		"fs.inotify.max_user_instances = 128": limited,
		"no rules directory given":            {Parse: limited.Parse, Logger: limited.Logger},
		"no parse function given":             {Dir: "x", Logger: limited.Logger},
		"no logger given":                     {Dir: "x", Parse: limited.Parse},
		"limit -1 is negative":                {Dir: "x", Parse: limited.Parse, Logger: limited.Logger, MaxBytes: -1},
	} {
		if s, err := Open(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v; want %q", s, err, want)
		}
	}
}

func TestStartAndStopInAnyOrder(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, two())
	for range 100 {
		s, err := New(config(dir, brief))
		must(t, err)
		sub := s.Changes()
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				if err := s.Start(); err != nil && !errors.Is(err, ErrStopped) {
					t.Error(err)
				}
			})
			all.Go(s.Stop)
		}
		all.Wait()
		if err := s.Start(); err != nil && !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
		for range 3 {
			_, err = sub.Next(context.Background())
		}
		if !errors.Is(err, rules.ErrClosed) {
			t.Errorf("subscription of a stopped store: %v", err)
		}
	}
}

func TestSubscribersBeforeTheStartGetAll(t *testing.T) {
	cfg := config(t.TempDir(), brief)
	fill(t, cfg.Dir, map[string]string{"a.yml": storetest.Text("R1", 1), "b.yml": storetest.BadText("R2")})
	s, err := New(cfg)
	must(t, err)
	defer s.Stop()
	sub := s.Changes()
	must(t, s.Start())
	must(t, s.Start())
	storetest.Expect(t, sub, "definition R1 v1", "rejected R2")
}

func TestNoDescriptorIsLeaked(t *testing.T) {
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(entries)
	}
	cycle := func() {
		dir := filepath.Join(t.TempDir(), "rules")
		must(t, os.Mkdir(dir, 0o700))
		fill(t, dir, two())
		f := openStore(t, config(dir, endless))
		sub := f.Changes()
		f.Put(t, "a.yml", storetest.Text("R1", 2))
		must(t, os.Symlink("nowhere", f.file("c.yml")))
		storetest.Expect(t, sub, "definition R1 v2", "rejected")
		must(t, os.RemoveAll(dir))
		gone(t, f, sub, "R1v2 R2v1")
		must(t, os.Mkdir(dir, 0o700))
		fill(t, dir, map[string]string{"d.yml": storetest.Text("R3", 1)})
		storetest.Expect(t, sub, "definition R3 v1")
		f.Stop()
		_, err := Open(config(filepath.Join(dir, "none"), brief))
		if err == nil {
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
