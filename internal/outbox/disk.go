package outbox

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// disk is the directory that the outbox lies in. Tests put one in its place that fails and forgets.
type disk interface {
	// List returns the names of all files.
	List() ([]string, error)
	// Open opens a file for reading, and for writing if that is allowed.
	Open(name string) (file, error)
	// Create makes a file of so many bytes, all zero, of which the file system has promised the room. It fails if there is one.
	Create(name string, size int64) (file, error)
	Rename(from, to string) error
	Remove(name string) error
	// Sync makes what has been created, renamed and removed outlive a power failure.
	Sync() error
}

// file is a file of a disk.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes what was written outlive a power failure. After an error nothing is known of what was written
	// since the last time.
	Sync() error
}

// newSuffix ends the name of a file that is not complete yet, and does not count.
const newSuffix = ".new"

// prepare makes and fills a file that is to be renamed.
func prepare(d disk, name string, size int64, fill func(file) error) (file, error) {
	name += newSuffix
	f, err := d.Create(name, size)
	if errors.Is(err, fs.ErrExist) { // of an agent that died, or it could not be removed when it could not be filled
		if err = d.Remove(name); err == nil {
			f, err = d.Create(name, size)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := fill(f); err != nil {
		return nil, errors.Join(err, f.Close(), d.Remove(name))
	}
	return f, nil
}

// directory is a disk of the operating system.
type directory struct{ path string }

func (d directory) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (d directory) Open(name string) (file, error) {
	path := filepath.Join(d.path, name)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission) {
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d directory) Create(name string, size int64) (_ file, err error) {
	path := filepath.Join(d.path, name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Fallocate(int(f.Fd()), 0, 0, size)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EOPNOTSUPP) { // then it may turn out later that there is no room
		err = f.Truncate(size)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making room for %s: %w", path, err), f.Close(), os.Remove(path))
	}
	return osFile{f}, nil
}

func (d directory) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

func (d directory) Remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }

func (d directory) Sync() (err error) {
	f, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Sync()
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (f osFile) Sync() error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	failed := raw.Control(func(fd uintptr) {
		for {
			if err = unix.Fdatasync(int(fd)); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	})
	if failed != nil {
		return failed
	}
	if err != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

// InUseError says that another agent has the outbox.
type InUseError struct {
	Dir string
	PID int // 0 if it is not known
}

func (e *InUseError) Error() string {
	by := "another agent"
	if e.PID != 0 {
		by = fmt.Sprintf("another agent (pid %d)", e.PID)
	}
	return fmt.Sprintf("the outbox %s is in use by %s: stop it, or give this one a state directory of its own", e.Dir, by)
}

const lockFile = "lock"

// take locks a directory, which it makes if need be, for whoever may append. Its error is an *InUseError if somebody has it.
func take(path string) (_ *os.File, err error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	name := filepath.Join(path, lockFile)
	lock, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, unix.EROFS) {
		lock, err = os.Open(path) // nobody can append, but two would acknowledge apart
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		var pid int
		if errors.Is(err, unix.EWOULDBLOCK) {
			_, _ = fmt.Fscan(lock, &pid) // only to say who
			err = &InUseError{Dir: path, PID: pid}
		}
		return nil, errors.Join(err, lock.Close())
	}
	if lock.Truncate(0) == nil { // on a read-only file system there is nobody to tell
		_, _ = fmt.Fprintln(lock, os.Getpid())
	}
	return lock, nil
}
