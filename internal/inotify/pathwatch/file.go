package pathwatch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify"
)

// File is a file to be followed, whether it exists or not.
type File struct {
	Path string
	Most int64 // bytes, above which it is an error
	// Edited is given the content, or why there is none, once the file is watched and whenever it may have
	// changed: it can be the same as before. That a file is not there counts when it has not come back after a
	// moment, since many tools save by removing the old file and then making the new one.
	Edited func(data []byte, err error)
	// Unwatched is told why edits can't be noticed, once for each reason, and nil when they are again.
	Unwatched func(err error)
}

// again is how long after an event that leaves it open what becomes of the file it is looked at.
const again = 100 * time.Millisecond

// Delays between attempts to watch again after an error.
const (
	recoverFirst = 100 * time.Millisecond
	recoverMost  = 10 * time.Second
)

// Follow watches the file until ctx is done, and calls Edited and Unwatched from this goroutine. Mounts make no
// events, and writing through another name of the file, or through a mapping, makes none here.
func (f File) Follow(ctx context.Context) {
	delay, last := recoverFirst, ""
	for {
		err := f.follow(ctx, func() {
			if last != "" {
				f.Unwatched(nil)
			}
			delay, last = recoverFirst, ""
		})
		if ctx.Err() != nil {
			return
		}
		if err.Error() != last {
			last = err.Error()
			f.Unwatched(err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, recoverMost)
	}
}

// follow watches until that fails. armed is called when it does.
func (f File) follow(ctx context.Context, armed func()) error {
	path, err := filepath.Abs(f.Path)
	if err != nil {
		return err
	}
	w, err := inotify.New()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = w.Close() }) // ends the read that waits
	defer func() {
		stop()
		_ = w.Close() // it is read from no more
	}()
	r := &follower{File: f, w: w, way: NewWay(path, w)}
	if err := r.arm(); err != nil {
		return err
	}
	armed()
	r.look()
	for {
		batch, err := w.Read(r.due)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			r.look()
		case err != nil:
			return err
		default:
			if err := r.handle(batch); err != nil {
				return err
			}
		}
	}
}

// follower follows a file by one watcher.
type follower struct {
	File
	w   *inotify.Watcher
	way *Way
	// dir is the directory that the file lies in, under the name name, if there is true.
	dir   inotify.Watch
	name  string
	there bool
	due   time.Time // when the file is to be looked at, whatever happens; zero for never
}

// arm watches the way to the file, and the directory that it lies in. That there is no file is no error.
func (r *follower) arm() error {
	before := r.way.Watches()
	at, err := r.way.Walk()
	r.there = err == nil
	if err == nil {
		// The way has it already, for the names alone.
		r.dir, err = r.w.AddDir(filepath.Dir(at), inotify.Entries)
		r.name = filepath.Base(at)
	}
	if err != nil && !Gone(err) {
		return err
	}
	now := r.way.Watches()
	if r.there {
		now[r.dir] = true
	}
	r.way.Release(before, now)
	return nil
}

// handle takes in what one read returned.
func (r *follower) handle(batch inotify.Batch) error {
	const whole = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO
	overflow := batch.Rescan&inotify.Overflow != 0
	elsewhere, written, named := overflow, overflow, false
	for _, e := range batch.Events {
		concerned := r.way.Concerns(e)
		elsewhere = elsewhere || concerned
		if concerned || r.there && e.Watch == r.dir && e.Name == r.name {
			// What was closed or moved there is whole. What was made is being written, but for a link.
			written = written || e.Mask&whole != 0
			named = true
		}
	}
	if elsewhere {
		if err := r.arm(); err != nil {
			return err
		}
	}
	switch {
	case written && r.there:
		r.look()
	case named || written:
		r.later()
	}
	return nil
}

// look hands out what the file has, or looks once more if somebody is writing it.
func (r *follower) look() {
	r.due = time.Time{}
	data, err := tryRead(r.Path, r.Most)
	if errors.Is(err, ErrUnsettled) {
		r.later()
		return
	}
	r.Edited(data, err)
}

func (r *follower) later() { r.due = time.Now().Add(again) }
