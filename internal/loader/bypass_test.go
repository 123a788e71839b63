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

	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

// detour is a way to the watched file that does not name it plainly, in the directory that
// holds it.
type detour struct {
	name string
	do   func(dir string) error
	// want is the path that must be reported, below the directory unless it is absolute.
	want string
}

// opens opens a file of any path for reading.
func opens(path string) error { return opening(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)() }

func detours() []detour {
	return []detour{
		{"not normal", func(dir string) error { return opens(dir + "//d/.././/watched") }, "watched"},
		{"relative", func(dir string) error {
			return errors.Join(os.Chdir(filepath.Join(dir, "d")), opens("../watched"), os.Chdir(dir))
		}, "watched"},
		{"openat2", func(dir string) error {
			return withFile(dir, unix.O_PATH|unix.O_DIRECTORY, func(at int) error {
				fd, err := unix.Openat2(at, "d/../watched", &unix.OpenHow{Flags: unix.O_RDONLY, Resolve: unix.RESOLVE_BENEATH})
				return errors.Join(err, unix.Close(fd))
			})()
		}, "watched"},
		{"links", func(dir string) error {
			return errors.Join(os.Symlink("watched", "one"), os.Symlink(dir, "d/two"), os.Symlink("d/two/one", "three"), opens("three"))
		}, "watched"},
		{"descriptor", func(string) error {
			return withFile("watched", unix.O_PATH, func(fd int) error { return opens(fmt.Sprintf("/proc/self/fd/%d", fd)) })()
		}, "watched"},
		{"root of a process", func(dir string) error { return opens("/proc/self/root" + dir + "/watched") }, "watched"},
		{"handle", func(string) error {
			handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "watched", 0)
			if err != nil {
				return err
			}
			return withFile(".", unix.O_RDONLY, func(mount int) error {
				fd, err := unix.OpenByHandleAt(mount, handle, unix.O_RDONLY)
				return errors.Join(err, unix.Close(fd))
			})()
		}, "watched"},
		// What has another name is seen by that: that it gets one is a file_change or a mount.
		{"hard link", func(string) error { return errors.Join(os.Link("watched", "hard"), opens("hard")) }, "hard"},
		{"bind mount", func(dir string) error {
			return onThread(func() error {
				if err := errors.Join(os.WriteFile("bound", nil, 0o600), privateMounts()); err != nil {
					return err
				}
				return errors.Join(unix.Mount(dir+"/watched", dir+"/bound", "", unix.MS_BIND, ""), opens(dir+"/bound"))
			})
		}, "bound"},
		// Paths are as the process sees them.
		{"chroot", func(dir string) error {
			return onThread(func() error {
				return errors.Join(unix.Unshare(unix.CLONE_FS), unix.Chroot(dir), opens("/watched"))
			})
		}, "/watched"},
		{"from outside of the root", func(dir string) error {
			return onThread(func() error {
				return errors.Join(unix.Unshare(unix.CLONE_FS), unix.Chroot(filepath.Join(dir, "d")), opens("watched"))
			})
		}, "watched"},
		{"user namespace", func(string) error {
			cmd := exec.Command("/bin/cat", "watched") // it may not search what is above
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 12345, Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 12345, Size: 1}},
				Credential:  &syscall.Credential{NoSetGroups: true}, // root of the namespace
			}
			return cmd.Run()
		}, "watched"},
	}
}

// takeDetours opens the watched file of the directory args[0] by each detour.
func takeDetours(args []string) error {
	dir := args[0]
	if err := os.Chdir(dir); err != nil {
		return err
	}
	for _, d := range detours() {
		if err := d.do(dir); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	return nil
}

// TestDetours opens a file by other names than its own: what is reported is the path of what was
// opened, as the process sees it.
func TestDetours(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	dir := tempDir(t)
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "d"), 0o755), os.WriteFile(filepath.Join(dir, "watched"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	// What the act itself does to get there is not reported: it opens directories, and for writing.
	watch(t, k, event.FileOpen, "  d: {file.path|startswith: "+dir+"/, file.open.write: false}\n  r: {file.path: /watched}\n  condition: d or r")
	watch(t, k, event.FileChange, "  s: {file.operation: link, file.path|startswith: "+dir+"/}")
	watch(t, k, event.PrivilegeChange, "  s: {privilege.operation: mount, mount.source|startswith: "+dir+"/}")
	mustRun(t, in(cgroup, actCommand(t, "detours", dir)))

	var got, want []string
	for _, m := range drainMatches(t, k) {
		ev := m.Event
		line := strings.TrimPrefix(ev.File.Path, dir+"/")
		switch ev.Class {
		case event.FileChange:
			line = "link " + line
		case event.PrivilegeChange:
			line = "mount of " + strings.TrimPrefix(ev.Privilege.MountSource, dir+"/")
		}
		if id := ev.User.ID; id != 0 {
			line += fmt.Sprint(" by ", id)
		}
		got = append(got, line)
	}
	for _, d := range detours() {
		line := d.want
		switch d.name {
		case "hard link":
			want = append(want, "link watched")
		case "bind mount":
			want = append(want, "mount of watched")
		case "user namespace":
			line += " by 12345" // the id of this host, not that of the namespace
		}
		want = append(want, line)
	}
	sameLines(t, got, want)
}

// hostileNames are names of files that would forge output if they were written as they are.
func hostileNames() []string {
	return []string{
		"two\nlines", "erase\x1b[2J\x1b[H", "not\xff\xfeUTF-8", `"quoted\`, "tab\tand\rreturn", "\u202eright to left", "bell\x07\x7f\u0085",
		"}\n{\"rule\":{\"id\":\"FORGED\"}}", strings.Repeat("x", 255),
	}
}

func openHostile(args []string) error {
	for _, name := range hostileNames() {
		if err := opening(filepath.Join(args[0], name), unix.O_CREAT|unix.O_WRONLY, 0o600)(); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return nil
}

// TestHostileNames: names come back byte by byte, and what is printed of them is one line of
// printable characters.
func TestHostileNames(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	dir := tempDir(t)
	watch(t, k, event.FileOpen, "  s: {file.path|startswith: "+dir+"/}")
	mustRun(t, in(cgroup, actCommand(t, "hostile", dir)))
	var got, want []string
	for _, m := range drainMatches(t, k) {
		got = append(got, fmt.Sprintf("%q", strings.TrimPrefix(m.Event.File.Path, dir+"/")))
		d := event.Detection{Event: m.Event, Rule: event.Rule{ID: "R"}}
		for _, out := range [][]byte{d.AppendJSON(nil), d.AppendText(nil, false)} {
			line := strings.TrimSuffix(string(out), "\n")
			if i := strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x85 || r == 0x202e || r == '\ufffd' }); i >= 0 {
				t.Errorf("the output has %q at %d: %q", line[i], i, line)
			}
			if strings.Contains(line, `{"rule":{"id":"FORGED"`) {
				t.Errorf("the output is forged: %s", line)
			}
		}
	}
	for _, name := range hostileNames() {
		want = append(want, fmt.Sprintf("%q", name))
	}
	sameLines(t, got, want)
}
