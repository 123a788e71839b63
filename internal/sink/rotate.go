package sink

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// system is what a File needs of the operating system. Tests have it fail.
type system interface {
	Open(path string) (handle, error)
	Read(path string) (handle, error) // of files that nothing is written to any more
	Stat(path string) (fs.FileInfo, error)
	Rename(from, to string) error
	SyncDir(path string) error
}

type handle interface {
	io.ReaderAt
	io.WriteCloser
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	Datasync() error
}

type disk struct{}

type diskFile struct{ *os.File }

func (d diskFile) Datasync() error {
	for {
		if err := unix.Fdatasync(int(d.Fd())); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func (disk) Open(path string) (handle, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|unix.O_NONBLOCK, 0o640) // a pipe must not be waited for
	if err != nil {
		return nil, err
	}
	return diskFile{file}, nil
}

func (disk) Read(path string) (handle, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return diskFile{file}, nil
}

func (disk) Stat(path string) (fs.FileInfo, error) { return os.Stat(path) }
func (disk) Rename(from, to string) error          { return os.Rename(from, to) }

func (disk) SyncDir(path string) (err error) {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	return dir.Sync()
}

// links is how many names a file has.
func links(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(stat.Nlink)
	}
	return 1
}

// open opens the file, makes it if need be, and leaves only whole lines in it.
func (f *File) open() (err error) {
	file, err := f.sys.Open(f.cfg.Path)
	if err != nil {
		return fmt.Errorf("opening the file of records: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("opening %s: %w", f.cfg.Path, err), file.Close())
		}
	}()
	info, err := file.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("it is not a regular file")
	}
	tail, torn, err := readTail(file, info.Size(), tailBytes)
	if err != nil {
		return err
	}
	if torn > 0 {
		// A file system that loses power can leave zeros.
		if rest := tail[len(tail)-torn:]; rest[0] != '{' && rest[0] != 0 {
			return errors.New("its last line has no end and is none of records: it seems to be somebody else's file")
		}
		if err := file.Truncate(info.Size() - int64(torn)); err != nil {
			return err
		}
	}
	if !f.looked {
		before := known{}
		before.add(tail)
		if err := f.look(&before, tailBytes-info.Size()); err != nil {
			return err
		}
		f.place.before = before
	}
	// What an earlier agent has written may be acknowledged now; and the file's name is new, or an older one's is.
	if err := file.Datasync(); err != nil {
		return err
	}
	if err := f.sys.SyncDir(filepath.Dir(f.cfg.Path)); err != nil {
		return err
	}
	f.file, f.looked, f.torn = file, true, false
	f.size = info.Size() - int64(torn)
	f.synced = f.size
	return nil
}

// look looks for what an earlier agent has written at the end of renamed files, up to so many bytes. The last line of one can be
// torn, by an agent that was killed before it was told to reopen; it stays, since others may be at work on the file.
func (f *File) look(before *known, most int64) error {
	for i := 1; i <= max(f.cfg.Keep, 1) && most > 0; i++ {
		size, err := f.lookAt(f.old(i), before, most)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a rotation can have been cut off, and left a gap
			return err
		}
		most -= size
	}
	return nil
}

func (f *File) lookAt(path string, before *known, most int64) (size int64, err error) {
	file, err := f.sys.Read(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0, err
	}
	tail, _, err := readTail(file, info.Size(), most)
	if err != nil {
		return 0, err
	}
	before.add(tail)
	return info.Size(), file.Datasync()
}

func (f *File) old(i int) string { return fmt.Sprintf("%s.%d", f.cfg.Path, i) }

// rotate renames the files up to the first gap, of which there is one at the end or where a rotation was cut off, and opens a new
// one. The last one to be kept is overwritten.
func (f *File) rotate() error {
	gap := 1
	for ; gap < f.cfg.Keep; gap++ {
		if _, err := f.sys.Stat(f.old(gap)); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return fmt.Errorf("rotating %s: %w", f.cfg.Path, err)
		}
	}
	if err := f.close(); err != nil {
		return err
	}
	for i := gap; i > 0; i-- {
		from := f.cfg.Path
		if i > 1 {
			from = f.old(i - 1)
		}
		if err := f.sys.Rename(from, f.old(i)); err != nil {
			return fmt.Errorf("rotating %s: %w", f.cfg.Path, err)
		}
	}
	return f.open()
}
