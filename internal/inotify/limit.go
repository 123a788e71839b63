package inotify

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// LimitError says that a limit of the kernel on inotify was reached, and which.
type LimitError struct {
	Sysctl string // "fs.inotify.max_user_watches", ...
	Value  string // its current value, "unknown" if it could not be read
	Err    error  // what the kernel returned
}

// Error names the limit, its value and the way out.
func (e *LimitError) Error() string {
	return fmt.Sprintf("limit %s = %s reached: %v (raise it, for example: sysctl -w %s=N)",
		e.Sysctl, e.Value, e.Err, e.Sysctl)
}

// Unwrap returns what the kernel returned.
func (e *LimitError) Unwrap() error { return e.Err }

// procSys is where the kernel shows its limits.
const procSys = "/proc/sys"

// limited turns an error of a system call into a *LimitError if it means that
// a limit was reached. what is "watches" or "instances".
func limited(root, what string, err error) error {
	reached := errors.Is(err, unix.ENOSPC) // inotify_add_watch
	if what == "instances" {
		// EMFILE is also what a process gets that has too many open files; the
		// two can't be told apart, so the error names the one that is nearer.
		reached = errors.Is(err, unix.EMFILE) && !descriptorsExhausted()
	}
	if !reached {
		return err
	}
	// A user namespace has a limit of its own beside that of the user. The
	// smaller is the one that was reached.
	names := []string{"fs.inotify.max_user_" + what, "user.max_inotify_" + what}
	limit := &LimitError{Sysctl: names[0], Value: "unknown", Err: err}
	least := uint64(0)
	for i, name := range names {
		value, ok := readSysctl(root, name)
		if ok && (limit.Value == "unknown" && i == 0 || value < least) {
			limit.Sysctl, limit.Value, least = name, strconv.FormatUint(value, 10), value
		}
	}
	return limit
}

func readSysctl(root, name string) (uint64, bool) {
	data, err := os.ReadFile(filepath.Join(root, strings.ReplaceAll(name, ".", "/")))
	if err != nil {
		return 0, false
	}
	value, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	return value, err == nil
}

// descriptorsExhausted reports whether the process can't open one more file.
func descriptorsExhausted() bool {
	fd, err := unix.Open(".", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Is(err, unix.EMFILE)
	}
	_ = unix.Close(fd) // an O_PATH descriptor has nothing to lose
	return false
}
