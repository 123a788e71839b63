package loader

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bittern/internal/event"
	"bittern/internal/require"
)

// openForTest opens the kernel with its hooks, limited to a cgroup of the test's own.
func openForTest(t testing.TB, cfg Config) (*Kernel, *os.File) {
	t.Helper()
	requireHooks(t)
	dir := require.Cgroup(t)
	cgroup, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cgroup.Close() })
	return openIn(t, dir, cfg), cgroup
}

func requireHooks(t testing.TB) {
	t.Helper()
	require.Kernel(t, LeastKernel)
	require.Root(t)
	require.BPF(t)
}

// openIn opens the kernel with its hooks, limited to a cgroup.
func openIn(t testing.TB, cgroup string, cfg Config) *Kernel {
	t.Helper()
	cfg.Cgroup = cgroup
	cfg.Log = slog.New(slog.DiscardHandler)
	k, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

// in makes a command start inside a cgroup.
func in(cgroup *os.File, cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
	return cmd
}

func mustRun(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("running %v: %v\n%s", cmd.Args, err, out)
	}
}

// drainMatches stops the kernel and returns every match that is left in the ring.
func drainMatches(t testing.TB, k *Kernel) []Match {
	t.Helper()
	k.Stop()
	r := k.Reader()
	var all []Match
	for {
		m, err := r.Next()
		if errors.Is(err, os.ErrClosed) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
}

// everything matches each execution.
func everything(t testing.TB, k *Kernel) {
	t.Helper()
	r := parseRule(t, ruleText("ALL", 1, "  s: {process.executable: /nowhere}\n  condition: not s"))
	if _, err := k.Commit(Swap{r.ID, r}); err != nil {
		t.Fatal(err)
	}
}

// find returns the event of the execution whose arguments hold the mark.
func find(t testing.TB, all []Match, mark string) *event.Event {
	t.Helper()
	var found *event.Event
	for _, m := range all {
		if strings.Contains(m.Event.Process.CommandLine, mark) {
			if found != nil {
				t.Fatalf("two events for %s", mark)
			}
			found = m.Event
		}
	}
	if found == nil {
		t.Fatalf("no event for %s among %d", mark, len(all))
	}
	return found
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestExecEvents runs real programs and checks each field.
func TestExecEvents(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	everything(t, k)
	dir := t.TempDir()
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	tool := filepath.Join(dir, "tool")
	copyFile(t, "/bin/true", tool)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(tool, link); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "script.sh")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n:\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	deep := dir
	for i := 0; i < 30; i++ {
		deep = filepath.Join(deep, strings.Repeat("d", 100))
	}
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, "/bin/true", filepath.Join(deep, "tool"))

	plain := in(cgroup, exec.Command(tool, "mark-plain", "a b", "", "\xff\n"))
	plain.Dir = dir
	mustRun(t, plain)
	mustRun(t, in(cgroup, exec.Command(link, "mark-link")))
	mustRun(t, in(cgroup, exec.Command(script, "mark-script")))
	mustRun(t, in(cgroup, exec.Command(tool, "mark-long", strings.Repeat("x", 10_000))))
	mustRun(t, in(cgroup, exec.Command(filepath.Join(deep, "tool"), "mark-deep")))
	relative := in(cgroup, &exec.Cmd{Path: "./tool", Args: []string{"other", "mark-relative"}, Dir: dir})
	mustRun(t, relative)
	shell := in(cgroup, exec.Command("/bin/sh", "-c", tool+" mark-child; :", "mark-shell"))
	mustRun(t, shell)
	user := in(cgroup, exec.Command("/bin/true", "mark-user"))
	user.SysProcAttr.Credential = &syscall.Credential{Uid: 12345, Gid: 54321}
	mustRun(t, user)
	root := in(cgroup, exec.Command("/tool", "mark-chroot"))
	copyLibraries(t, dir)
	root.SysProcAttr.Chroot = dir
	root.Dir = "/"
	mustRun(t, root)

	all := drainMatches(t, k)
	check := func(what string, got, want any) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %#v, want %#v", what, got, want)
		}
	}

	ev := find(t, all, "mark-plain")
	check("plain: executable", ev.Process.Executable, tool)
	check("plain: invoked", ev.Process.Invoked, tool)
	check("plain: working directory", ev.Process.WorkingDirectory, dir)
	check("plain: args", fmt.Sprintf("%q", ev.Process.Args), fmt.Sprintf("%q", plain.Args))
	check("plain: args count", ev.Process.ArgsCount, uint32(5))
	check("plain: command line", ev.Process.CommandLine, strings.Join(plain.Args, " "))
	check("plain: pid", ev.Process.PID, uint32(plain.Process.Pid))
	check("plain: parent pid", ev.Parent.PID, uint32(os.Getpid()))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	check("plain: parent executable", ev.Parent.Executable, self)
	if k.tracker.seedsArgs {
		check("plain: parent's first argument", ev.Parent.Args[0], os.Args[0])
	} else { // before 5.18
		check("plain: parent's arguments are known", len(ev.Parent.Args) > 0 || !ev.Parent.CommandLineTruncated, false)
	}
	check("plain: cut", ev.Process.CommandLineTruncated || ev.Process.ExecutableTruncated || ev.Process.WorkingDirectoryTruncated, false)
	check("plain: uid", ev.User.ID, uint32(os.Getuid()))

	ev = find(t, all, "mark-link")
	check("link: executable", ev.Process.Executable, tool)
	check("link: invoked", ev.Process.Invoked, link)

	ev = find(t, all, "mark-script")
	sh, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	check("script: executable", ev.Process.Executable, sh)
	check("script: invoked", ev.Process.Invoked, script)

	ev = find(t, all, "mark-long")
	check("long: cut", ev.Process.CommandLineTruncated, true)
	check("long: command line's length", len(ev.Process.CommandLine), 4096)
	check("long: args count", ev.Process.ArgsCount, uint32(3))

	ev = find(t, all, "mark-deep")
	check("deep: executable", ev.Process.Executable, filepath.Join(deep, "tool"))
	check("deep: cut", ev.Process.ExecutableTruncated, false)

	ev = find(t, all, "mark-relative")
	check("relative: executable", ev.Process.Executable, tool)
	check("relative: invoked", ev.Process.Invoked, "./tool")
	check("relative: first argument", ev.Process.Args[0], "other")

	children := 0
	for _, m := range all {
		if m.Event.Process.CommandLine != tool+" mark-child" {
			continue
		}
		children++
		check("child: parent executable", m.Event.Parent.Executable, sh)
		check("child: parent invoked", m.Event.Parent.Invoked, "/bin/sh")
		check("child: parent command line", m.Event.Parent.CommandLine, strings.Join(shell.Args, " "))
		check("child: parent pid", m.Event.Parent.PID, uint32(shell.Process.Pid))
	}

	check("children of the shell", children, 1)

	ev = find(t, all, "mark-user")
	check("user: uid", ev.User.ID, uint32(12345))
	check("user: gid", ev.User.GID, uint32(54321))

	ev = find(t, all, "mark-chroot")
	check("chroot: executable as the process sees it", ev.Process.Executable, "/tool")
	check("chroot: working directory", ev.Process.WorkingDirectory, "/")
}

// copyLibraries puts what a dynamic /bin/true needs below root.
func copyLibraries(t testing.TB, root string) {
	t.Helper()
	out, err := exec.Command("ldd", "/bin/true").Output()
	if err != nil {
		return // static
	}
	for _, word := range strings.Fields(string(out)) {
		if !strings.HasPrefix(word, "/") {
			continue
		}
		to := filepath.Join(root, word)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		copyFile(t, word, to)
	}
}

// TestOutsideIsNotJudged runs a program outside the cgroup.
func TestOutsideIsNotJudged(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	everything(t, k)
	mustRun(t, exec.Command("/bin/true", "outside"))
	mustRun(t, in(cgroup, exec.Command("/bin/true", "inside")))
	all := drainMatches(t, k)
	find(t, all, "inside")
	if len(all) != 1 {
		t.Errorf("%d events, want the one of the process inside", len(all))
	}
}

// TestRestOfRingAfterStop sees to it that a reader that waits is woken by Stop, and
// gets what is left first.
func TestRestOfRingAfterStop(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	everything(t, k)
	r := k.Reader()
	got := make(chan error)
	go func() {
		for {
			if _, err := r.Next(); err != nil {
				got <- err
				return
			}
		}
	}()
	mustRun(t, in(cgroup, exec.Command("/bin/true")))
	k.Stop()
	if err := <-got; !errors.Is(err, os.ErrClosed) {
		t.Errorf("the reader ended with %v, want %v", err, os.ErrClosed)
	}
}

// TestHookOfTheAgentBefore tries what is attached already before what would be better.
func TestHookOfTheAgentBefore(t *testing.T) {
	for _, tc := range []struct {
		pinned []string
		class  event.Class
		first  string
		better int
	}{
		{nil, event.FileOpen, "lsm/file_open", 0},
		{[]string{"on_open_lsm_walk"}, event.FileOpen, "lsm/file_open", 0},
		{[]string{"on_open_sys_exit"}, event.FileOpen, "tp_btf/sys_exit", 2},
		{[]string{"on_connect4@7", "on_connect6@7"}, event.NetworkConnect, sources[event.NetworkConnect].candidates[0].name, 0},
		{[]string{"on_connect_fexit", "on_sendmsg_fexit"}, event.NetworkConnect, sources[event.NetworkConnect].candidates[2].name, 2},
		{[]string{"on_connect_fexit"}, event.NetworkConnect, sources[event.NetworkConnect].candidates[0].name, 0}, // half of it
	} {
		p := &pins{dir: t.TempDir()}
		for _, name := range tc.pinned {
			if err := os.MkdirAll(filepath.Join(p.hooks(), name), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		h := &host{pins: p}
		if attached := sources[tc.class].candidates[0].programs; tc.pinned != nil && h.inherits(attached) != (tc.pinned[0] == "on_connect4@7") {
			t.Errorf("with %v: inherits %v: %v", tc.pinned, attached, h.inherits(attached))
		}
		candidates, better := newClassHook(tc.class, h).inOrder()
		if got := candidates[0].name; got != tc.first || better != tc.better || len(candidates) != len(sources[tc.class].candidates) {
			t.Errorf("with %v: first of %d is %s, %d are better; want %s, %d", tc.pinned, len(candidates), got, better, tc.first, tc.better)
		}
	}
}
