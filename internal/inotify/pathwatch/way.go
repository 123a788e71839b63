// Package pathwatch watches paths, where package inotify watches directories: whichever name on
// the way to a file or directory is made, removed, renamed or switched, the path may lead elsewhere
// than before.
package pathwatch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify"
)

// MaxLinks is how many symbolic links a path may lead through, as in the kernel.
const MaxLinks = 40

// Ends are the events which say that a watched directory is not what its path leads to any more.
const Ends = unix.IN_DELETE_SELF | unix.IN_MOVE_SELF | unix.IN_UNMOUNT | unix.IN_IGNORED

// Adder is the part of an inotify.Watcher that makes watches.
type Adder interface {
	AddDir(path string, mask uint32) (inotify.Watch, error)
	Remove(watch inotify.Watch) error
}

// Way is the watched directories that decide where a path leads: that of each name in the path, and
// in the paths of symbolic links there.
type Way struct {
	path string // absolute
	w    Adder
	// names are, for each watched directory, the names that matter.
	names map[inotify.Watch]map[string]bool
}

// NewWay makes a way that is not watched yet. The path is absolute.
func NewWay(path string, w Adder) *Way {
	return &Way{path: path, w: w, names: map[inotify.Watch]map[string]bool{}}
}

// Walk resolves the path anew and watches what it leads through. Each directory is watched before
// its entry is looked up, so that a change after the look makes an event. It returns the path
// without symbolic links. After an error, see Gone, what there is of the way is watched all the
// same. Watches that it needs no longer stay, for Release.
func (y *Way) Walk() (string, error) {
	names := map[inotify.Watch]map[string]bool{}
	at, err := y.walk(names)
	y.names = names
	return at, err
}

func (y *Way) walk(names map[inotify.Watch]map[string]bool) (string, error) {
	at, rest, links := "/", Split(y.path), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			at = filepath.Dir(at) // at has no symbolic links, so this is its parent
			continue
		}
		watch, err := y.w.AddDir(at, inotify.Names)
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
			return "", err
		}
		next := filepath.Join(at, name)
		target, err := os.Readlink(next)
		switch {
		case err == nil:
			if links++; links > MaxLinks {
				return "", fmt.Errorf("resolving %s: %w", y.path, unix.ELOOP)
			}
			if filepath.IsAbs(target) {
				at = "/"
			}
			rest = append(Split(target), rest...)
		case errors.Is(err, unix.EINVAL): // not a link
			at = next
		default:
			return "", err
		}
	}
	return at, nil
}

// Concerns reports whether an event means that the path may lead elsewhere now.
func (y *Way) Concerns(e inotify.Event) bool {
	names, onTheWay := y.names[e.Watch]
	if e.Mask&Ends != 0 {
		return onTheWay
	}
	// Where the file or directory itself lies, closed files are no news.
	return names[e.Name] && e.Mask&(unix.IN_CLOSE_WRITE|unix.IN_ATTRIB) == 0
}

// Watches are those that the way has now.
func (y *Way) Watches() map[inotify.Watch]bool {
	all := map[inotify.Watch]bool{}
	for w := range y.names {
		all[w] = true
	}
	return all
}

// Release removes watches that were there before and are not needed any more.
func (y *Way) Release(before, now map[inotify.Watch]bool) {
	for w := range before {
		if !now[w] {
			// It fails if the directory is gone, and the watch with it.
			_ = y.w.Remove(w)
		}
	}
}

// Gone reports whether an error says that there is nothing at a path.
func Gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ESTALE)
}

// Split returns the names in a path, ".." among them.
func Split(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}
