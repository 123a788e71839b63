package fsstore

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify"
	"bittern/internal/rules/statefile"
)

// stateWatch is the goroutine that notices what others write to the file of states. It
// watches its directory, and the way to it, as that of the rules is watched.
type stateWatch struct {
	states *states
	w      watcher
	root   *root
	due    time.Time // when the file is to be looked at, whatever happens; zero for never
}

// arm begins to watch. A directory that is not there is noticed when it is.
func (v *stateWatch) arm() error {
	path, err := filepath.Abs(v.states.cfg.States)
	if err != nil {
		return err
	}
	v.release()
	w, err := v.states.cfg.newStateWatcher()
	if err != nil {
		return err
	}
	v.w, v.root = w, newRoot(path, w)
	v.states.reading.Store(&w)
	select {
	case <-v.states.quit: // stop may have closed the one before
		return ErrStopped
	default:
	}
	return v.resolve()
}

func (v *stateWatch) resolve() error {
	err := v.root.arm()
	v.root.leave() // the file is read by its path
	if err != nil && !errors.Is(err, errGone) {
		return err
	}
	return nil
}

func (v *stateWatch) release() {
	if v.root != nil {
		v.root.leave()
	}
	if v.w != nil {
		_ = v.w.Close() // it is read from no more
	}
	v.root, v.w = nil, nil
}

// run watches until the store is stopped. armed is what arm has returned.
func (v *stateWatch) run(armed error) {
	defer v.release()
	delay := recoverFirst
	for err := armed; ; err = v.arm() {
		if err == nil {
			delay = recoverFirst
			v.states.store.health.watches(&v.states.store.health.states, nil)
			v.look(true)
			err = v.follow()
		}
		select {
		case <-v.states.quit:
			return
		default:
		}
		problems := v.states.problems(err)
		v.states.store.health.watches(&v.states.store.health.states, problems)
		v.states.writing.Lock()
		v.states.reject(problems)
		v.states.writing.Unlock()
		select {
		case <-v.states.quit:
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, recoverMost)
	}
}

// follow reads events until that fails.
func (v *stateWatch) follow() error {
	for {
		batch, err := v.w.Read(v.due)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			v.look(true)
			continue
		case err != nil:
			return err
		}
		if err := v.handle(batch); err != nil {
			return err
		}
	}
}

func (v *stateWatch) handle(batch inotify.Batch) error {
	rearm := batch.Rescan&inotify.Overflow != 0
	written, named := false, rearm
	for _, e := range batch.Events {
		rearm = rearm || v.root.concerns(e)
		if v.root.isDir(e) && e.Name == statefile.Name {
			// What was closed or moved there is whole. What was made is being written, but for a link.
			whole := e.Mask&(unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO) != 0
			written, named = written || whole, named || !whole
		}
	}
	if rearm {
		if err := v.resolve(); err != nil {
			return err
		}
		written = true
	}
	switch {
	case written:
		v.look(false)
	case named:
		v.later()
	}
	return nil
}

// look reads the file, now and perhaps once more.
func (v *stateWatch) look(final bool) {
	v.due = time.Time{}
	if !v.states.refresh(final) {
		v.later()
	}
}

func (v *stateWatch) later() { v.due = time.Now().Add(max(v.states.cfg.DeleteGrace, time.Millisecond)) }

// start reads the states, and starts the goroutines that keep them right.
func (st *states) start() error {
	if st == nil {
		return nil
	}
	// Watched before it is read, so that nothing is missed between the two.
	watch := &stateWatch{states: st}
	armed := watch.arm()
	if err := st.begin(); err != nil {
		watch.release()
		return err
	}
	st.running.Go(func() { watch.run(armed) })
	due := st.alarm.C()
	st.running.Go(func() {
		for {
			select {
			case <-st.quit:
				return
			case <-due:
				st.expire()
			}
		}
	})
	return nil
}

// stop ends these; after that, no state can be set.
func (st *states) stop() {
	if st == nil {
		return
	}
	close(st.quit)
	if w := st.reading.Load(); w != nil {
		_ = (*w).Close() // ends the read that waits
	}
	st.running.Wait()
	st.end()
}
