package fsstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/require"
	"bittern/internal/rules/storetest"
)

// ownMounts runs the test where mounts are seen by nobody else.
func ownMounts(t *testing.T) bool {
	t.Helper()
	require.Root(t)
	return sandboxed(t, &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS})
}

// mount mounts something until the end of the test.
func mount(t *testing.T, source, dir, kind string, flags uintptr, options string) {
	t.Helper()
	must(t, unix.Mount(source, dir, kind, flags, options))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // unless the test did
}

// unmount does it as soon as the store does not look at a file just now.
func unmount(t *testing.T, dir string) {
	t.Helper()
	for deadline := time.Now().Add(storetest.Patience); ; {
		err := unix.Unmount(dir, 0)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			t.Fatalf("unmounting %s: %v", dir, err)
		}
	}
}

// mounted is a store of two rules in a file system of its own; what the directory is below that is empty. It is
// apart from where others make files: their events have the directory looked at as well.
func mounted(t *testing.T) *fixture {
	t.Helper()
	mount(t, "tmpfs", "/mnt", "tmpfs", 0, "size=1m")
	cfg := config("/mnt/rules", endless)
	cfg.Rescan = time.Millisecond
	must(t, os.Mkdir(cfg.Dir, 0o700))
	mount(t, "tmpfs", cfg.Dir, "tmpfs", 0, "size=1m")
	fill(t, cfg.Dir, two())
	return openStore(t, cfg)
}

func wantUnhealthy(t *testing.T, f *fixture, part string) {
	t.Helper()
	if err := f.Health(); err == nil || !strings.Contains(err.Error(), part) {
		t.Errorf("health is %v, want %q", err, part)
	}
}

// TestUnmounted unmounts the rules, which is no deletion, and mounts them again.
func TestUnmounted(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	f := mounted(t)
	sub := f.Changes()
	for version := 2; version <= 4; version++ {
		unmount(t, f.dir)
		gone(t, f, sub, fmt.Sprintf("R1v%d R2v1", version-1))
		wantUnhealthy(t, f, "rules directory is empty since something was mounted or unmounted")
		mount(t, "tmpfs", f.dir, "tmpfs", 0, "size=1m")
		fill(t, f.dir, map[string]string{"b.yml": storetest.Text("R2", 1)})
		fill(t, f.dir, map[string]string{"a.yml": storetest.Text("R1", version)})
		storetest.Expect(t, sub, fmt.Sprintf("definition R1 v%d", version))
		must(t, f.Health())
	}
}

// TestEmptyMountIsFilledLater: it is noticed while there is nothing in it, which is no deletion either.
func TestEmptyMountIsFilledLater(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	l, sub, _ := patrolling(t, func(dir string) {
		mount(t, "tmpfs", dir, "tmpfs", 0, "size=1m")
		fill(t, dir, two())
	})
	look := func() { // twice, to be sure
		must(t, l.step(l.patrol.due))
		must(t, l.step(l.patrol.due))
		l.root.leave()
	}
	l.root.leave()
	must(t, unix.Unmount(l.path, 0))
	look()
	storetest.Expect(t, sub, "rejected")
	mount(t, "tmpfs", l.path, "tmpfs", 0, "size=1m")
	look()
	if len(l.vanished) > 0 || !l.gone || l.root.moved() {
		t.Errorf("vanished %v, gone is %v", l.vanished, l.gone)
	}
	fill(t, l.path, map[string]string{"a.yml": storetest.Text("R1", 2), "b.yml": storetest.Text("R2", 1)})
	events, err := l.w.TryRead()
	must(t, err)
	must(t, l.handle(events))
	storetest.Expect(t, sub, "definition R1 v2")
	if len(l.vanished) > 0 || l.gone || l.store.Problems() != nil {
		t.Errorf("vanished %v, gone is %v, problems %+v", l.vanished, l.gone, l.store.Problems())
	}
}

// TestUnmountedOverOtherRules: what is below may well be rules, too.
func TestUnmountedOverOtherRules(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	mount(t, "tmpfs", "/mnt", "tmpfs", 0, "size=1m") // where nothing happens, so that only the store can be in the way
	dir := "/mnt/rules"
	must(t, os.Mkdir(dir, 0o700))
	fill(t, dir, map[string]string{"a.yml": storetest.Text("R1", 1), "b.yml": storetest.Text("R2", 1)})
	mount(t, "tmpfs", dir, "tmpfs", 0, "size=1m")
	fill(t, dir, map[string]string{"a.yml": storetest.Text("R1", 2), "c.yml": storetest.Text("R3", 1)})
	f := openStore(t, config(dir, brief))
	sub := f.Changes()
	unmount(t, dir) // without a rescan: this makes an event
	storetest.Expect(t, sub, "definition R1 v1", "definition R2 v1", "deleted R3")
	storetest.Quiet(t, inPlace{f}, sub)
}

// TestMountsWithoutEvents mounts over the rules, and takes them away while somebody still uses them.
func TestMountsWithoutEvents(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	f := mounted(t)
	sub := f.Changes()
	over := t.TempDir()
	fill(t, over, map[string]string{"a.yml": storetest.Text("R1", 2), "b.yml": storetest.Text("R2", 1)})
	mount(t, over, f.dir, "", unix.MS_BIND, "")
	storetest.Expect(t, sub, "definition R1 v2")
	must(t, os.WriteFile(f.file("a.yml"), []byte(storetest.Text("R1", 3)), 0o600))
	storetest.Expect(t, sub, "definition R1 v3")
	user, err := os.Open(f.dir)
	must(t, err)
	defer user.Close()
	must(t, unix.Unmount(f.dir, unix.MNT_DETACH))
	storetest.Expect(t, sub, "definition R1 v1") // of the mount below
	must(t, os.WriteFile(f.file("a.yml"), []byte(storetest.Text("R1", 4)), 0o600))
	storetest.Expect(t, sub, "definition R1 v4")
	must(t, unix.Unmount(f.dir, unix.MNT_DETACH))
	gone(t, f, sub, "R1v4 R2v1") // below that is nothing
	f.Stop()
	found := 0
	for _, line := range f.log.lines {
		if strings.HasPrefix(line, "WARN rescan found what events missed path=/mnt/rules found=the path leads to another directory") {
			found++
		}
	}
	// The last one makes an event, which may come late.
	if got := f.Stats().Missed; got != uint64(found) || got < 2 || got > 3 {
		t.Errorf("%d mounts were missed, and %d are in the log, want 2:\n%s", got, found, strings.Join(f.log.lines, "\n"))
	}
}

// TestOverlay edits rules of a layer that is not written to, as containers have them.
func TestOverlay(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	overlay := func(t *testing.T, grace time.Duration) *fixture {
		t.Helper()
		top := t.TempDir()
		at := func(name string) string { return filepath.Join(top, name) }
		must(t, errors.Join(os.MkdirAll(at("lower/rules"), 0o700), os.Mkdir(at("upper"), 0o700), os.Mkdir(at("work"), 0o700), os.Mkdir(at("merged"), 0o700)))
		fill(t, at("lower/rules"), two())
		mount(t, "overlay", at("merged"), "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", at("lower"), at("upper"), at("work")))
		f := openStore(t, config(at("merged/rules"), grace))
		f.stage = at("merged/stage")
		must(t, os.Mkdir(f.stage, 0o700))
		return f
	}
	for name := range toolEdits {
		t.Run(name, func(t *testing.T) { overlay(t, endless).editedBy(t, name) })
	}
	t.Run("removal and return", func(t *testing.T) {
		f := overlay(t, brief)
		sub := f.Changes()
		f.Remove(t, "a.yml")
		storetest.Expect(t, sub, "deleted R1")
		inPlace{f}.Put(t, "a.yml", storetest.Text("R1", 2))
		storetest.Expect(t, sub, "definition R1 v2")
		f.Rename(t, "a.yml", "c.yml")
		f.Rename(t, "b.yml", "d.yml")
		f.Remove(t, "c.yml")
		storetest.Expect(t, sub, "deleted R1")
		f.Remove(t, "d.yml")
		storetest.Expect(t, sub, "deleted R2")
		f.wantLog(t)
	})
	t.Run("rescan", func(t *testing.T) {
		f := overlay(t, endless)
		f.Stop()
		f.cfg.Rescan = time.Nanosecond
		f = openStore(t, f.cfg)
		sub := f.Changes()
		for version := 2; version < 100; version++ {
			inPlace{f}.Put(t, "a.yml", storetest.Text("R1", version)) // the first copies the directory up
			storetest.Expect(t, sub, fmt.Sprintf("definition R1 v%d", version))
		}
		if got := f.Stats(); got.Missed != 0 || got.Rescans == 0 {
			t.Errorf("stats are %+v", got)
		}
	})
}
