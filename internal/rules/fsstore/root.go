package fsstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify"
	"bittern/internal/inotify/pathwatch"
)

// root watches the rules directory, and every directory on the way to it: that
// of each name in its path, and in the paths of symbolic links there. Whichever
// of those names is made, removed, renamed or switched, the directory may be
// another one than before.
//
// Mounts make no events, and a descriptor that is kept keeps a file system from
// being unmounted. So there is one only while files are looked at, and what the
// path leads to is compared each time.
type root struct {
	path string // absolute
	w    watcher
	way  *pathwatch.Way

	there bool // there is a directory, and it is watched
	at    place
	watch inotify.Watch // of the directory; valid if there
	dir   int           // descriptor of the directory; -1 unless it is entered

	below *below // nil for none
}

// place identifies a directory, and the mount by which the path leads there.
type place struct {
	device, mount, inode uint64
}

func placeOf(dir int) (place, error) {
	var st unix.Statx_t
	// The mount is of Linux 5.8.
	if err := unix.Statx(dir, "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_MNT_ID, &st); err != nil {
		return place{}, err
	}
	return place{device: unix.Mkdev(st.Dev_major, st.Dev_minor), mount: st.Mnt_id, inode: st.Ino}, nil
}

func newRoot(path string, w watcher) *root {
	return &root{path: path, w: w, dir: -1, way: pathwatch.NewWay(path, w)}
}

// errGone says that the rules directory is not there at present.
var errGone = errors.New("rules directory is gone")

// arm resolves the path anew and watches what it leads to. It returns an error that wraps
// errGone if the directory is not there; what there is of the way is watched all the same.
func (r *root) arm() error {
	old := r.watches()
	dir, watch := -1, inotify.Watch(0)
	at, err := r.way.Walk()
	below, belowErr := r.below.walk()
	if err == nil {
		dir, watch, err = r.open(at)
	}
	r.leave()
	r.dir, r.watch = dir, watch
	if err == nil {
		r.at, err = placeOf(dir)
	}
	if err == nil {
		err = belowErr
	}
	if err == nil {
		err = r.below.arm(below, dir)
	}
	r.there = err == nil
	r.way.Release(old, r.watches())
	if err != nil && pathwatch.Gone(err) {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return err
}

// open watches and opens the directory, both or none. An exchange between the
// two has its event on the way to it.
func (r *root) open(at string) (int, inotify.Watch, error) {
	watch, err := r.w.AddDir(at, inotify.Entries)
	if err != nil {
		return -1, 0, err
	}
	dir, err := unix.Open(at, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, 0, fmt.Errorf("opening directory %s: %w", at, err)
	}
	return dir, watch, nil
}

// enter opens the directory that was found last. It returns false if there was
// one, and the path leads elsewhere by now.
func (r *root) enter() bool {
	r.leave()
	if !r.there {
		return true
	}
	dir, now, err := r.look()
	if err == nil && now == r.at && !r.below.moved(dir) {
		r.dir = dir
		return true
	}
	if err == nil {
		_ = unix.Close(dir) // an O_PATH descriptor has nothing to lose
	}
	return false
}

// moved reports whether the path leads to another directory than the one that
// was found last, to none any more, or to one again.
func (r *root) moved() bool {
	dir, now, err := r.look()
	if err != nil {
		return r.there
	}
	moved := !r.there || now != r.at || r.below.moved(dir)
	_ = unix.Close(dir) // an O_PATH descriptor has nothing to lose
	return moved
}

func (r *root) look() (int, place, error) {
	dir, err := unix.Open(r.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, place{}, err
	}
	at, err := placeOf(dir)
	if err != nil {
		_ = unix.Close(dir) // an O_PATH descriptor has nothing to lose
	}
	return dir, at, err
}

// concerns reports whether an event means that the path may lead elsewhere now.
func (r *root) concerns(e inotify.Event) bool {
	return r.way.Concerns(e) || r.isDir(e) && e.Mask&pathwatch.Ends != 0 || r.below.concerns(e)
}

// isDir reports whether an event is of the rules directory.
func (r *root) isDir(e inotify.Event) bool { return r.there && e.Watch == r.watch }

// nameOf returns the name that an event is of, as seen from the directory; false if it is of no
// name there, nor in the one below.
func (r *root) nameOf(e inotify.Event) (string, bool) {
	switch {
	case r.isDir(e):
		return e.Name, true
	case r.below.isDir(e):
		return r.below.name + "/" + e.Name, true
	}
	return "", false
}

func (r *root) watches() map[inotify.Watch]bool {
	all := r.way.Watches()
	if r.there {
		all[r.watch] = true
	}
	r.below.addWatches(all)
	return all
}

// leave closes what enter or arm has opened.
func (r *root) leave() {
	if r.dir >= 0 {
		_ = unix.Close(r.dir) // an O_PATH descriptor has nothing to lose
		r.dir = -1
	}
}

// firstComponent returns the first name of a relative path, "" for a path that
// leaves the directory.
func firstComponent(path string) string {
	if filepath.IsAbs(path) {
		return ""
	}
	if parts := pathwatch.Split(path); len(parts) > 0 && parts[0] != ".." {
		return parts[0]
	}
	return ""
}

// entries returns the names of rule files in a directory, and of the files of lists below it,
// sorted.
func entries(dir int) ([]string, error) {
	names, err := entriesOf(dir, ".")
	if err != nil {
		return nil, err
	}
	lists, err := entriesOf(dir, ListsName)
	if err != nil && !pathwatch.Gone(err) {
		return nil, err
	}
	for _, name := range lists {
		names = append(names, ListsName+"/"+name)
	}
	slices.Sort(names)
	return names, nil
}

func entriesOf(dir int, path string) ([]string, error) {
	fd, err := unix.Openat(dir, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening rules directory to list it: %w", err)
	}
	f := os.NewFile(uintptr(fd), "rules directory")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("listing rules directory: %w", err)
	}
	return slices.DeleteFunc(names, func(n string) bool { return !Accepts(n) }), nil
}
