package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

// enough is how often a race has to go either way, and most how often it is tried.
const (
	enough = 300
	most   = 20_000
)

// raceRing holds all that matches while nobody reads.
const raceRing = 64 << 20

// poke writes to memory that a system call may be reading; the compiler must not leave it out.
//
//go:noinline
func poke[T any](p *T, v T) { *p = v }

// meanwhile does f over and over on another thread until the function that it returns is called.
func meanwhile(f func()) (end func()) {
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			f()
		}
	}()
	return func() {
		stop.Store(true)
		<-done
	}
}

// race opens files until the watched one and the other have been opened often enough, and
// prints how often the watched one was. args are the way, and the directory that holds the two.
func race(args []string) error {
	way, dir := args[0], args[1]
	if err := os.Chdir(dir); err != nil {
		return err
	}
	var watched unix.Stat_t
	if err := unix.Stat("watched", &watched); err != nil {
		return err
	}
	open, end, err := racingOpen(way)
	if err != nil {
		return err
	}
	defer end()
	hits, others := 0, 0
	for range most {
		if hits >= enough && others >= enough {
			break
		}
		ino, ok, err := open()
		switch {
		case err != nil:
			return err
		case !ok || ino != watched.Ino:
			others++
		default:
			hits++
		}
	}
	fmt.Println(hits, others >= enough)
	return nil
}

// racingOpen returns what opens one of two files, or none, while another thread changes which.
func racingOpen(way string) (open func() (ino uint64, ok bool, err error), end func(), err error) {
	name := []byte("watched\x00")
	from := "watched"
	step := func() {}
	switch way {
	case "rewritten":
		// "watched" is what one byte makes of "xatched".
		step = func() { poke(&name[0], 'x'); poke(&name[0], 'w') }
	case "symlink", "symlink-parent":
		targets := [2]string{"watched", "xatched"}
		name = []byte("link\x00")
		if way == "symlink-parent" {
			targets = [2]string{".", "elsewhere"}
			name = []byte("link/watched\x00")
		}
		step = func() {
			for _, to := range targets {
				_ = unix.Symlink(to, "next")
				_ = unix.Rename("next", "link")
			}
		}
		step()
	case "renamed":
		step = func() { _ = unix.Rename(from, "moved"); _ = unix.Rename("moved", from) }
	}
	open = func() (uint64, bool, error) {
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, ^uintptr(99), uintptr(unsafe.Pointer(&name[0])), unix.O_RDONLY|unix.O_CLOEXEC, 0, 0, 0)
		if errno == unix.ENOENT {
			return 0, false, nil
		}
		if errno != 0 {
			return 0, false, syscallError("openat", errno)
		}
		var st unix.Stat_t
		err := unix.Fstat(int(fd), &st)
		return st.Ino, true, errors.Join(err, unix.Close(int(fd)))
	}
	return open, meanwhile(step), nil
}

// TestOpenRaces opens files by a path that is rewritten in memory, or names other files,
// while the kernel looks: each open that got the watched file is reported, by its path.
func TestOpenRaces(t *testing.T) {
	k, cgroup := openForTest(t, Config{RingBytes: raceRing})
	ways := []string{"rewritten", "symlink", "symlink-parent", "renamed"}
	root := tempDir(t)
	watch(t, k, event.FileOpen, "  s: {file.path|startswith: "+root+"/}")
	want := make(map[string]int)
	for _, way := range ways {
		dir := filepath.Join(root, way)
		for _, name := range []string{"watched", "xatched", "elsewhere/watched"} {
			path := filepath.Join(dir, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		var hits int
		var others bool
		out := output(t, in(cgroup, actCommand(t, "race", way, dir)))
		if _, err := fmt.Sscan(out[0], &hits, &others); err != nil {
			t.Fatal(err)
		}
		if hits < enough || !others {
			t.Errorf("%s: no race: the watched file was opened %d times", way, hits)
		}
		want[way] = hits
	}
	got := make(map[string]int)
	for _, m := range drainMatches(t, k) {
		path := m.Event.File.Path
		for _, way := range ways {
			// What is renamed has either name.
			if path == filepath.Join(root, way, "watched") || way == "renamed" && path == filepath.Join(root, way, "moved") {
				got[way]++
			}
		}
	}
	for _, way := range ways {
		if got[way] != want[way] {
			t.Errorf("%s: %d opens of the watched file were reported, want %d", way, got[way], want[way])
		}
	}
}
