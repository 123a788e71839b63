package mirror

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/rules/fsstore"
)

// disk is what a mirror does to files. Tests replace it to die at each step.
type disk interface {
	// write makes or replaces a file.
	write(path string, data []byte) error
	// flush brings the content of files to disk, which are all on that of a directory.
	flush(dir string, paths ...string) error
	rename(from, to string) error
	remove(path string) error
	// sync brings the names of a directory to disk.
	sync(dir string) error
}

type realDisk struct{}

func (realDisk) write(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// manyFiles is from how many files on it is quicker to bring everything to disk that waits for it.
const manyFiles = 16

func (realDisk) flush(dir string, paths ...string) error {
	if len(paths) < manyFiles {
		for _, path := range paths {
			if err := (realDisk{}).sync(path); err != nil {
				return err
			}
		}
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

func (realDisk) rename(from, to string) error { return os.Rename(from, to) }

func (realDisk) remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (realDisk) sync(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Names in the directory of a mirror.
const (
	rulesName    = "rules"
	pagesName    = "pages"    // of the publication, by their sums
	incomingName = "incoming" // files that are to be renamed into the rules directory
	// recordName is that of the publication that the rules directory is to be like. To replace it is to decide for another one: until
	// then nothing has happened, and afterwards everything that is left to do can be done without fetching anything.
	recordName = "publication"
	newRecord  = "publication.new"
)

func (m *Mirror) in(parts ...string) string {
	return filepath.Join(append([]string{m.cfg.Dir}, parts...)...)
}

// incoming is where a file waits, by the name that it is to have. No name that is accepted has a plus.
func (m *Mirror) incoming(name string) string {
	return m.in(incomingName, strings.ReplaceAll(name, "/", "+"))
}

// present is a file as it was found.
type present struct {
	stamp stamp
	blob  Blob // the zero value if it is not a file that can be read
}

// stamp is by what a file that was written to can be told from what it was.
type stamp struct {
	inode        uint64
	size         int64
	mtime, ctime syscall.Timespec
}

// scan returns the files of the rules directory by name. What was known of those that have not changed since is not read again.
func (m *Mirror) scan(known map[string]present) (map[string]present, error) {
	found := make(map[string]present, len(known))
	for _, below := range []string{"", fsstore.ListsName} {
		dir := m.in(rulesName, below)
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, fmt.Errorf("looking at the rules taken: %w", err)
		}
		for _, e := range entries {
			name := filepath.Join(below, e.Name())
			if !Accepts(name) {
				continue
			}
			p, err := look(filepath.Join(dir, e.Name()), known[name])
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("looking at the rules taken: %w", err)
			}
			found[name] = p
		}
	}
	return found, nil
}

func look(path string, known present) (present, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return present{}, err
	}
	now := present{}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		now.stamp = stamp{inode: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim}
	}
	if now.stamp == known.stamp && now.stamp.inode != 0 {
		return known, nil
	}
	// A file that was changed a moment ago can change again without another time.
	if time.Since(info.ModTime()) < settled {
		now.stamp = stamp{}
	}
	if !info.Mode().IsRegular() || info.Size() > MaxFile {
		return now, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return now, nil //nolint:nilerr // a file that can't be read is one that is not as it should be
	}
	now.blob = BlobOf(data)
	return now, nil
}

// settled is how old a file's time must be to say something; the kernel counts in ticks of up to 10 ms.
const settled = 50 * time.Millisecond

// put writes what is to be there after a crash.
func (m *Mirror) put(path string, data []byte) error {
	err := m.disk.write(path, data)
	if err == nil {
		err = m.disk.flush(filepath.Dir(path), path)
	}
	if err != nil {
		_ = m.disk.remove(path) // or it would look whole the next time, and perhaps not be on disk
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func (m *Mirror) syncAll(dirs ...string) error {
	for _, dir := range dirs {
		if err := m.disk.sync(dir); err != nil {
			return fmt.Errorf("writing the names of %s to disk: %w", dir, err)
		}
	}
	return nil
}
