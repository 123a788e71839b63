package require

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// removalTimeout bounds the wait for killed processes to leave a cgroup.
const removalTimeout = 10 * time.Second

// Cgroup needs root and cgroup v2, and returns the path of a fresh, empty
// cgroup. At the end of the test the processes in it are killed, and it and the
// cgroups below it are removed.
func Cgroup(t T) string {
	t.Helper()
	Root(t)
	mount, err := cgroupMount()
	if err != nil {
		unmet(t, "root", err)
		return ""
	}
	dir, err := os.MkdirTemp(mount, "bittern-test-")
	if err != nil {
		unmet(t, "root", fmt.Errorf("making a cgroup: %w", err))
		return ""
	}
	t.Cleanup(func() {
		if err := removeCgroup(dir, removalTimeout); err != nil {
			t.Logf("%v", err)
		}
	})
	return dir
}

func cgroupMount() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("finding the cgroup v2 mount: %w", err)
	}
	defer f.Close()
	return parseMountinfo(f)
}

// parseMountinfo returns the mount point of the first cgroup2 file system.
// Fields are those of proc_pid_mountinfo(5): the fifth is the mount point, and
// the type is the first after the lone "-".
func parseMountinfo(r io.Reader) (string, error) {
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		before, after, ok := strings.Cut(scanner.Text(), " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		return unescapeMount(fields[4]), nil
	}
	if err := scanner.Err(); err != nil {
		return "", fmt.Errorf("finding the cgroup v2 mount: %w", err)
	}
	return "", errors.New("finding the cgroup v2 mount: none is mounted here")
}

// unescapeMount undoes the kernel's octal escapes of space, tab, newline and
// backslash.
func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// removeCgroup kills what runs in dir and below, waits until it is gone, and
// removes the directories, the deepest first.
func removeCgroup(dir string, timeout time.Duration) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the test removed it meanwhile
		}
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	for _, d := range dirs {
		err = errors.Join(err, killCgroup(d))
	}
	if len(dirs) > 0 {
		err = errors.Join(err, awaitEmpty(dir, timeout))
	}
	for _, d := range slices.Backward(dirs) {
		if e := unix.Rmdir(d); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, &fs.PathError{Op: "rmdir", Path: d, Err: e})
		}
	}
	if err != nil {
		return fmt.Errorf("removing cgroup %s: %w", dir, err)
	}
	return nil
}

// awaitEmpty waits until no process is left in dir or below. The kernel signals
// a change of cgroup.events by POLLPRI.
func awaitEmpty(dir string, timeout time.Duration) error {
	f, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if err != nil {
		return err
	}
	defer f.Close()
	deadline := time.Now().Add(timeout)
	buf := make([]byte, 4096)
	for {
		n, err := f.ReadAt(buf, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if strings.Contains(string(buf[:n]), "populated 0") {
			return nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("waiting for its processes to end: %w", os.ErrDeadlineExceeded)
		}
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("waiting for its processes to end: %w", err)
		}
	}
}

// killCgroup kills the processes in dir: by cgroup.kill (since 5.14), or one by
// one.
func killCgroup(dir string) error {
	// Not os.WriteFile, which would try to create it: cgroupfs answers that with EACCES.
	f, err := os.OpenFile(filepath.Join(dir, "cgroup.kill"), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("1")
		return errors.Join(err, f.Close())
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return err
	}
	for line := range strings.FieldsSeq(string(data)) {
		// The kernel shows 0 for processes outside our pid namespace, and kill(2)
		// takes 0 for our own process group.
		pid, err := strconv.Atoi(line)
		if err != nil || pid <= 0 {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("killing process %d: %w", pid, err)
		}
	}
	return nil
}
