package fsstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify"
)

// maxLinks is how many symbolic links a path may lead through, as in the kernel.
const maxLinks = 40

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

	// sub names a directory in it that is watched as well, whenever there is one; "" for none.
	sub string

	there bool // there is a directory, and it is watched
	at    place
	below below
	watch inotify.Watch // of the directory; valid if there
	dir   int           // descriptor of the directory; -1 unless it is entered
	// names are, for each watched directory on the way, the names that matter.
	// The rules directory can be one of them.
	names map[inotify.Watch]map[string]bool
}

// below is what is known of the directory that root.sub names.
type below struct {
	there bool // there is one, and it is watched
	at    place
	watch inotify.Watch
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
	return &root{path: path, w: w, dir: -1, names: map[inotify.Watch]map[string]bool{}}
}

// errGone says that the rules directory is not there at present.
var errGone = errors.New("rules directory is gone")

// arm resolves the path anew and watches what it leads to. Each directory is
// watched before its entry is looked up, so that a change after the look makes
// an event. It returns an error that wraps errGone if the directory is not
// there; what there is of the way is watched all the same.
func (r *root) arm() error {
	names := map[inotify.Watch]map[string]bool{}
	dir, watch := -1, inotify.Watch(0)
	at, err := r.resolve("/", split(r.path), names, inotify.Names)
	if err == nil {
		dir, watch, err = r.open(at)
	}
	old := r.watches()
	r.leave()
	r.dir, r.watch, r.names, r.below = dir, watch, names, below{}
	if err == nil {
		r.at, err = placeOf(dir)
	}
	if err == nil && r.sub != "" {
		r.below, err = r.armBelow(at, names)
	}
	r.there = err == nil
	now := r.watches()
	for w := range old {
		if !now[w] {
			// It fails if the directory is gone, and the watch with it.
			_ = r.w.Remove(w)
		}
	}
	return err
}

// armBelow watches the directory that sub names, in the one at a path without symbolic links.
// That there is none is no error: its name is watched.
func (r *root) armBelow(at string, names map[inotify.Watch]map[string]bool) (below, error) {
	// The rules directory is on the way to it, and must not lose events by that.
	path, err := r.resolve(at, []string{r.sub}, names, inotify.Names|unix.IN_MASK_ADD)
	var b below
	if err == nil {
		b.watch, err = r.w.AddDir(path, inotify.Entries|unix.IN_MASK_ADD)
		err = goneOr(err)
	}
	switch {
	case errors.Is(err, errGone):
		return below{}, nil
	case err != nil:
		return below{}, err
	}
	b.at, b.there = r.placeBelow(r.dir), true
	return b, nil
}

// placeBelow is what sub leads to in a directory at present; zero if there is none.
func (r *root) placeBelow(dir int) place {
	if r.sub == "" {
		return place{}
	}
	fd, err := unix.Openat(dir, r.sub, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return place{}
	}
	defer unix.Close(fd)
	at, _ := placeOf(fd) // of a descriptor that is open
	return at
}

// resolve follows a path from a directory, and watches every directory on the way for the names
// that matter there. It returns the path without symbolic links.
func (r *root) resolve(at string, rest []string, names map[inotify.Watch]map[string]bool, mask uint32) (string, error) {
	links := 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			at = filepath.Dir(at) // at has no symbolic links, so this is its parent
			continue
		}
		watch, err := r.w.AddDir(at, mask)
		switch {
		case err == nil:
			if names[watch] == nil {
				names[watch] = map[string]bool{}
			}
			names[watch][name] = true
		case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
			// A directory that can be passed but not read; its names can't be
			// watched, and seldom change.
		default:
			return "", goneOr(err)
		}
		next := filepath.Join(at, name)
		target, err := os.Readlink(next)
		switch {
		case err == nil:
			if links++; links > maxLinks {
				return "", fmt.Errorf("resolving %s: %w", next, unix.ELOOP)
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = append(split(target), rest...)
		case errors.Is(err, unix.EINVAL): // not a link
			at = next
		default:
			return "", goneOr(err)
		}
	}
	return at, nil
}

// open watches and opens the directory, both or none. An exchange between the
// two has its event on the way to it.
func (r *root) open(at string) (int, inotify.Watch, error) {
	watch, err := r.w.AddDir(at, inotify.Entries)
	if err != nil {
		return -1, 0, goneOr(err)
	}
	dir, err := unix.Open(at, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, 0, goneOr(fmt.Errorf("opening directory %s: %w", at, err))
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
	if err == nil && now == r.at && r.placeBelow(dir) == r.below.at {
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
	moved := !r.there || now != r.at || r.placeBelow(dir) != r.below.at
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
	const ends = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_UNMOUNT | unix.IN_IGNORED
	names, onTheWay := r.names[e.Watch]
	if e.Mask&ends != 0 {
		return onTheWay || r.isDir(e) || r.isBelow(e)
	}
	// Of a directory that is also the rules directory, closed files are no news.
	return names[e.Name] && e.Mask&(unix.IN_CLOSE_WRITE|unix.IN_ATTRIB) == 0
}

// isDir reports whether an event is of the rules directory.
func (r *root) isDir(e inotify.Event) bool { return r.there && e.Watch == r.watch }

func (r *root) isBelow(e inotify.Event) bool {
	return r.there && r.below.there && e.Watch == r.below.watch
}

// nameOf returns the name that an event is of, as seen from the rules directory; false if it is
// of no name there, nor in the directory below.
func (r *root) nameOf(e inotify.Event) (string, bool) {
	switch {
	case r.isDir(e):
		return e.Name, true
	case r.isBelow(e):
		return r.sub + "/" + e.Name, true
	}
	return "", false
}

func (r *root) watches() map[inotify.Watch]bool {
	all := map[inotify.Watch]bool{}
	for w := range r.names {
		all[w] = true
	}
	if r.there {
		all[r.watch] = true
	}
	if r.below.there {
		all[r.below.watch] = true
	}
	return all
}

// leave closes what enter or arm has opened.
func (r *root) leave() {
	if r.dir >= 0 {
		_ = unix.Close(r.dir) // an O_PATH descriptor has nothing to lose
		r.dir = -1
	}
}

func goneOr(err error) error {
	for _, gone := range []error{unix.ENOENT, unix.ENOTDIR, unix.ESTALE} {
		if errors.Is(err, gone) {
			return fmt.Errorf("%w: %w", errGone, err)
		}
	}
	return err
}

func split(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}

// firstComponent returns the first name of a relative path, "" for a path that
// leaves the directory.
func firstComponent(path string) string {
	if filepath.IsAbs(path) {
		return ""
	}
	if parts := split(path); len(parts) > 0 && parts[0] != ".." {
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
	if err != nil && !errors.Is(goneOr(err), errGone) {
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
