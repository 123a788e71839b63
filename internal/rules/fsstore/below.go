package fsstore

import (
	"path/filepath"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify"
	"bittern/internal/inotify/pathwatch"
)

// below watches a directory of a name in the one that a root watches, whenever there is one. A nil
// below watches nothing.
type below struct {
	name  string
	w     watcher
	way   *pathwatch.Way
	there bool // there is one, and it is watched
	at    place
	watch inotify.Watch // valid if there
}

// watchBelow has the root watch a directory in it as well.
func (r *root) watchBelow(name string) {
	r.below = &below{name: name, w: r.w, way: pathwatch.NewWay(filepath.Join(r.path, name), r.w)}
}

// walk watches the way to the directory, and returns where it is; "" if there is none, which is no
// error: its name is watched. The root opens its own directory after that, since what is only on
// the way is watched for names alone.
func (b *below) walk() (string, error) {
	if b == nil {
		return "", nil
	}
	b.there, b.at = false, place{}
	at, err := b.way.Walk()
	if err != nil && pathwatch.Gone(err) {
		return "", nil
	}
	return at, err
}

// arm watches the directory, which walk has found, in the root's.
func (b *below) arm(at string, dir int) error {
	if at == "" {
		return nil
	}
	watch, err := b.w.AddDir(at, inotify.Entries)
	if err != nil {
		if pathwatch.Gone(err) {
			return nil // there was one, and an event tells of its end
		}
		return err
	}
	b.there, b.watch, b.at = true, watch, b.in(dir)
	return nil
}

// in is what the name leads to in a directory at present; zero if that is nothing.
func (b *below) in(dir int) place {
	if b == nil {
		return place{}
	}
	fd, err := unix.Openat(dir, b.name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return place{}
	}
	defer unix.Close(fd)
	at, _ := placeOf(fd) // of a descriptor that is open
	return at
}

// moved reports whether the name leads elsewhere in the root's directory than it did.
func (b *below) moved(dir int) bool { return b != nil && b.in(dir) != b.at }

// isDir reports whether an event is of the directory.
func (b *below) isDir(e inotify.Event) bool { return b != nil && b.there && e.Watch == b.watch }

// concerns reports whether an event means that the name may lead elsewhere now.
func (b *below) concerns(e inotify.Event) bool {
	return b != nil && (b.way.Concerns(e) || b.isDir(e) && e.Mask&pathwatch.Ends != 0)
}

// addWatches adds those that it has now.
func (b *below) addWatches(all map[inotify.Watch]bool) {
	if b == nil {
		return
	}
	for w := range b.way.Watches() {
		all[w] = true
	}
	if b.there {
		all[b.watch] = true
	}
}
