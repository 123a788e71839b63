package loader

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

// executeDescriptor replaces this process by what a descriptor is of, by execveat with an
// empty path.
func executeDescriptor(fd int, args ...string) error {
	empty, err := unix.BytePtrFromString("")
	if err != nil {
		return err
	}
	argv, err := pointers(args)
	if err != nil {
		return err
	}
	env, err := pointers(nil)
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(empty)),
		uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])), unix.AT_EMPTY_PATH, 0)
	return syscallError("execveat", errno)
}

// pointers is a list of strings as execve takes it.
func pointers(words []string) ([]*byte, error) {
	list := make([]*byte, 0, len(words)+1)
	for _, word := range words {
		p, err := unix.BytePtrFromString(word)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return append(list, nil), nil
}

// runUnnamed becomes a copy of the program args[1] that has no name: of memory, or of a file
// args[0] that is gone. It runs it with the arguments from args[2] on.
func runUnnamed(args []string) error {
	program, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	var fd int
	if args[0] == "memfd" {
		if fd, err = unix.MemfdCreate("hidden", 0); err != nil {
			return err
		}
		if _, err := unix.Write(fd, program); err != nil {
			return err
		}
		return executeDescriptor(fd, args[2:]...)
	}
	if err := os.WriteFile(args[0], program, 0o700); err != nil {
		return err
	}
	if fd, err = unix.Open(args[0], unix.O_PATH, 0); err != nil {
		return err
	}
	return errors.Join(os.Remove(args[0]), executeDescriptor(fd, args[2:]...))
}

// TestImages executes a script, and programs that no directory names. What they are is known
// when they are executed, and of what they do afterwards.
func TestImages(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	dir := tempDir(t)
	seen, gone, script := filepath.Join(dir, "seen"), filepath.Join(dir, "gone"), filepath.Join(dir, "script")
	if err := errors.Join(os.WriteFile(seen, nil, 0o600), os.WriteFile(script, []byte("#!/bin/sh\nread x < "+seen+"\n:\n"), 0o700)); err != nil {
		t.Fatal(err)
	}
	var cat, sh string
	for name, to := range map[string]*string{"/bin/cat": &cat, "/bin/sh": &sh} {
		var err error
		if *to, err = filepath.EvalSymlinks(name); err != nil {
			t.Fatal(err)
		}
	}
	// The kernel has to know the kinds too, to match them.
	kinds := "\n  m: {process.executable.memfd: true}\n  d: {process.executable.deleted: true}\n  c: {process.script: " + script + "}\n  condition: s and (m or d or c)"
	watch(t, k, event.ProcessExec, "  s: {process.command_line|contains: "+dir+"}"+kinds)
	watch(t, k, event.ProcessExit, "  s: {process.command_line|contains: "+dir+"}"+kinds)
	watch(t, k, event.FileOpen, "  s: {file.path: "+seen+"}"+kinds)

	mustRun(t, in(cgroup, actCommand(t, "unnamed", "memfd", cat, "cat", seen)))
	mustRun(t, in(cgroup, actCommand(t, "unnamed", gone, cat, "cat", seen)))
	mustRun(t, in(cgroup, exec.Command(script)))
	mustRun(t, in(cgroup, exec.Command("/bin/cat", seen))) // of which nothing is to be said

	var got, want []string
	for _, image := range []string{
		`/memfd:hidden deleted false memfd true script ""`,
		gone + ` deleted true memfd false script ""`,
		sh + ` deleted false memfd false script "` + script + `"`,
	} {
		for _, class := range []string{"process_exec", "file_open", "process_exit"} {
			want = append(want, class+" "+image)
		}
	}
	for _, m := range drainMatches(t, k) {
		p := m.Event.Process
		got = append(got, fmt.Sprintf("%s %s deleted %v memfd %v script %q", m.Event.Class, p.Executable, p.ExecutableDeleted, p.ExecutableMemfd, p.Script))
	}
	sameLines(t, got, want)
}

// removeItself opens the file args[0], once before it removes the file that it was executed
// from and once after that.
func removeItself(args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return errors.Join(opens(args[0]), os.Remove(self), opens(args[0]))
}

// TestImageRemovedLater: whether the file of an image was gone is told of when it was executed,
// even after it is.
func TestImageRemovedLater(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	dir := tempDir(t)
	seen := filepath.Join(dir, "seen")
	cmd := in(cgroup, actCommand(t, "remove-itself", seen))
	copied := filepath.Join(dir, "copied")
	copyFile(t, cmd.Path, copied)
	cmd.Path = copied
	if err := os.WriteFile(seen, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// The kernel has to know it too, to match it.
	image := "{process.executable: " + copied + ", process.executable.deleted: false"
	watch(t, k, event.FileOpen, "  s: "+image+", file.path: "+seen+"}")
	watch(t, k, event.ProcessExit, "  s: "+image+"}")
	mustRun(t, cmd)
	if _, err := os.Stat(copied); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("it has not removed itself: %v", err)
	}
	var got []string
	for _, m := range drainMatches(t, k) {
		p := m.Event.Process
		got = append(got, fmt.Sprintf("%s %s deleted %v", m.Event.Class, p.Executable, p.ExecutableDeleted))
	}
	said := " " + copied + " deleted false"
	sameLines(t, got, []string{"file_open" + said, "file_open" + said, "process_exit" + said})
}

// TestCgroupPath: an event says in which cgroup it happened, by the last components of its path.
func TestCgroupPath(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	everything(t, k)
	deep := filepath.Join("one", "two", "three", "four", "five")
	if err := os.MkdirAll(filepath.Join(cgroup.Name(), deep), 0o755); err != nil {
		t.Fatal(err)
	}
	inner, err := os.Open(filepath.Join(cgroup.Name(), deep))
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	mustRun(t, in(cgroup, exec.Command("/bin/true", "outer")))
	mustRun(t, in(inner, exec.Command("/bin/true", "inner")))
	matches := drainMatches(t, k)
	for mark, want := range map[string]string{"outer": "/" + filepath.Base(cgroup.Name()), "inner": "/two/three/four/five"} {
		if got := find(t, matches, mark).CgroupPath; got != want {
			t.Errorf("the cgroup of %s is %s, want %s", mark, got, want)
		}
	}
}
