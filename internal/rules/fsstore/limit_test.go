package fsstore

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"bittern/internal/inotify"
	"bittern/internal/require"
	"bittern/internal/rules/storetest"
)

// ownLimits runs the test in a user namespace, where limits can be lowered without touching the machine's.
func ownLimits(t *testing.T) bool {
	t.Helper()
	if os.Getenv(sandboxVariable) == t.Name() {
		return true // it is in one
	}
	return sandboxed(t, require.UserNamespace(t))
}

// allow sets a limit of the namespace.
func allow(t *testing.T, what string, most int) {
	t.Helper()
	must(t, os.WriteFile("/proc/sys/user/max_inotify_"+what, fmt.Append(nil, most), 0))
}

func TestLimitsAtTheStart(t *testing.T) {
	if !ownLimits(t) {
		return
	}
	for _, what := range []string{"watches", "instances"} {
		allow(t, what, 1)
		var held *inotify.Watcher
		if what == "instances" {
			var err error
			held, err = inotify.New()
			must(t, err)
		}
		cfg := config(t.TempDir(), brief)
		s, err := Open(cfg)
		var limit *inotify.LimitError
		sysctl := "user.max_inotify_" + what
		if !errors.As(err, &limit) || limit.Sysctl != sysctl {
			t.Errorf("got %v, %v; want the limit of %s", s, err, what)
		} else if text := err.Error(); !strings.Contains(text, cfg.Dir) || !strings.Contains(text, sysctl+" = 1 reached") || !strings.Contains(text, "sysctl -w "+sysctl+"=N") {
			t.Errorf("error is %q", text)
		}
		allow(t, what, 1000)
		if held != nil {
			must(t, held.Close())
		}
	}
}

// TestLimitWhileWatching: a directory that takes the place of another needs a watch that is not to be had.
func TestLimitWhileWatching(t *testing.T) {
	if !ownLimits(t) {
		return
	}
	f := start(t, brief, two())
	sub := f.Changes()
	allow(t, "watches", watches(t)-1)
	must(t, os.Rename(f.dir, f.dir+".old"))
	must(t, os.Mkdir(f.dir, 0o700))
	fill(t, f.dir, map[string]string{"a.yml": storetest.Text("R1", 2), "b.yml": storetest.Text("R2", 1)})
	storetest.Expect(t, sub, "rejected")               // that it is away, or that it can't be watched
	becomes(t, f, "limit user.max_inotify_watches = ") // it is tried again and again
	storetest.WantLive(t, f, "R1v1 R2v1")
	if text := storetest.ProblemsOf(f, f.dir).Problems.Error(); !strings.Contains(text, "limit user.max_inotify_watches = ") {
		t.Errorf("problem is %q", text)
	}
	allow(t, "watches", 1000)
	storetest.Expect(t, sub, "definition R1 v2")
	storetest.Quiet(t, f, sub)
	must(t, f.Health())
	if got := f.Problems(); got != nil {
		t.Errorf("problems %+v remain", got)
	}
}

// TestUnreadableFiles runs as a user who may not read everything.
func TestUnreadableFiles(t *testing.T) {
	if os.Geteuid() == 0 && !sandboxed(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}) {
		return
	}
	f := start(t, brief, two())
	sub := f.Changes()
	hidden := func(name, text string) {
		t.Helper()
		f.Put(t, "hidden", text)
		must(t, os.Chmod(f.file("hidden"), 0))
		f.Rename(t, "hidden", name)
	}
	hidden("c.yml", storetest.Text("R3", 1))
	storetest.Expect(t, sub, "rejected")
	storetest.WantProblem(t, f, "c.yml", "file can't be read: permission denied (let the agent's user read it)")
	hidden("a.yml", storetest.Text("R1", 2))
	storetest.Expect(t, sub, "rejected")
	storetest.WantProblem(t, f, "a.yml", "permission denied", "R1")
	storetest.WantLive(t, f, "R1v1 R2v1")
	storetest.Quiet(t, f, sub)

	// It is enough to do what the problem says.
	must(t, os.Chmod(f.file("c.yml"), 0o600))
	storetest.Expect(t, sub, "definition R3 v1")
	must(t, os.Chmod(f.file("a.yml"), 0o600))
	storetest.Expect(t, sub, "definition R1 v2")
	storetest.Quiet(t, f, sub)
	if got := f.Problems(); got != nil {
		t.Errorf("problems %+v remain", got)
	}
	f.wantLog(t)
}
