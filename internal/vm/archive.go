package vm

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// archive writes a cpio archive in the form "newc", which the kernel unpacks as its
// first file system (Documentation/driver-api/early-userspace/buffer-format.rst).
// Everything belongs to root. Errors stick; close returns the first.
type archive struct {
	w    *bufio.Writer
	size int64 // written so far
	ino  uint32
	dirs map[string]bool
	err  error
}

// Types in the mode of an entry, as in stat(2).
const (
	modeDirectory = 0o040000
	modeFile      = 0o100000
	modeLink      = 0o120000
)

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriterSize(w, 1<<16), dirs: map[string]bool{".": true}}
}

// file adds a file; the name is relative to the root.
func (a *archive) file(name string, mode fs.FileMode, data []byte) {
	a.parents(name)
	a.entry(name, modeFile|uint32(mode.Perm()), data)
}

func (a *archive) link(name, to string) {
	a.parents(name)
	a.entry(name, modeLink|0o777, []byte(to))
}

func (a *archive) directory(name string) {
	if a.dirs[name] {
		return
	}
	a.parents(name)
	a.dirs[name] = true
	a.entry(name, modeDirectory|0o755, nil)
}

// parents adds the directories above name: the kernel does not make them by itself.
func (a *archive) parents(name string) {
	if dir := path.Dir(name); !a.dirs[dir] {
		a.directory(dir)
	}
}

// tree adds what is in a directory and below it.
func (a *archive) tree(under string, from fs.FS) {
	if a.err != nil {
		return
	}
	err := fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := path.Join(under, name)
		if d.IsDir() {
			a.directory(to)
			return a.err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		a.file(to, info.Mode(), data)
		return a.err
	})
	if a.err == nil {
		a.err = err
	}
}

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, nil)
	if a.err == nil {
		a.err = a.w.Flush()
	}
	if a.err != nil {
		return fmt.Errorf("writing the guest's files: %w", a.err)
	}
	return nil
}

func (a *archive) entry(name string, mode uint32, data []byte) {
	a.ino++
	links := 1
	// magic, inode, mode, uid, gid, links, time, size, device twice, name's size, checksum
	fmt.Fprintf(a, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.ino, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name)+1, 0)
	io.WriteString(a, name+"\x00")
	a.pad()
	a.Write(data)
	a.pad()
}

// pad fills up to four bytes.
func (a *archive) pad() {
	io.WriteString(a, strings.Repeat("\x00", int(-a.size&3)))
}

// Write appends bytes as they are.
func (a *archive) Write(p []byte) (int, error) {
	if a.err != nil {
		return 0, a.err
	}
	n, err := a.w.Write(p)
	a.size += int64(n)
	a.err = err
	return n, err
}
