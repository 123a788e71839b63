package sink

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"bittern/internal/require"
)

// small is a file that rotates earlier than Validate lets one.
func small(path string, keep int) *File {
	return &File{cfg: FileConfig{Path: path, MaxBytes: 4096, Keep: keep}, sys: disk{}}
}

// allLines are the lines of all files, the oldest first.
func allLines(t interface {
	Helper()
	Fatalf(string, ...any)
}, path string) (all []byte) {
	t.Helper()
	for i := 2000; i >= 0; i-- {
		name := path
		if i > 0 {
			name = fmt.Sprintf("%s.%d", path, i)
		}
		content, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%v", err)
		}
		all = append(all, content[:bytes.LastIndexByte(content, '\n')+1]...)
	}
	return all
}

func TestFileRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "log")
	f := small(path, 3)
	must(t, f.Deliver(t.Context(), records(1, 100)))
	huge := record(101)
	huge.JSON = []byte(strings.Replace(string(huge.JSON), "xxx", strings.Repeat("x", 5000), 1))
	batch := append(append(records(0, 0)[:0], huge), records(102, 102)...)
	must(t, f.Deliver(t.Context(), batch))
	must(t, f.Close())
	for name, check := range map[string]func(int64) bool{
		path:        func(n int64) bool { return n > 0 && n <= 4096 },
		path + ".1": func(n int64) bool { return n > 5000 },
		path + ".2": func(n int64) bool { return n > 2048 && n <= 4096 },
		path + ".3": func(n int64) bool { return n > 2048 && n <= 4096 },
	} {
		info, err := os.Stat(name)
		must(t, err)
		if !check(info.Size()) || info.Mode() != 0o640 {
			t.Errorf("%s has %d bytes, mode %v", name, info.Size(), info.Mode())
		}
	}
	if _, err := os.Stat(path + ".4"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("there are more files than are to be kept")
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o750 {
		t.Error(info.Mode(), err)
	}
	got := seqs(t, allLines(t, path))
	wantSeqs(t, got, upTo(102)[102-len(got):])
}

// What logrotate does with "create" and a postrotate that signals; with copytruncate; and what an operator does with rm.
func TestFileMovedByOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := NewFile(FileConfig{Path: path})
	must(t, err)
	defer f.Close()
	must(t, f.Deliver(t.Context(), records(1, 10)))
	must(t, os.Rename(path, path+".1"))
	must(t, f.Reopen())
	wantSeqs(t, seqs(t, read(t, path)), nil) // it is there at once
	must(t, f.Deliver(t.Context(), records(11, 20)))
	wantSeqs(t, seqs(t, read(t, path+".1")), upTo(10))
	wantSeqs(t, seqs(t, read(t, path)), upTo(20)[10:])

	must(t, os.Remove(path))
	must(t, f.Deliver(t.Context(), records(21, 30)))
	wantSeqs(t, seqs(t, read(t, path)), upTo(30)[20:])

	must(t, os.Truncate(path, 0))
	f.cfg.MaxBytes, f.cfg.Keep = 1<<20, 1
	must(t, f.Deliver(t.Context(), records(31, 31)))
	wantSeqs(t, seqs(t, read(t, path)), []uint64{31})
	if info, err := os.Stat(path); err != nil || f.size != info.Size() {
		t.Errorf("size %d, want that of %v (%v)", f.size, info, err)
	}

	// Where it can't be opened now, the next delivery does it.
	must(t, os.Rename(path, path+".2"))
	must(t, os.Mkdir(path, 0o700))
	if err := f.Reopen(); err == nil {
		t.Error("a directory can be opened")
	}
	if err := f.Deliver(t.Context(), records(32, 32)); err == nil || f.Reopen() == nil {
		t.Error("a directory can be written to")
	}
	must(t, os.Remove(path))
	must(t, f.Deliver(t.Context(), records(32, 32)))
	wantSeqs(t, seqs(t, read(t, path)), []uint64{32})
}

// Reopen does not wait for a delivery, whose end does it.
func TestFileReopenWhileDelivering(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := NewFile(FileConfig{Path: path})
	must(t, err)
	defer f.Close()
	must(t, f.Deliver(t.Context(), records(1, 1)))
	f.file = &meanwhile{f.file, func() {
		must(t, os.Rename(path, path+".1"))
		must(t, f.Reopen())
	}}
	must(t, f.Deliver(t.Context(), records(2, 2)))
	wantSeqs(t, seqs(t, read(t, path+".1")), upTo(2))
	wantSeqs(t, seqs(t, read(t, path)), nil)
}

// meanwhile does something while a delivery waits for the disk.
type meanwhile struct {
	handle
	do func()
}

func (f *meanwhile) Datasync() error {
	f.do()
	return f.handle.Datasync()
}

func TestFileRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := small(path, 50)
	must(t, f.Deliver(t.Context(), records(1, 50))) // over several files
	must(t, f.Close())
	must(t, os.WriteFile(path, append(read(t, path), `{"torn`...), 0o600))
	f = small(path, 50)
	must(t, f.Deliver(t.Context(), records(3, 60)))
	must(t, f.Close())
	content := allLines(t, path)
	wantSeqs(t, seqs(t, content), upTo(60))
	if bytes.Contains(content, []byte("torn")) {
		t.Error("half a line is left")
	}
}

func TestFileGapOfRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f := small(path, 50)
	must(t, f.Deliver(t.Context(), records(1, 50)))
	must(t, f.Close())
	last := 1
	for ; ; last++ {
		if _, err := os.Stat(fmt.Sprintf("%s.%d", path, last)); err != nil {
			break
		}
	}
	for i := last; i > 1; i-- {
		must(t, os.Rename(fmt.Sprintf("%s.%d", path, i-1), fmt.Sprintf("%s.%d", path, i)))
	}
	f = small(path, 50) // killed before the last rename
	must(t, f.Deliver(t.Context(), records(1, 80)))
	must(t, f.Close())
	wantSeqs(t, seqs(t, allLines(t, path)), upTo(80))
}

func TestFileOfSomebodyElse(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/binary", []byte("\x7fELF no newline"), 0o600))
	must(t, unix.Mkfifo(dir+"/pipe", 0o600))
	for _, name := range []string{"binary", "pipe"} {
		f, err := NewFile(FileConfig{Path: filepath.Join(dir, name)})
		must(t, err)
		if err := f.Deliver(t.Context(), records(1, 1)); err == nil || f.file != nil {
			t.Errorf("%s is written to (%v)", name, err)
		}
	}
	if got := string(read(t, dir+"/binary")); got != "\x7fELF no newline" {
		t.Errorf("%q", got)
	}
}

func TestFileConfig(t *testing.T) {
	for _, c := range []FileConfig{{}, {Path: "x", MaxBytes: 10, Keep: 1}, {Path: "x", MaxBytes: 1 << 20}, {Path: "x", MaxBytes: -1, Keep: 1}} {
		if _, err := NewFile(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}

func TestFileDiskFull(t *testing.T) {
	require.Root(t)
	dir := t.TempDir()
	must(t, unix.Mount("nothing", dir, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	must(t, os.WriteFile(dir+"/ballast", make([]byte, 40<<10), 0o600))
	path := dir + "/log"
	f, err := NewFile(FileConfig{Path: path})
	must(t, err)
	t.Cleanup(func() { _ = f.Close() })
	batch := records(1, 120) // about 40 KiB
	if err := f.Deliver(t.Context(), batch); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("error %v, want ENOSPC", err)
	}
	content := read(t, path)
	if got := seqs(t, content); len(got) == 0 || !bytes.HasSuffix(content, []byte{'\n'}) {
		t.Fatalf("%d records, and the end is %q", len(got), content[max(0, len(content)-20):])
	}
	must(t, os.Remove(dir+"/ballast"))
	must(t, f.Deliver(t.Context(), batch))
	wantSeqs(t, seqs(t, read(t, path)), upTo(120))
}

// failing is a disk that fails where rapid has it.
type failing struct {
	disk
	t  *rapid.T
	on bool
}

var errDisk = errors.New("the disk fails")

func (s *failing) fails(what string) bool {
	return s.on && rapid.IntRange(0, 9).Draw(s.t, what) == 0
}

type failingFile struct {
	handle
	s *failing
}

func (s *failing) Open(path string) (handle, error) {
	if s.fails("open") {
		return nil, errDisk
	}
	h, err := s.disk.Open(path)
	if err != nil {
		return nil, err
	}
	return &failingFile{h, s}, nil
}

func (s *failing) Read(path string) (handle, error) {
	h, err := s.disk.Read(path)
	if err != nil {
		return nil, err
	}
	return &failingFile{h, s}, nil
}

func (s *failing) Rename(from, to string) error {
	if s.fails("rename") {
		return errDisk
	}
	return s.disk.Rename(from, to)
}

func (s *failing) SyncDir(path string) error {
	if s.fails("sync directory") {
		return errDisk
	}
	return nil
}

func (f *failingFile) Write(p []byte) (int, error) {
	if f.s.fails("write") {
		n, _ := f.handle.Write(p[:rapid.IntRange(0, len(p)).Draw(f.s.t, "bytes")])
		return n, errDisk
	}
	return f.handle.Write(p)
}

func (f *failingFile) Truncate(size int64) error {
	if f.s.fails("truncate") {
		return errDisk
	}
	return f.handle.Truncate(size)
}

func (f *failingFile) Datasync() error {
	if f.s.fails("sync") {
		return errDisk
	}
	return nil
}

// Whatever fails, is moved away or killed, each record is there once, and in order.
func TestFileProperty(t *testing.T) {
	root := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		path := filepath.Join(root, fmt.Sprint(n), "log")
		sys := &failing{t: t, on: true}
		f := small(path, 1000)
		f.sys = sys
		next, to := uint64(1), uint64(0) // the batch that is being delivered
		highest := uint64(0)             // what any batch had
		delivered := func() { next, to = to+1, 0 }
		deliver := func() bool {
			if to == 0 {
				to = next + rapid.Uint64Range(0, 30).Draw(t, "more")
			}
			highest = max(highest, to)
			return f.Deliver(t.Context(), records(next, to)) == nil
		}
		t.Repeat(map[string]func(*rapid.T){
			"deliver": func(*rapid.T) {
				if deliver() {
					delivered()
				}
			},
			"reopen": func(*rapid.T) { _ = f.Reopen() },
			"move": func(*rapid.T) {
				if f.torn { // half a line would stay, and whole ones that were not synced
					return
				}
				if os.Rename(path, path+".0") != nil {
					return
				}
				i := 1
				for ; ; i++ {
					if _, err := os.Stat(fmt.Sprintf("%s.%d", path, i)); err != nil {
						break
					}
				}
				for ; i > 0; i-- {
					if err := os.Rename(fmt.Sprintf("%s.%d", path, i-1), fmt.Sprintf("%s.%d", path, i)); err != nil {
						t.Fatal(err)
					}
				}
			},
			"restart": func(t *rapid.T) {
				_ = f.Close()
				f = small(path, 1000)
				f.sys = sys
				to = 0 // batches may be others
			},
		})
		sys.on = false
		for next <= highest {
			if !deliver() {
				t.Fatal("it fails without a reason")
			}
			delivered()
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		wantSeqs(t, seqs(t, allLines(t, path)), upTo(highest))
	})
}
