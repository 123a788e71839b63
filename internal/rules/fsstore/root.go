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
type root struct {
	path string // absolute
	w    watcher

	dir   int           // descriptor of the directory; -1 while there is none
	watch inotify.Watch // of the directory; valid if dir >= 0
	// names are, for each watched directory on the way, the names that matter.
	// The rules directory can be one of them.
	names map[inotify.Watch]map[string]bool
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
	dir, watch, err := r.walk(names)
	old := r.watches()
	r.release()
	r.dir, r.watch, r.names = dir, watch, names
	now := r.watches()
	for w := range old {
		if !now[w] {
			// It fails if the directory is gone, and the watch with it.
			_ = r.w.Remove(w)
		}
	}
	return err
}

func (r *root) walk(names map[inotify.Watch]map[string]bool) (int, inotify.Watch, error) {
	at, rest, links := "/", split(r.path), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			at = filepath.Dir(at) // at has no symbolic links, so this is its parent
			continue
		}
		watch, err := r.w.AddDir(at, inotify.Names)
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
			return -1, 0, goneOr(err)
		}
		next := filepath.Join(at, name)
		target, err := os.Readlink(next)
		switch {
		case err == nil:
			if links++; links > maxLinks {
				return -1, 0, fmt.Errorf("resolving %s: %w", r.path, unix.ELOOP)
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = append(split(target), rest...)
		case errors.Is(err, unix.EINVAL): // not a link
			at = next
		default:
			return -1, 0, goneOr(err)
		}
	}
	return r.open(at)
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

// concerns reports whether an event means that the path may lead elsewhere now.
func (r *root) concerns(e inotify.Event) bool {
	const ends = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_UNMOUNT | unix.IN_IGNORED
	names, onTheWay := r.names[e.Watch]
	if e.Mask&ends != 0 {
		return onTheWay || r.isDir(e)
	}
	// Of a directory that is also the rules directory, closed files are no news.
	return names[e.Name] && e.Mask&unix.IN_CLOSE_WRITE == 0
}

// isDir reports whether an event is of the rules directory.
func (r *root) isDir(e inotify.Event) bool { return r.dir >= 0 && e.Watch == r.watch }

func (r *root) watches() map[inotify.Watch]bool {
	all := map[inotify.Watch]bool{}
	for w := range r.names {
		all[w] = true
	}
	if r.dir >= 0 {
		all[r.watch] = true
	}
	return all
}

func (r *root) release() {
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

// entries returns the names of rule files in a directory, sorted.
func entries(dir int) ([]string, error) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening rules directory to list it: %w", err)
	}
	f := os.NewFile(uintptr(fd), "rules directory")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("listing rules directory: %w", err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !Accepts(n) })
	slices.Sort(names)
	return names, nil
}
