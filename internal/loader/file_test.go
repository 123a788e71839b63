package loader

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// ruleFor is a rule of one event class.
func ruleFor(t testing.TB, class event.Class, id, match string) *rules.Rule {
	t.Helper()
	text := ruleText(id, 1, match)
	return parseRule(t, strings.Replace(text, "process_exec", class.String(), 1))
}

// openInManyWays opens files in many ways, each named after args[0].
func openInManyWays(args []string) error {
	path := args[0]
	open := func(flags int, name string) {
		if fd, err := unix.Open(name, flags, 0o600); err == nil {
			unix.Close(fd)
		}
	}
	open(unix.O_RDONLY, path+".read")
	open(unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, path+".write")
	open(unix.O_RDWR|unix.O_CREAT, path+".both")
	open(unix.O_PATH, path+".path")
	open(unix.O_RDONLY, path+".missing")
	open(unix.O_RDONLY, path+".link")
	if fd, err := unix.Openat2(unix.AT_FDCWD, path+".how", &unix.OpenHow{Flags: unix.O_RDWR | unix.O_CREAT, Mode: 0o600}); err == nil {
		unix.Close(fd)
	}
	if err := os.Chdir(filepath.Dir(path)); err != nil {
		return err
	}
	open(unix.O_RDONLY, "./"+filepath.Base(path)+".relative")
	if name, err := unix.BytePtrFromString(path + ".creat"); err == nil {
		fd, _, errno := unix.Syscall(unix.SYS_CREAT, uintptr(unsafe.Pointer(name)), 0o600, 0)
		if errno == 0 {
			unix.Close(int(fd))
		}
	}
	return nil
}

// TestFileOpens opens files in many ways, and checks what is said of each.
func TestFileOpens(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "file")
	for _, name := range []string{".read", ".path", ".relative", ".target"} {
		if err := os.WriteFile(path+name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(path+".target", path+".link"); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Commit(Swap{"F", ruleFor(t, event.FileOpen, "F", "  s: {file.path|startswith: "+path+"}")}); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := in(cgroup, actCommand(t, "open", path))
	mustRun(t, cmd)

	got := make(map[string]string)
	for _, m := range drainMatches(t, k) {
		f, name := m.Event.File, strings.TrimPrefix(m.Event.File.Path, path)
		if _, twice := got[name]; twice {
			t.Errorf("%s was reported twice", name)
		}
		got[name] = fmt.Sprintf("read %v write %v create %v truncate %v", f.Read, f.Write, f.Create, f.Truncate)
		if m.Event.Process.Executable != self || m.Event.Process.PID != uint32(cmd.Process.Pid) || m.Event.Parent.PID != uint32(os.Getpid()) {
			t.Errorf("%s was opened by %+v, child of %+v", name, m.Event.Process, m.Event.Parent)
		}
		if want := strings.Join(cmd.Args, " "); m.Event.Process.CommandLine != want {
			t.Errorf("%s was opened by the command %q, want %q", name, m.Event.Process.CommandLine, want)
		}
	}
	want := map[string]string{
		".read":     "read true write false create false truncate false",
		".write":    "read false write true create true truncate true",
		".both":     "read true write true create true truncate false",
		".target":   "read true write false create false truncate false",
		".how":      "read true write true create true truncate false",
		".relative": "read true write false create false truncate false",
		".creat":    "read false write true create true truncate true",
	}
	for name, what := range want {
		if got[name] != what {
			t.Errorf("%s: %q, want %q", name, got[name], what)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("reported as well: %v", got)
	}
}

// TestExits ends processes by themselves and by signals.
func TestExits(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	if _, err := k.Commit(Swap{"X", ruleFor(t, event.ProcessExit, "X", "  s: {process.name: sh}\n  n: {process.exit_code: 4}\n  condition: s and not n")}); err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{"exit 3", "exit 4", "kill -9 $$", "exit 0"} {
		cmd := in(cgroup, exec.Command("/bin/sh", "-c", script))
		var status *exec.ExitError
		if err := cmd.Run(); err != nil && !errors.As(err, &status) {
			t.Fatal(err)
		}
	}
	var got []string
	for _, m := range drainMatches(t, k) {
		got = append(got, fmt.Sprintf("%s: %d %d", m.Event.Process.Args[2], m.Event.Exit.Code, m.Event.Exit.Signal))
		if m.Event.Exit.Runtime <= 0 {
			t.Errorf("a runtime of %v", m.Event.Exit.Runtime)
		}
	}
	if want := "[exit 3: 3 0 kill -9 $$: 0 9 exit 0: 0 0]"; fmt.Sprint(got) != want {
		t.Errorf("exits %v, want %s", got, want)
	}
}

// TestHookFollowsRules sees the hook of a class attached while a rule needs it.
func TestHookFollowsRules(t *testing.T) {
	k, _ := openForTest(t, Config{})
	h := k.hooks[event.FileOpen]
	attached := func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.stubs) > 0
	}
	steps := []struct {
		swap Swap
		want bool
	}{
		{Swap{"E", parseRule(t, ruleText("E", 1, "  s: {user.id: 1}"))}, false},
		{Swap{"F", ruleFor(t, event.FileOpen, "F", "  s: {file.name: x}")}, true},
		{Swap{"G", ruleFor(t, event.FileOpen, "G", "  s: {file.name: y}")}, true},
		{Swap{"F", nil}, true},
		{Swap{"G", parseRule(t, ruleText("G", 2, "  s: {user.id: 1}"))}, false},
	}
	for i, step := range steps {
		if _, err := k.Commit(step.swap); err != nil {
			t.Fatal(err)
		}
		if got := attached(); got != step.want {
			t.Errorf("step %d: the hook is attached: %v, want %v", i, got, step.want)
		}
	}
}

// TestNoHookIsSaid refuses a rule of a class without a hook, and says why.
func TestNoHookIsSaid(t *testing.T) {
	k := loadForTest(t, Config{})
	h := newClassHook(event.FileOpen, k.share(Config{}))
	h.from.candidates = []candidate{
		{name: "fexit/security_file_open", programs: []string{"none_such"}},
		{name: "tp_btf/sys_exit", programs: []string{"none_such_either"}},
	}
	k.hooks[event.FileOpen] = h
	_, err := k.Commit(Swap{"F", ruleFor(t, event.FileOpen, "F", "  s: {file.name: x}")})
	var unsupported *UnsupportedError
	if !errors.As(err, &unsupported) {
		t.Fatalf("a rule without a hook: %v", err)
	}
	want := "committing rule F: unsupported here: this kernel offers no hook for file_open (fexit/security_file_open: not on this architecture; tp_btf/sys_exit: not on this architecture)"
	if err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if n := k.Usage().Rules; n != 0 {
		t.Errorf("%d rules live, want none", n)
	}
}
