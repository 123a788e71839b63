package fsstore

import (
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify"
	"bittern/internal/rules"
)

// loop is the one goroutine that watches, reads, parses and changes the set.
type loop struct {
	store *Store
	cfg   Config
	log   *slog.Logger
	path  string // of the directory, absolute
	w     watcher
	root  *root
	gone  bool // the directory is away, or taken to be
	bare  bool // it is taken to be: there is one, of another mount and without files
	ready bool // it was read once

	held   *gathered      // nil unless a set is gathered, or waits
	ahead  *inotify.Batch // read already, to be handled next
	failed error          // of that reading
	redo   *dirty         // what was looked at meanwhile, and is to be looked at again
	sets   uint64         // ids given to sets

	vanished map[string]vanished // files whose rules are to be deleted, but not yet
	busy     map[string]busy     // files to be looked at again, since they are being written
	patrol   *patrol             // nil if there is none
	through  map[string][]string // rule file -> names in the directory that it leads through
	leading  map[string][]string // the reverse
}

type vanished struct{ seen, due time.Time }

type busy struct {
	hint      hint
	seen, due time.Time
}

func newLoop(s *Store) *loop {
	return &loop{
		store: s, cfg: s.cfg, log: s.cfg.Logger.With("component", "rule store"),
		vanished: map[string]vanished{}, busy: map[string]busy{},
		through: map[string][]string{}, leading: map[string][]string{},
	}
}

// begin watches and reads the directory for the first time.
func (l *loop) begin() error {
	path, err := filepath.Abs(l.cfg.Dir)
	if err != nil {
		return watchError(l.cfg.Dir, err)
	}
	l.path = path
	if err := l.watch(); err != nil {
		return watchError(l.cfg.Dir, err)
	}
	if err := l.rescan(newDirty(time.Now())); err != nil {
		return watchError(l.cfg.Dir, err)
	}
	l.ready = true
	l.pacePatrol(time.Now())
	l.log.Info("watching rules directory", "dir", l.cfg.Dir, "rules", len(l.store.Load()))
	if exists(l.root.dir, HoldName) {
		l.take(newDirty(time.Now()))
		l.held.early = true
		if l.lookForHold() {
			l.overdue()
		}
	}
	return nil
}

// watch makes the watcher.
func (l *loop) watch() error {
	w, err := l.cfg.newWatcher()
	if err != nil {
		return err
	}
	last := l.root
	l.w, l.root = w, newRoot(l.path, w)
	l.root.watchBelow(ListsName)
	l.ahead, l.failed, l.redo = nil, nil, nil
	if last != nil {
		l.root.at = last.at
	}
	if !l.store.adopt(w) {
		return ErrStopped
	}
	return nil
}

// end gives back what the loop has open.
func (l *loop) end() {
	if l.root != nil {
		l.root.leave()
	}
	if l.w != nil {
		_ = l.w.Close() // it is read from no more
	}
}

func (l *loop) run() {
	for {
		l.root.leave()
		l.store.health.work.End()
		batch, err := l.next()
		l.store.health.work.Begin()
		switch {
		case err == nil:
			err = l.handle(batch)
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = nil
		}
		if err == nil {
			err = l.tick(time.Now())
		}
		if err == nil {
			err = l.step(time.Now())
		}
		if err != nil && !l.recover(err) {
			return
		}
	}
}

// next returns what is to be handled next.
func (l *loop) next() (inotify.Batch, error) {
	if err := l.failed; err != nil {
		return inotify.Batch{}, err
	}
	if ahead := l.ahead; ahead != nil {
		l.ahead = nil
		return *ahead, nil
	}
	return l.w.Read(l.nextDue())
}

// queued returns what is queued now, in the order in which it happened.
func (l *loop) queued() (inotify.Batch, error) {
	if l.failed != nil || l.ahead != nil {
		return l.next()
	}
	return l.w.TryRead()
}

// Delays between attempts to watch again after an error.
const (
	recoverFirst = 100 * time.Millisecond
	recoverMost  = 10 * time.Second
)

// recover watches anew after an error, until it succeeds; false if the store
// was stopped meanwhile. A store that has stopped watching must not look well.
func (l *loop) recover(err error) bool {
	l.root.leave()
	l.store.health.work.End()
	for delay := recoverFirst; ; delay = min(2*delay, recoverMost) {
		select {
		case <-l.store.stop:
			return false
		default:
		}
		l.lost("rules directory is not watched: "+err.Error(), "edits take effect when it is watched again")
		select {
		case <-l.store.stop:
			return false
		case <-time.After(delay):
		}
		l.end()
		if err = l.watch(); err == nil {
			err = l.rescan(newDirty(time.Now()))
		}
		if err == nil {
			return true
		}
		if errors.Is(err, errGone) {
			// The way to it is watched, so that it is noticed when it is back.
			return true
		}
	}
}

// lost says that the directory can't be watched, and announces it once.
func (l *loop) lost(message, hint string) {
	problem := rules.Problem{Pos: rules.Position{File: l.cfg.Dir}, Message: message, Hint: hint}
	clear(l.vanished)
	clear(l.busy)
	if l.held != nil {
		l.lookForHold()
		l.held.again = time.Time{} // what it waits for, it waits for when the directory is back
	}
	first := !l.gone
	l.gone = true
	if first {
		l.log.Warn("rules directory lost, its rules stay live", "dir", l.cfg.Dir, "reason", message)
	}
	l.store.lose(rules.Change{Kind: rules.Rejected, Problems: rules.Problems{problem}, Seen: time.Now()}, first)
}

// handle takes in what one read returned.
func (l *loop) handle(batch inotify.Batch) error {
	if halfRename(batch.Events) {
		// The other half is queued already, if it is in a watched directory at all.
		more, err := l.queued()
		if err != nil {
			return err
		}
		batch.Events = append(batch.Events, more.Events...)
		batch.Rescan |= more.Rescan
	}
	work := newDirty(batch.At)
	if l.redo != nil {
		work, l.redo = l.redo, nil
	}
	rearm, held := batch.Rescan&inotify.Overflow != 0 || !l.root.enter(), false
	for _, e := range batch.Events {
		rearm = rearm || l.root.concerns(e)
		name, ok := l.root.nameOf(e)
		if !ok {
			continue
		}
		held = held || name == HoldName
		if e.Mask&unix.IN_ATTRIB != 0 {
			l.permitted(work, name)
			continue
		}
		if Accepts(e.Name) {
			rearm = rearm || l.gone // it was there, and is not empty any more
			work.event(name, e)
		}
		for _, file := range l.leading[name] {
			work.hint(file).written, work.switched = true, true
		}
	}
	work.pair(batch.Events, l.root.isDir)
	if held {
		l.take(newDirty(batch.At))
	}
	if rearm {
		if batch.Rescan != 0 {
			l.log.Info("reading rules directory anew", "dir", l.cfg.Dir, "reason", batch.Rescan.String())
		}
		return l.renew(work)
	}
	l.refresh(work)
	return nil
}

// permitted takes in that the attributes of a file are other ones, or with "" or ListsName and a
// slash of the directory. They matter only to what could not be read.
func (l *loop) permitted(work *dirty, name string) {
	for file, src := range l.store.set.sources {
		if src.bad != nil && (name == file || name == file[:strings.LastIndexByte(file, '/')+1] || slices.Contains(l.leading[name], file)) {
			work.hint(file).written = true
		}
	}
}

// renew is rescan for whom it is no error that there is no directory: the way to
// it is watched.
func (l *loop) renew(work *dirty) error {
	if err := l.rescan(work); !errors.Is(err, errGone) {
		return err
	}
	return nil
}

// rescan finds the directory anew and looks at all its files, and at those it
// had. It returns an error that wraps errGone if there is no directory.
func (l *loop) rescan(work *dirty) error {
	mount, known := l.root.at.mount, len(l.store.set.sources) > 0
	if err := l.root.arm(); err != nil {
		if errors.Is(err, errGone) {
			l.lost(errGone.Error(), "its rules stay live; it is read again when it is back")
		}
		return err
	}
	names, err := entries(l.root.dir)
	if err != nil {
		return err
	}
	if known && len(names) == 0 && (l.root.at.mount != mount || l.gone && l.bare) {
		// To unmount the rules, or to mount over them, is not to delete them.
		l.bare = true
		l.lost("rules directory is empty since something was mounted or unmounted", "its rules stay live until there are files in it")
		return nil
	}
	l.bare = false
	for _, name := range names {
		work.hint(name).written = true
	}
	for _, name := range slices.Sorted(maps.Keys(l.store.set.sources)) {
		work.hint(name).removed = true
	}
	work.switched = l.ready
	grace := l.cfg.DeleteGrace
	if l.gone {
		l.gone = false
		l.log.Info("rules directory is back", "dir", l.cfg.Dir)
		l.store.lose(rules.Change{}, false)
		grace *= returnGraceFactor
	}
	if l.ready && exists(l.root.dir, HoldName) {
		l.take(newDirty(work.seen))
	}
	l.refreshWithin(work, grace)
	return nil
}

// tick looks again at the files that are due.
func (l *loop) tick(now time.Time) error {
	if due := l.soonest(); due.IsZero() || now.Before(due) {
		return nil
	}
	if !l.root.enter() {
		return l.renew(newDirty(now))
	}
	if h := l.held; h != nil {
		if !h.due.IsZero() && !now.Before(h.due) {
			l.overdue()
		}
		if !h.again.IsZero() && !now.Before(h.again) {
			l.attempt(l.cfg.DeleteGrace)
		}
		return nil
	}
	var drops []update
	for _, name := range slices.Sorted(maps.Keys(l.vanished)) {
		if v := l.vanished[name]; !now.Before(v.due) {
			delete(l.vanished, name)
			if exists(l.root.dir, name) {
				// It is back, and the event that says so is still queued.
				l.refresh(&dirty{order: []string{name}, hints: map[string]*hint{name: {}}, seen: now})
				continue
			}
			drops = append(drops, update{kind: drop, name: name, seen: v.seen})
			l.leads(name, nil)
		}
	}
	if len(drops) > 0 {
		l.apply(drops, rules.ChangeSet{})
	}
	for _, name := range slices.Sorted(maps.Keys(l.busy)) {
		if b := l.busy[name]; !now.Before(b.due) {
			work := newDirty(b.seen)
			*work.hint(name) = b.hint
			l.refresh(work)
		}
	}
	return nil
}

// nextDue is when tick or step have something to do; zero if never.
func (l *loop) nextDue() time.Time {
	next := l.soonest()
	if l.patrol != nil && (next.IsZero() || l.patrol.due.Before(next)) {
		next = l.patrol.due
	}
	return next
}

// soonest is when tick has something to do; zero if never.
func (l *loop) soonest() time.Time {
	var next time.Time
	earlier := func(due time.Time) {
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	if h := l.held; h != nil {
		for _, due := range []time.Time{h.due, h.again} {
			if !due.IsZero() {
				earlier(due)
			}
		}
		return next
	}
	for _, v := range l.vanished {
		earlier(v.due)
	}
	for _, b := range l.busy {
		earlier(b.due)
	}
	return next
}

// file returns the path of a file as messages show it.
func (l *loop) file(name string) string { return filepath.Join(l.cfg.Dir, name) }

func (l *loop) unreadable(name string, r reading) update {
	path := l.file(name)
	return update{kind: refuse, name: name, path: path, problem: r.problem(path)}
}
