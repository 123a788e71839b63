// Package statefile keeps the states of rules in a file that people may edit as well.
//
// The file is all there is: nothing else on disk says what a state is, so that there is
// nothing that it could disagree with. Programs change it under a lock and replace it as a whole:
// a reader, and a machine that loses power, has the old content or the new one. Editors know
// nothing of the lock; whoever saves last is right, as with any file.
package statefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify/pathwatch"
	"bittern/internal/rules"
)

// Name is the file's name in its directory.
const Name = "states.yaml"

// File is the file of states in one directory, whether it exists or not. It is safe for use
// by several goroutines and processes.
type File struct {
	dir string
	ops ops

	mu     sync.Mutex       // guards what follows
	parsed *rules.StateFile // the last one; nil if there is none
}

// ops are the steps that can fail; tests replace them.
type ops struct {
	write   func(f *os.File, data []byte) error
	sync    func(f *os.File) error
	rename  func(from, to string) error
	syncDir func(dir *os.File) error
}

// In returns the file of states in a directory, which is made if something is written.
func In(dir string) *File {
	return &File{dir: filepath.Clean(dir), ops: ops{
		write:   func(f *os.File, data []byte) error { _, err := f.Write(data); return err },
		sync:    (*os.File).Sync,
		rename:  os.Rename,
		syncDir: (*os.File).Sync,
	}}
}

// Path returns the path of the file.
func (f *File) Path() string { return filepath.Join(f.dir, Name) }

// Content is what the file has. The zero value is that of no file.
type Content struct {
	Data  []byte
	Exist bool
	Time  time.Time // when it was written last
	mode  fs.FileMode
	uid   uint32
	gid   uint32
}

// Read reads the file. That there is none is no error.
func (f *File) Read() (Content, error) {
	// Not blocking, for a named pipe; and no symbolic link, since what it leads to is not watched,
	// and would be replaced by a file.
	file, err := os.OpenFile(f.Path(), os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_NOCTTY, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Content{}, nil
	case errors.Is(err, unix.ELOOP):
		return Content{}, fmt.Errorf("reading %s: it must be a file, not a symbolic link", f.Path())
	case err != nil:
		return Content{}, fmt.Errorf("reading the states of rules: %w", err)
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return Content{}, fmt.Errorf("reading %s: %w", f.Path(), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return Content{}, fmt.Errorf("reading %s: it is not a file", f.Path())
	}
	var data bytes.Buffer
	data.Grow(int(min(st.Size, rules.MaxStateBytes)) + bytes.MinRead) // so that it need not grow
	if _, err := data.ReadFrom(io.LimitReader(file, rules.MaxStateBytes+1)); err != nil {
		return Content{}, fmt.Errorf("reading the states of rules: %w", err)
	}
	return Content{
		Data: data.Bytes(), Exist: true, Time: time.Unix(st.Mtim.Unix()),
		mode: fs.FileMode(st.Mode & 0o777), uid: st.Uid, gid: st.Gid,
	}, nil
}

// Settled reports whether content is all that there is to it: nobody has the file open for
// writing, and it still is what was read. An editor that saves in place leaves it empty for a
// moment.
func (f *File) Settled(content Content) bool {
	fd, err := unix.Open(f.Path(), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err == nil {
		// Where nobody can say, that the content is the same has to do.
		writers := pathwatch.WritersOf(fd)
		_ = unix.Close(fd) // only read
		if writers == pathwatch.SomeWriter {
			return false
		}
	}
	now, err := f.Read()
	return err == nil && now.Exist == content.Exist && bytes.Equal(now.Data, content.Data)
}

// Whoever writes the file is waited for, for a while.
const (
	settlePoll = 2 * time.Millisecond
	settleMost = 2 * time.Second
)

func (f *File) readSettled() (Content, error) {
	for end := time.Now().Add(settleMost); ; time.Sleep(settlePoll) {
		content, err := f.Read()
		switch {
		case err != nil || f.Settled(content):
			return content, err
		case time.Now().After(end):
			return Content{}, fmt.Errorf("reading %s: another program is writing it", f.Path())
		}
	}
}

// Edit replaces the content by what change makes of it, and returns when that would survive
// a loss of power. After an error, from change or from the file system, the content is what it
// was. The same content is not written again.
func (f *File) Edit(change func(old []byte) ([]byte, error)) error {
	return f.locked(true, func(dir *os.File) error {
		old, err := f.readSettled()
		if err != nil {
			return err
		}
		data, err := change(old.Data)
		if err != nil || bytes.Equal(data, old.Data) {
			return err
		}
		err = f.replace(dir, old, data)
		if err == nil {
			return nil
		}
		// It can have been replaced, and be lost with the power.
		if now, readErr := f.Read(); readErr == nil && bytes.Equal(now.Data, old.Data) && now.Exist == old.Exist {
			return err
		}
		if !old.Exist {
			return errors.Join(err, os.Remove(f.Path()))
		}
		return errors.Join(err, f.put(old, old.Data))
	})
}

// Parse parses what the file has. What it has in common with the last time is not read again.
func (f *File) Parse(data []byte) *rules.StateFile {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.parsed == nil {
		f.parsed = rules.ParseStates(f.Path(), data)
	} else {
		f.parsed = f.parsed.Reparse(data)
	}
	return f.parsed
}

// Change is Edit of what the file says. It returns what it says then.
func (f *File) Change(change func(old *rules.StateFile) (*rules.StateFile, error)) (*rules.StateFile, error) {
	var next *rules.StateFile
	err := f.Edit(func(old []byte) (_ []byte, err error) {
		if next, err = change(f.Parse(old)); err != nil {
			return nil, err
		}
		return next.Text, nil
	})
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.parsed = next
	return next, nil
}

// Set changes the states of some rules, the zero value being that of no entry.
func (f *File) Set(edits map[string]rules.RuleState) (*rules.StateFile, error) {
	return f.Change(func(old *rules.StateFile) (*rules.StateFile, error) { return old.Edit(edits) })
}

// SetAside gives the file another name, and returns that.
func (f *File) SetAside() (to string, err error) {
	err = f.locked(false, func(dir *os.File) error {
		for n := 1; ; n++ {
			to = f.Path() + ".damaged"
			if n > 1 {
				to += fmt.Sprintf("-%d", n)
			}
			if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
				break
			} else if err != nil {
				return fmt.Errorf("setting aside %s: %w", f.Path(), err)
			}
		}
		if err := f.ops.rename(f.Path(), to); err != nil {
			return fmt.Errorf("setting aside %s: %w", f.Path(), err)
		}
		return f.ops.syncDir(dir)
	})
	return to, err
}

// locked does something while no other program does.
func (f *File) locked(create bool, do func(dir *os.File) error) (err error) {
	if create {
		if _, err := makeDir(f.dir); err != nil {
			return fmt.Errorf("making the directory of states: %w", err)
		}
	}
	dir, err := os.Open(f.dir)
	if err != nil {
		return fmt.Errorf("opening the directory of states: %w", err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }() // which ends the lock
	for {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("locking %s: %w", f.dir, err)
		}
	}
	return do(dir)
}

// owner is who gets what is made: what root makes in somebody's directory is theirs.
type owner struct{ uid, gid uint32 }

// give fails for those that may not give files away; then it is theirs that made it.
func (o owner) give(path string) { _ = os.Chown(path, int(o.uid), int(o.gid)) }

// makeDir makes a directory, and those above it, and returns its owner.
func makeDir(path string) (owner, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	if err == nil {
		return owner{st.Uid, st.Gid}, nil
	}
	if !errors.Is(err, unix.ENOENT) || path == filepath.Dir(path) {
		return owner{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	above, err := makeDir(filepath.Dir(path))
	if err != nil {
		return owner{}, err
	}
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return owner{}, err
	}
	above.give(path)
	return above, nil
}

func (f *File) replace(dir *os.File, old Content, data []byte) error {
	if err := f.put(old, data); err != nil {
		return err
	}
	if err := f.ops.syncDir(dir); err != nil {
		return fmt.Errorf("writing %s: %w", f.dir, err)
	}
	return nil
}

// put makes a file beside it, and then gives that its name.
func (f *File) put(old Content, data []byte) (err error) {
	temporary, err := os.CreateTemp(f.dir, ".states-")
	if err != nil {
		return fmt.Errorf("writing %s: %w", f.Path(), err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("writing %s: %w", f.Path(), errors.Join(err, os.Remove(temporary.Name())))
		}
	}()
	err = errors.Join(f.fill(temporary, old, data), temporary.Close())
	if err != nil {
		return err
	}
	return f.ops.rename(temporary.Name(), f.Path())
}

func (f *File) fill(temporary *os.File, old Content, data []byte) error {
	mode, of := fs.FileMode(0o644), owner{old.uid, old.gid}
	if old.Exist {
		mode = old.mode
	} else if dir, err := makeDir(f.dir); err == nil {
		of = dir
	}
	of.give(temporary.Name()) // whoever may edit it has to stay able to
	if err := temporary.Chmod(mode); err != nil {
		return err
	}
	if err := f.ops.write(temporary, data); err != nil {
		return err
	}
	return f.ops.sync(temporary)
}
