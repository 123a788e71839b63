package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
	"bittern/internal/require"
)

// fileStep is one change of files in the working directory, and what must be said of it.
type fileStep struct {
	do   func() error
	want string // "" if nothing was changed
	// sure is set if even hooks at the end of system calls know the path.
	sure bool
}

// opening opens a file and closes it.
func opening(name string, flags int, mode uint32) func() error {
	return func() error {
		fd, err := unix.Open(name, flags, mode)
		if err != nil {
			return err
		}
		return unix.Close(fd)
	}
}

// withFile does something with the descriptor of a file.
func withFile(name string, flags int, f func(fd int) error) func() error {
	return func() error {
		fd, err := unix.Open(name, flags, 0)
		if err != nil {
			return err
		}
		return errors.Join(f(fd), unix.Close(fd))
	}
}

// refused wants a call to fail.
func refused(f func() error, want unix.Errno) func() error {
	return func() error {
		if err := f(); !errors.Is(err, want) {
			return fmt.Errorf("got %w, want %w", err, want)
		}
		return nil
	}
}

// fileSteps is all that file_change tells apart.
func fileSteps() []fileStep {
	return []fileStep{
		{opening("a", unix.O_WRONLY|unix.O_CREAT, 0o640), "create a 0640", true},
		{opening("a", unix.O_WRONLY|unix.O_CREAT, 0o640), "", true}, // it is there by now
		{func() error {
			fd, err := unix.Openat2(unix.AT_FDCWD, "b", &unix.OpenHow{Flags: unix.O_RDWR | unix.O_CREAT, Mode: 0o4711})
			return errors.Join(err, unix.Close(fd))
		}, "create b 4711", true},
		{func() error { return unix.Mknod("fifo", unix.S_IFIFO|0o602, 0) }, "create fifo 0602", false},
		{func() error { return unix.Mkdir("d", 0o750) }, "mkdir d 0750", false},
		{withFile("d", unix.O_PATH, func(fd int) error { return unix.Mkdirat(fd, "e", 0o700) }), "mkdir d/e 0700", false},
		{func() error { return unix.Chmod("a", 0o6755) }, "chmod a 6755", false},
		{withFile("a", unix.O_RDONLY, func(fd int) error { return unix.Fchmod(fd, 0o604) }), "chmod a 0604", true},
		{func() error { return unix.Fchmodat(unix.AT_FDCWD, "a", 0o600, 0) }, "chmod a 0600", false},
		{func() error { return unix.Chown("a", 11, 12) }, "chown a 11 12", false},
		{func() error { return unix.Lchown("a", 13, -1) }, "chown a 13 -", false},
		{withFile("a", unix.O_RDONLY, func(fd int) error { return unix.Fchown(fd, -1, 14) }), "chown a - 14", true},
		{func() error { return unix.Truncate("a", 10) }, "truncate a", false},
		{withFile("a", unix.O_WRONLY, func(fd int) error { return unix.Ftruncate(fd, 5) }), "truncate a", true},
		{opening("a", unix.O_WRONLY|unix.O_TRUNC, 0), "truncate a", true},
		{func() error { return unix.Symlink("/etc/../over there", "s") }, "symlink s -> /etc/../over there", false},
		{func() error { return unix.Link("a", "l") }, "link a => l", false},
		{func() error { return unix.Rename("l", "m") }, "rename l => m", false},
		{func() error {
			return unix.Renameat2(unix.AT_FDCWD, "m", unix.AT_FDCWD, "d/m", unix.RENAME_NOREPLACE)
		}, "rename m => d/m", false},
		{func() error { return unix.Unlink("d/m") }, "unlink d/m", false},
		{withFile("d", unix.O_PATH, func(fd int) error { return unix.Unlinkat(fd, "e", unix.AT_REMOVEDIR) }), "rmdir d/e", false},
		{func() error { return unix.Rmdir("d") }, "rmdir d", false},
		{refused(func() error { return unix.Unlink("missing") }, unix.ENOENT), "", false},
		{refused(func() error { return unix.Mkdir("a", 0o700) }, unix.EEXIST), "", false},
	}
}

// change takes the steps in the directory args[0].
func change(args []string) error {
	unix.Umask(0)
	if err := os.Chdir(args[0]); err != nil {
		return err
	}
	for i, step := range fileSteps() {
		if err := step.do(); err != nil {
			return fmt.Errorf("step %d, %s: %w", i, step.want, err)
		}
	}
	return nil
}

// exchange swaps the files a and b of the directory args[0].
func exchange(args []string) error {
	if err := os.Chdir(args[0]); err != nil {
		return err
	}
	return unix.Renameat2(unix.AT_FDCWD, "a", unix.AT_FDCWD, "b", unix.RENAME_EXCHANGE)
}

// ofChange says what a file_change was, with paths below dir.
func ofChange(dir string, ev *event.Event) string {
	f := ev.File
	name := func(path string) string { return strings.TrimPrefix(path, dir+"/") }
	id := func(n uint32) string {
		if n == event.NoID {
			return "-"
		}
		return fmt.Sprint(n)
	}
	s := ev.Operation + " " + name(f.Path)
	if f.ModeKnown {
		s += fmt.Sprintf(" %04o", f.Mode)
	}
	if f.UID != event.NoID || f.GID != event.NoID {
		s += " " + id(f.UID) + " " + id(f.GID)
	}
	if f.NewPath != "" {
		s += " => " + name(f.NewPath)
	}
	if f.TargetPath != "" {
		s += " -> " + f.TargetPath
	}
	if f.PathTruncated || f.NewPathTruncated {
		s += " truncated"
	}
	return s
}

// TestFileChanges makes every change of files, and checks what is said of each.
func TestFileChanges(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	dir := tempDir(t)
	hook := watch(t, k, event.FileChange, "  s: {file.path|startswith: "+dir+"}")
	cmd := in(cgroup, actCommand(t, "change", dir))
	mustRun(t, cmd)

	var got, want []string
	for _, m := range drainMatches(t, k) {
		line := ofChange(dir, m.Event)
		if m.Event.File.PathClaimed {
			line = "claimed: " + line
		}
		got = append(got, line)
		if p := m.Event.Process; p.PID != uint32(cmd.Process.Pid) || p.Executable != cmd.Path || m.Event.Parent.PID != uint32(os.Getpid()) {
			t.Errorf("%s, done by %+v", line, p)
		}
	}
	for _, step := range fileSteps() {
		line := step.want
		switch {
		case line == "":
			continue
		case strings.HasPrefix(line, "chown") && strings.Contains(hook.Misses, "changes of owner ("):
			continue // before 6.1; TestBestHookIsTaken sees to it
		case atCallEnd(hook) && !step.sure:
			line = "claimed: " + line
		}
		want = append(want, line)
	}
	sameLines(t, got, want)
}

// TestExchange swaps two files, of which each gets the other's path.
func TestExchange(t *testing.T) {
	bestAndLast(t, event.FileChange, func(t *testing.T, k *Kernel, cgroup *os.File) {
		dir := tempDir(t)
		for _, name := range []string{"a", "b"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		hook := watch(t, k, event.FileChange, "  s: {file.path|startswith: "+dir+"/}")
		mustRun(t, in(cgroup, actCommand(t, "exchange", dir)))
		if text, err := os.ReadFile(filepath.Join(dir, "a")); err != nil || string(text) != "b" {
			t.Errorf("a holds %q, %v: they were not swapped", text, err)
		}
		var got []string
		for _, m := range drainMatches(t, k) {
			got = append(got, ofChange(dir, m.Event))
		}
		want := []string{"rename a => b"}
		if strings.HasPrefix(hook.Name, "lsm/") && require.OlderKernel(t, "5.19") {
			want = []string{"rename b => a", "rename a => b"} // modules are asked for each
		}
		sameLines(t, got, want)
	})
}
