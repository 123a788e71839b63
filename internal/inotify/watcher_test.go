package inotify_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"bittern/internal/inotify"
)

func TestMain(m *testing.M) {
	if os.Getenv(limitsChild) != "" {
		os.Exit(reachLimits())
	}
	goleak.VerifyTestMain(m)
}

// patience ends a wait that would otherwise hang; it is never waited out.
const patience = 30 * time.Second

func open(t *testing.T) *inotify.Watcher {
	t.Helper()
	w, err := inotify.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func add(t *testing.T, w *inotify.Watcher, dir string) inotify.Watch {
	t.Helper()
	watch, err := w.AddDir(dir, inotify.Entries)
	if err != nil {
		t.Fatal(err)
	}
	return watch
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// show is one event as "name MASK".
func show(e inotify.Event) string {
	var names []string
	for _, known := range []struct {
		mask uint32
		name string
	}{
		{unix.IN_CREATE, "create"}, {unix.IN_CLOSE_WRITE, "close_write"}, {unix.IN_MOVED_FROM, "moved_from"},
		{unix.IN_MOVED_TO, "moved_to"}, {unix.IN_DELETE, "delete"}, {unix.IN_DELETE_SELF, "delete_self"},
		{unix.IN_MOVE_SELF, "move_self"}, {unix.IN_IGNORED, "ignored"}, {unix.IN_ISDIR, "isdir"}, {unix.IN_UNMOUNT, "unmount"},
	} {
		if e.Mask&known.mask != 0 {
			names = append(names, known.name)
		}
	}
	return e.Name + " " + strings.Join(names, "+")
}

// readUntil collects events until one shows as last.
func readUntil(t *testing.T, w *inotify.Watcher, last string) (shown []string, events []inotify.Event, reasons inotify.Reason) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		before := time.Now()
		b, err := w.Read(deadline)
		if err != nil {
			t.Fatalf("waiting for %q after %q: %v", last, shown, err)
		}
		if b.At.Before(before) || b.At.After(time.Now()) {
			t.Errorf("batch says it was read at %v", b.At)
		}
		reasons |= b.Rescan
		for _, e := range b.Events {
			shown, events = append(shown, show(e)), append(events, e)
		}
		if slices.Contains(shown, last) {
			return shown, events, reasons
		}
	}
}

func TestEventsOfADirectory(t *testing.T) {
	w, dir := open(t), t.TempDir()
	watch := add(t, w, dir)
	a, b := filepath.Join(dir, "a.yml"), filepath.Join(dir, "b.yml")
	must(t, os.WriteFile(a, []byte("x"), 0o600))
	_, err := os.ReadFile(a)
	must(t, err)
	must(t, os.Rename(a, b))
	must(t, os.Link(b, a))
	must(t, os.Symlink(b, filepath.Join(dir, "link")))
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	must(t, os.Remove(b))
	shown, events, reasons := readUntil(t, w, "b.yml delete")
	want := []string{
		"a.yml create", "a.yml close_write", "a.yml moved_from", "b.yml moved_to",
		"a.yml create", "link create", "sub create+isdir", "b.yml delete",
	}
	if !slices.Equal(shown, want) || reasons != 0 {
		t.Errorf("got %q, rescan %v; want %q", shown, reasons, want)
	}
	if events[2].Cookie == 0 || events[2].Cookie != events[3].Cookie {
		t.Errorf("cookies %d and %d don't join the rename", events[2].Cookie, events[3].Cookie)
	}
	for _, e := range events {
		if e.Watch != watch {
			t.Errorf("%s has watch %d, want %d", show(e), e.Watch, watch)
		}
	}
}

func TestNamesLeavesOutWriting(t *testing.T) {
	w, dir := open(t), t.TempDir()
	_, err := w.AddDir(dir, inotify.Names)
	must(t, err)
	a := filepath.Join(dir, "a.yml")
	must(t, os.WriteFile(a, []byte("x"), 0o600))
	must(t, os.Remove(a))
	if shown, _, _ := readUntil(t, w, "a.yml delete"); !slices.Equal(shown, []string{"a.yml create", "a.yml delete"}) {
		t.Errorf("got %q", shown)
	}
}

func TestEndOfADirectoryAsksForRescan(t *testing.T) {
	w, dir := open(t), filepath.Join(t.TempDir(), "rules")
	must(t, os.Mkdir(dir, 0o700))
	add(t, w, dir)
	must(t, os.Rename(dir, dir+".old"))
	must(t, os.Remove(dir+".old"))
	shown, _, reasons := readUntil(t, w, " ignored")
	if want := []string{" move_self", " delete_self", " ignored"}; !slices.Equal(shown, want) {
		t.Errorf("got %q, want %q", shown, want)
	}
	if reasons != inotify.Ignored {
		t.Errorf("rescan %v, want ignored", reasons)
	}
}

func TestRemoveIsNoReasonToRescan(t *testing.T) {
	w, first, second := open(t), t.TempDir(), t.TempDir()
	watch := add(t, w, first)
	must(t, w.Remove(watch))
	if err := w.Remove(watch); !errors.Is(err, unix.EINVAL) {
		t.Errorf("removing twice: %v, want EINVAL", err)
	}
	add(t, w, second)
	must(t, os.WriteFile(filepath.Join(first, "unseen"), nil, 0o600))
	must(t, os.Mkdir(filepath.Join(second, "seen"), 0o700))
	if shown, _, reasons := readUntil(t, w, "seen create+isdir"); len(shown) != 1 || reasons != 0 {
		t.Errorf("got %q, rescan %v", shown, reasons)
	}
}

func TestOverflowIsReported(t *testing.T) {
	data, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	must(t, err)
	var limit int
	_, err = fmt.Sscan(string(data), &limit)
	must(t, err)
	if limit > 1<<17 {
		t.Skipf("a queue of %d events takes long to fill", limit)
	}
	w, dir := open(t), t.TempDir()
	add(t, w, dir)
	// Two names in turn: equal events in a row are merged by the kernel.
	names := [2]string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}
	for i := range limit/2 + 2 {
		must(t, os.Mkdir(names[i%2], 0o700))
		must(t, os.Remove(names[i%2]))
	}
	var got inotify.Reason
	count := 0
	for got == 0 {
		b, err := w.Read(time.Now().Add(patience))
		must(t, err)
		got |= b.Rescan
		count += len(b.Events)
	}
	if got != inotify.Overflow || count > limit {
		t.Errorf("rescan %v after %d events, limit %d", got, count, limit)
	}
	must(t, os.Mkdir(filepath.Join(dir, "after"), 0o700))
	readUntil(t, w, "after create+isdir")
}

func TestTryReadDoesNotWait(t *testing.T) {
	w, dir := open(t), t.TempDir()
	add(t, w, dir)
	if b, err := w.TryRead(); err != nil || len(b.Events) > 0 {
		t.Fatalf("nothing happened, got %+v, %v", b, err)
	}
	must(t, os.Mkdir(filepath.Join(dir, "a"), 0o700))
	if b, err := w.TryRead(); err != nil || len(b.Events) != 1 {
		t.Errorf("got %+v, %v; want the one event", b, err)
	}
}

func TestReadObeysDeadline(t *testing.T) {
	w, dir := open(t), t.TempDir()
	add(t, w, dir)
	if _, err := w.Read(time.Now().Add(time.Millisecond)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %v, want ErrDeadlineExceeded", err)
	}
	must(t, os.Mkdir(filepath.Join(dir, "a"), 0o700))
	readUntil(t, w, "a create+isdir") // a deadline that passed does not stick
}

func TestCloseEndsAReadThatWaits(t *testing.T) {
	w := open(t)
	add(t, w, t.TempDir())
	started, ended := make(chan struct{}), make(chan error)
	go func() {
		close(started)
		_, err := w.Read(time.Time{})
		ended <- err
	}()
	<-started
	must(t, w.Close())
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	case <-time.After(patience):
		t.Fatal("the reader still waits")
	}
	_, read := w.Read(time.Time{})
	_, try := w.TryRead()
	_, watch := w.AddDir(t.TempDir(), inotify.Entries)
	for name, err := range map[string]error{"Read": read, "TryRead": try, "AddDir": watch, "Remove": w.Remove(1)} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
}

func TestAddDirFollowsLinksAndRefusesFiles(t *testing.T) {
	w, dir := open(t), t.TempDir()
	watch := add(t, w, dir)
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(dir, link))
	if again := add(t, w, link); again != watch {
		t.Errorf("one directory has watches %d and %d", watch, again)
	}
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := w.AddDir(file, inotify.Entries); !errors.Is(err, unix.ENOTDIR) || !strings.Contains(err.Error(), file) {
		t.Errorf("watching a file: %v", err)
	}
	if _, err := w.AddDir(filepath.Join(dir, "none"), inotify.Entries); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("watching nothing: %v", err)
	}
}

func TestNoDescriptorIsLeaked(t *testing.T) {
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(entries)
	}
	cycle := func() {
		w, err := inotify.New()
		must(t, err)
		add(t, w, t.TempDir())
		must(t, w.Close())
		must(t, w.Close())
	}
	cycle() // the runtime's poller opens its own at the first use
	before := descriptors()
	for range 20 {
		cycle()
	}
	if after := descriptors(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// TestWake wakes reads that wait, and such as are about to.
func TestWake(t *testing.T) {
	w := open(t)
	for range 100 {
		read := make(chan error)
		go func() {
			_, err := w.Read(time.Time{})
			read <- err
		}()
		w.Wake()
		select {
		case err := <-read:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("got %v, want %v", err, os.ErrDeadlineExceeded)
			}
		case <-time.After(patience):
			t.Fatal("the read still waits")
		}
	}
}
