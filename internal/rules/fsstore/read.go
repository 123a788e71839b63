package fsstore

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify/pathwatch"
	"bittern/internal/rules"
)

// reading is what was found under a name.
type reading struct {
	state   readState
	link    bool // the name is a symbolic link
	data    []byte
	stamp   stamp  // of the file when data was read
	message string // unusable: what is wrong
	hint    string
}

// stamp is by what a file that was written to can be told from what it was.
type stamp struct {
	inode      uint64
	size       int64
	mtim, ctim unix.Timespec
}

func stampOf(st *unix.Stat_t) stamp {
	return stamp{inode: st.Ino, size: st.Size, mtim: st.Mtim, ctim: st.Ctim}
}

type readState uint8

const (
	absent   readState = iota + 1 // there is no such name
	unusable                      // it is there, but can't be read
	open                          // it was not read, since somebody may be writing it
	unstable                      // it changed while it was read, time and again
	content                       // data is all of it
)

// readAttempts is how often a file that changes under the read is read again at
// once.
const readAttempts = 4

// read reads one file of the directory. If careful, it does not read a file
// that somebody has open for writing, or may have.
func read(dir int, name string, maxBytes int64, careful bool) reading {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return failure(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return readTarget(dir, name, maxBytes, careful, &st)
	}
	r := reading{state: unusable, message: "symbolic link leads nowhere", hint: "its rules stay live until it is removed"}
	switch err := unix.Fstatat(dir, name, &st, 0); {
	case err == nil:
		// Whoever links to a file is done with it, so that no more is asked of it
		// than of one that was closed.
		r = readTarget(dir, name, maxBytes, false, &st)
	case !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR):
		r = failure(err)
	}
	r.link = true
	return r
}

// readTarget reads the file that a name leads to, whose state is st.
func readTarget(dir int, name string, maxBytes int64, careful bool, st *unix.Stat_t) reading {
	// Looked at before it is opened: to open a device can do things.
	if r, ok := unfit(st, maxBytes); !ok {
		return r
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return failure(err)
	}
	defer unix.Close(fd)
	if careful {
		switch pathwatch.WritersOf(fd) {
		case pathwatch.SomeWriter:
			return reading{state: open}
		case pathwatch.UnknownWriters:
			// A further name for a file that exists is not one that is being made.
			if st.Nlink < 2 {
				return reading{state: open}
			}
		}
	}
	return readAll(fd, maxBytes)
}

func readAll(fd int, maxBytes int64) reading {
	var before, after unix.Stat_t
	for range readAttempts {
		if err := unix.Fstat(fd, &before); err != nil {
			return failure(err)
		}
		if r, ok := unfit(&before, maxBytes); !ok {
			return r
		}
		// One byte more than it has, so that growth shows.
		data := make([]byte, before.Size+1)
		n, err := readFull(fd, data)
		if err != nil {
			return failure(err)
		}
		if err := unix.Fstat(fd, &after); err != nil {
			return failure(err)
		}
		if int64(n) == before.Size && stampOf(&before) == stampOf(&after) {
			return reading{state: content, data: data[:n], stamp: stampOf(&after)}
		}
	}
	return reading{state: unstable}
}

func readFull(fd int, data []byte) (int, error) {
	n := 0
	for n < len(data) {
		m, err := unix.Pread(fd, data[n:], int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return n, err
		case m == 0:
			return n, nil
		default:
			n += m
		}
	}
	return n, nil
}

// unfit says why a file is not to be read, if so.
func unfit(st *unix.Stat_t, maxBytes int64) (reading, bool) {
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG {
		names := map[uint32]string{
			unix.S_IFDIR: "directory", unix.S_IFIFO: "named pipe", unix.S_IFSOCK: "socket",
			unix.S_IFCHR: "character device", unix.S_IFBLK: "block device",
		}
		return reading{state: unusable, message: "is a " + names[kind] + ", not a file",
			hint: "rule files lie in the rules directory itself, lists in lists/"}, false
	}
	if st.Size > maxBytes {
		return reading{state: unusable, message: fmt.Sprintf("file has %d bytes, the limit is %d", st.Size, maxBytes),
			hint: "split it into several files"}, false
	}
	return reading{}, true
}

func failure(err error) reading {
	if errors.Is(err, unix.ENOENT) {
		return reading{state: absent}
	}
	hint := ""
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		hint = "let the agent's user read it"
	}
	return reading{state: unusable, message: fmt.Sprintf("file can't be read: %v", err), hint: hint}
}

func (r reading) problem(path string) *rules.Problem {
	return &rules.Problem{Pos: rules.Position{File: path}, Message: r.message, Hint: r.hint}
}

// settled reports whether nobody has the file open for writing, and it still is
// what it was when it was read. Without leases, the second alone must do, unless
// strictly.
func settled(dir int, name string, read stamp, strictly bool) bool {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false // the next look finds out why
	}
	defer unix.Close(fd)
	if found := pathwatch.WritersOf(fd); found == pathwatch.SomeWriter || strictly && found == pathwatch.UnknownWriters {
		return false
	}
	// Asked second: a writer that closed it before the first question has
	// written all by now.
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && stampOf(&st) == read
}

func exists(dir int, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// linksOf returns the names that a name leads through in its directory, which is the rules
// directory or that of lists, if it is a symbolic link: for "a.yml -> ..data/a.yml" and "..data -> ..1" these are
// "..data" and "..1". A change of any of them is a change of the name.
func linksOf(dir int, name string) []string {
	var through []string
	prefix := name[:strings.LastIndexByte(name, '/')+1]
	buf := make([]byte, unix.PathMax)
	for range pathwatch.MaxLinks {
		n, err := unix.Readlinkat(dir, name, buf)
		if err != nil {
			return through
		}
		first := firstComponent(string(buf[:n]))
		if first == "" {
			return through
		}
		name = prefix + first
		through = append(through, name)
	}
	return through
}
