package loader

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

// raceDescriptor opens the file args[0] over and over, while another thread puts one of another
// file in the place of the descriptor, and prints how often it was opened.
func raceDescriptor(args []string) error {
	// With a pipe the runtime opens what it waits for files by, which must not be hit.
	if _, _, err := os.Pipe(); err != nil {
		return err
	}
	other, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	next := other + 1 // the first that is free
	defer meanwhile(func() { _ = unix.Dup2(other, next); _ = unix.Close(next) })()
	n := 0
	for range 10 * enough {
		fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		_ = unix.Close(fd) // the other thread may have done so
		n++
	}
	fmt.Println(n)
	return nil
}

// TestDescriptorRace opens a file of which the descriptor is gone before the call ends: hooks
// before that see each open, and the others say that they may not.
func TestDescriptorRace(t *testing.T) {
	k, cgroup := openForTest(t, Config{RingBytes: raceRing})
	path := filepath.Join(tempDir(t), "watched")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	hook := watch(t, k, event.FileOpen, "  s: {file.path: "+path+"}")
	var opened int
	if _, err := fmt.Sscan(output(t, in(cgroup, actCommand(t, "race-descriptor", path)))[0], &opened); err != nil {
		t.Fatal(err)
	}
	n := len(drainMatches(t, k))
	if atCallEnd(hook) {
		mustMiss(t, hook, "replaces the descriptor")
		t.Logf("%d of %d opens were reported", n, opened)
		if n > opened || n < opened/2 { // it is not that often that the other thread is in time
			t.Errorf("%d opens were reported, want %d at most, and not much less", n, opened)
		}
		return
	}
	if n != opened {
		t.Errorf("%d opens were reported, want %d", n, opened)
	}
}

// raceUnlink removes one of two files, by a path that is rewritten meanwhile, and prints how
// often which was removed.
func raceUnlink(args []string) error {
	if err := os.Chdir(args[0]); err != nil {
		return err
	}
	name := []byte("watched\x00")
	defer meanwhile(func() { poke(&name[0], 'x'); poke(&name[0], 'w') })()
	hits, others := 0, 0
	for range most {
		if hits >= enough && others >= enough {
			break
		}
		for _, file := range []string{"watched", "xatched"} {
			if err := opening(file, unix.O_CREAT|unix.O_WRONLY, 0o600)(); err != nil {
				return err
			}
		}
		if _, _, errno := unix.Syscall(unix.SYS_UNLINK, uintptr(unsafe.Pointer(&name[0])), 0, 0); errno != 0 {
			return syscallError("unlink", errno)
		}
		if _, err := os.Lstat("watched"); err != nil {
			hits++
		} else {
			others++
		}
	}
	fmt.Println(hits, others)
	return nil
}

// TestUnlinkRace: a hook that is given what the kernel acts on says which file is removed.
// Another one says that its paths are claimed, of each.
func TestUnlinkRace(t *testing.T) {
	k, cgroup := openForTest(t, Config{RingBytes: raceRing})
	dir := tempDir(t)
	hook := watch(t, k, event.FileChange, "  s: {file.operation: unlink}")
	var hits, others int
	if _, err := fmt.Sscan(output(t, in(cgroup, actCommand(t, "race-unlink", dir)))[0], &hits, &others); err != nil {
		t.Fatal(err)
	}
	if hits < enough || others < enough {
		t.Errorf("no race: the files were removed %d and %d times", hits, others)
	}
	byPath, claimed, total := make(map[string]int), 0, 0
	for _, m := range drainMatches(t, k) {
		total++
		byPath[m.Event.File.Path]++
		if m.Event.File.PathClaimed {
			claimed++
		}
	}
	if atCallEnd(hook) {
		mustMiss(t, hook, "file.path.claimed")
		if total != hits+others || claimed != total {
			t.Errorf("%d events, of which %d have claimed paths, want %d that all have", total, claimed, hits+others)
		}
		return
	}
	if byPath[dir+"/watched"] != hits || byPath[dir+"/xatched"] != others || claimed != 0 {
		t.Errorf("removed by %v, %d claimed; want %d and %d, none claimed", byPath, claimed, hits, others)
	}
}
