package require

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Pins needs root and BPF, and returns a path in a BPF file system of the test's own, where
// nothing is yet. It is mounted for a thread alone, which is how the path leads there, and goes
// with the thread: at the end of the test, and of its process, whatever ends that.
func Pins(t T) string {
	t.Helper()
	Root(t)
	BPF(t)
	dir, err := os.MkdirTemp("", "bittern-pins-")
	if err != nil {
		t.Fatalf("making a directory for pins: %v", err)
	}
	mounted, quit, gone := make(chan error), make(chan struct{}), make(chan struct{})
	var thread int
	go func() {
		defer close(gone)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		thread = unix.Gettid()
		mounted <- mountPins(dir)
		<-quit
	}()
	err = <-mounted
	t.Cleanup(func() {
		close(quit)
		<-gone
		if err := os.Remove(dir); err != nil {
			t.Fatalf("removing the directory for pins: %v", err)
		}
	})
	if err != nil {
		t.Fatalf("mounting a BPF file system: %v", err)
	}
	return filepath.Join("/proc", fmt.Sprint(os.Getpid()), "task", fmt.Sprint(thread), "root", dir, "bittern")
}

func mountPins(dir string) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("leaving the mount namespace: %w", err)
	}
	return errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("bpf", dir, "bpf", 0, ""),
	)
}
