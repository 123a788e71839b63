package loader

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

// namespaces makes and enters namespaces on threads of its own, and prints what it did.
func namespaces([]string) error {
	entering := func(flags int) func() error {
		return func() error {
			fd, err := unix.Open("/proc/self/ns/uts", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			return errors.Join(unix.Setns(fd, flags), unix.Close(fd))
		}
	}
	cloning := func(flags uintptr) func() error {
		return func() error {
			cmd := exec.Command("/bin/true")
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
			return cmd.Run()
		}
	}
	for _, step := range []struct {
		do   func() error
		said string
	}{
		{func() error { return unix.Unshare(unix.CLONE_NEWUTS | unix.CLONE_NEWIPC) }, "unshare [ipc uts]"},
		{func() error { return unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP) }, "unshare [cgroup net]"},
		{func() error { return unix.Unshare(unix.CLONE_FILES) }, ""},
		{entering(unix.CLONE_NEWUTS), "setns [uts]"},
		{entering(0), "setns [uts]"}, // of whatever kind it is
		{cloning(unix.CLONE_NEWPID | unix.CLONE_NEWNS), "unshare [mnt pid]"},
		{cloning(unix.CLONE_NEWUSER), "unshare [user]"},
		{cloning(0), ""},
	} {
		if err := onThread(step.do); err != nil {
			return fmt.Errorf("%s: %w", step.said, err)
		}
		if step.said != "" {
			fmt.Println(step.said)
		}
	}
	return nil
}

// privateMounts gives this thread a mount namespace of its own, of which nothing gets out.
func privateMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
}

// mount mounts file systems below the directory args[0], and prints what it did.
func mount(args []string) error {
	dir := args[0]
	return onThread(func() error {
		if err := privateMounts(); err != nil {
			return err
		}
		tree, bound, moved := filepath.Join(dir, "tree"), filepath.Join(dir, "bound"), filepath.Join(dir, "moved")
		for _, at := range []string{tree, bound, moved} {
			if err := os.Mkdir(at, 0o700); err != nil {
				return err
			}
		}
		if err := unix.Mount("some source", tree, "tmpfs", 0, "size=4k"); err != nil {
			return err
		}
		fmt.Printf("mount %s some source tmpfs\n", tree)
		if err := unix.Mount(tree, bound, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		fmt.Printf("mount %s %s \n", bound, tree)
		fd, err := unix.OpenTree(unix.AT_FDCWD, tree, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return err
		}
		if err := unix.MoveMount(fd, "", unix.AT_FDCWD, moved, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return err
		}
		fmt.Printf("move_mount %s\n", moved)
		return unix.Close(fd)
	})
}

// namespacesOf names the bits of a privilege_change.
func namespacesOf(ev *event.Event) string {
	return fmt.Sprintf("%s %s", ev.Operation, ev.Strings(event.PrivilegeNamespaces, nil))
}

// TestNamespaces makes and enters namespaces.
func TestNamespaces(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	watch(t, k, event.PrivilegeChange, anything)
	cmd := in(cgroup, actCommand(t, "namespaces"))
	want := output(t, cmd)
	var got []string
	for _, m := range drainMatches(t, k) {
		if m.Event.Operation == "unshare" || m.Event.Operation == "setns" {
			got = append(got, namespacesOf(m.Event))
			if m.Event.Process.PID != uint32(cmd.Process.Pid) {
				t.Errorf("%s, done by %+v", namespacesOf(m.Event), m.Event.Process)
			}
		}
	}
	sameLines(t, got, want)
}

// cloneInto starts this command once more, as another act, by clone3 and into namespaces.
func cloneInto([]string) error {
	args := struct {
		flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls uint64
	}{flags: unix.CLONE_NEWUTS, exitSignal: uint64(unix.SIGCHLD)}
	return onThread(func() error {
		// The child has one thread, of which nothing but this may run.
		pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
		if errno == 0 && pid == 0 {
			for {
				unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
			}
		}
		if errno != 0 {
			return syscallError("clone3", errno)
		}
		var status unix.WaitStatus
		_, err := unix.Wait4(int(pid), &status, 0, nil)
		if err == nil && status != 0 {
			err = fmt.Errorf("it ended with %#x", status)
		}
		return err
	})
}

// TestClone3 clones a process by clone3, of which the flags are in the process's memory.
func TestClone3(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	hook := watch(t, k, event.PrivilegeChange, anything)
	mustRun(t, in(cgroup, actCommand(t, "clone3")))
	var got []string
	for _, m := range drainMatches(t, k) {
		got = append(got, namespacesOf(m.Event))
	}
	want := []string{"unshare [uts]"}
	if atCallEnd(hook) {
		mustMiss(t, hook, "cloned into new namespaces by clone3")
		want = nil
	}
	sameLines(t, got, want)
}

// TestMounts mounts file systems in a namespace of the child's own.
func TestMounts(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	dir := tempDir(t)
	hook := watch(t, k, event.PrivilegeChange, "  s: {file.path|startswith: "+dir+"}")
	want := output(t, in(cgroup, actCommand(t, "mount", dir)))
	var got []string
	for _, m := range drainMatches(t, k) {
		ev := m.Event
		if ev.File.PathClaimed != atCallEnd(hook) {
			t.Errorf("the path %s is claimed: %v, by %s", ev.File.Path, ev.File.PathClaimed, hook.Name)
		}
		line := fmt.Sprintf("%s %s %s %s", ev.Operation, ev.File.Path, ev.Privilege.MountSource, ev.Privilege.MountType)
		// A tree that is not mounted yet has no path.
		if strings.HasSuffix(ev.File.Path, "/moved") {
			line = "move_" + ev.Operation + " " + ev.File.Path
		}
		got = append(got, line)
	}
	sameLines(t, got, want)
}
