// Package inotify watches directories by direct system calls: inotify_init1,
// inotify_add_watch, inotify_rm_watch and read. It starts no goroutine and
// interprets nothing: one read(2) is one Batch.
package inotify

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Masks for AddDir.
const (
	// Entries is for a directory whose files are read: all that can give a name
	// new content, take it away, or permit to read it, and the end of the directory
	// itself. Neither opening nor reading files makes events.
	Entries uint32 = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_ATTRIB |
		unix.IN_CREATE | unix.IN_DELETE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	// Names is for a directory of which only the names matter, such as the
	// ancestors of a path: writing to its files makes no events.
	Names = Entries &^ (unix.IN_CLOSE_WRITE | unix.IN_ATTRIB)
)

// bufferBytes holds about 1,300 records with names of usual length, so that a
// burst takes few reads. A record has at most 16 + 256 bytes.
const bufferBytes = 64 << 10

// Watcher is one inotify instance. Close and Wake may be called at any time by any
// goroutine; of the other methods, one at a time.
type Watcher struct {
	// file is nonblocking and so belongs to the runtime's poller: a Read that
	// waits holds no thread, obeys a deadline, and is ended by Close at once,
	// without a second descriptor to wake it.
	file *os.File
	conn syscall.RawConn
	buf  []byte

	removed map[Watch]struct{} // removed by Remove; IN_IGNORED is still to come
	closed  atomic.Bool
	woken   atomic.Bool // by Wake, and no Read has returned since
}

// New makes an inotify instance. If the user has too many, the error is a
// *LimitError.
func New() (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("creating inotify instance: %w", limited(procSys, "instances", err))
	}
	file := os.NewFile(uintptr(fd), "inotify")
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing inotify instance: %w", err), file.Close())
	}
	return &Watcher{file: file, conn: conn, buf: make([]byte, bufferBytes), removed: map[Watch]struct{}{}}, nil
}

// AddDir watches a directory for the events of mask, Entries or Names. Symbolic
// links are followed: a rules directory may well be one; whoever cares that the
// link is switched watches the directory which holds the link. A directory that
// is watched already, under whatever name, keeps its Watch and gets the new
// mask. If the user has too many watches, the error is a *LimitError.
func (w *Watcher) AddDir(path string, mask uint32) (Watch, error) {
	var wd int
	err := w.control(func(fd int) (err error) {
		wd, err = unix.InotifyAddWatch(fd, path, mask|unix.IN_ONLYDIR)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("watching directory %s: %w", path, limited(procSys, "watches", err))
	}
	return Watch(wd), nil
}

// Remove ends a watch. Events that are queued already are still delivered;
// IN_IGNORED is not.
func (w *Watcher) Remove(watch Watch) error {
	err := w.control(func(fd int) error {
		_, err := unix.InotifyRmWatch(fd, uint32(watch))
		return err
	})
	if err != nil {
		return fmt.Errorf("removing watch %d: %w", watch, err)
	}
	w.removed[watch] = struct{}{}
	return nil
}

// Read waits for events until the deadline; the zero time means forever. It
// returns os.ErrDeadlineExceeded after the deadline, or Wake, and os.ErrClosed after Close.
func (w *Watcher) Read(deadline time.Time) (Batch, error) {
	if err := w.file.SetReadDeadline(deadline); err != nil {
		return Batch{}, fmt.Errorf("setting deadline of inotify: %w", w.orClosed(err))
	}
	if w.woken.Swap(false) { // after the deadline was set, which Wake sets as well
		return Batch{}, fmt.Errorf("reading inotify: %w", os.ErrDeadlineExceeded)
	}
	n, err := w.file.Read(w.buf)
	if err != nil {
		return Batch{}, fmt.Errorf("reading inotify: %w", err)
	}
	return w.batch(n)
}

// Wake has the Read that waits, or else the next one, return as after its deadline.
// A Read that follows may return so as well.
func (w *Watcher) Wake() {
	w.woken.Store(true)
	_ = w.file.SetReadDeadline(time.Unix(1, 0)) // it fails after Close only, which wakes as well
}

// TryRead returns the events that are there already, without waiting; an empty
// batch if there are none.
func (w *Watcher) TryRead() (Batch, error) {
	var n int
	err := w.control(func(fd int) (err error) {
		n, err = unix.Read(fd, w.buf)
		return err
	})
	switch {
	case errors.Is(err, unix.EAGAIN):
		return Batch{At: time.Now()}, nil
	case err != nil:
		return Batch{}, fmt.Errorf("reading inotify: %w", err)
	}
	return w.batch(n)
}

// Close ends all watches and a Read that waits.
func (w *Watcher) Close() error {
	w.closed.Store(true)
	if err := w.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return fmt.Errorf("closing inotify: %w", err)
	}
	return nil
}

func (w *Watcher) batch(n int) (Batch, error) {
	at := time.Now()
	records, err := Parse(w.buf[:n])
	if err != nil {
		return Batch{}, fmt.Errorf("reading inotify: %w", err)
	}
	return newBatch(records, at, w.forget), nil
}

// forget reports whether the watch was removed by Remove, the first time.
func (w *Watcher) forget(watch Watch) bool {
	_, ok := w.removed[watch]
	delete(w.removed, watch)
	return ok
}

// control runs a system call on the descriptor, which Close can't take away
// (and the kernel give to another file) meanwhile.
func (w *Watcher) control(call func(fd int) error) error {
	var callErr error
	err := w.conn.Control(func(fd uintptr) {
		for {
			if callErr = call(int(fd)); !errors.Is(callErr, unix.EINTR) {
				return
			}
		}
	})
	if err != nil {
		return w.orClosed(err)
	}
	return callErr
}

// orClosed gives the runtime's own error for a closed file the public name.
func (w *Watcher) orClosed(err error) error {
	if w.closed.Load() {
		return os.ErrClosed
	}
	return err
}
