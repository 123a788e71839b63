package outbox

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// syncer knows which segments hold records that may not be on the disk yet. The log's mu guards it, but for one.
type syncer struct {
	one     sync.Mutex // held by whoever is about to put records on the disk
	pending []*segment
	dirty   chan struct{} // has an element while there are any
}

// mostSealed is how many segments that are full may wait to be on the disk. Each keeps its records in memory until then.
const mostSealed = 2

func newSyncer() *syncer { return &syncer{dirty: make(chan struct{}, 1)} }

func (y *syncer) add(s *segment) {
	if !slices.Contains(y.pending, s) {
		y.pending = append(y.pending, s)
	}
	select {
	case y.dirty <- struct{}{}:
	default:
	}
}

func (y *syncer) remove(s *segment) {
	y.pending = slices.DeleteFunc(y.pending, func(p *segment) bool { return p == s })
}

// behind reports whether too many segments are to be on the disk: it does not keep up.
func (y *syncer) behind() bool {
	sealed := 0
	for _, s := range y.pending {
		if s.sealed {
			sealed++
		}
	}
	return sealed > mostSealed
}

// keepUp has whoever appends wait for a disk that does not keep up. It lets go of mu meanwhile.
func (l *Log) keepUp() {
	for l.syncer.behind() {
		l.mu.Unlock()
		l.Sync()
		l.mu.Lock()
	}
}

// syncing puts on the disk what was appended, each within the time that is configured, until the log is closed.
func (l *Log) syncing() {
	within := l.cfg.SyncWithin
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		select {
		case <-l.quit:
			return
		case <-l.syncer.dirty:
		}
		timer.Reset(within) // more may come, to be synced at the same time
		select {
		case <-l.quit:
			return
		case <-timer.C:
		}
		l.Sync()
	}
}

// Sync has what was appended until now outlive a power failure, and returns when it does, or when the disk has failed, see Health.
func (l *Log) Sync() {
	l.syncer.one.Lock()
	defer l.syncer.one.Unlock()
	type work struct {
		s    *segment
		upTo int64
		err  error
	}
	l.mu.Lock()
	var all []work
	fresh := false
	for _, s := range l.syncer.pending {
		all = append(all, work{s: s, upTo: s.end.Load()})
		fresh = fresh || s.fresh
	}
	l.mu.Unlock()
	// Not under mu: appending goes on.
	for i := range all {
		all[i].err = all[i].s.file.Sync()
	}
	var dirErr error
	if fresh {
		dirErr = l.disk.Sync()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range all {
		if w.s.gone.Load() || !slices.Contains(l.syncer.pending, w.s) {
			continue // abandoned or dropped meanwhile
		}
		err := w.err
		if err == nil && w.s.fresh {
			err = dirErr
		}
		if err != nil {
			l.diskFailed(fmt.Errorf("syncing segment %s: %w", w.s.name, err))
			l.abandon(w.s, nil, true) // another file may fail likewise
			continue
		}
		l.synced(w.s, w.upTo)
	}
}

// mostKept is how many bytes stay allocated for records that are to be synced, of each segment that is appended to.
const mostKept = 1 << 20

// synced notes that a segment is on the disk up to an offset.
func (l *Log) synced(s *segment, upTo int64) {
	s.fresh = false
	left := int(s.end.Load() - upTo)
	s.unsynced = append(s.unsynced[:0], s.unsynced[len(s.unsynced)-left:]...)
	if left > 0 {
		return
	}
	if cap(s.unsynced) > mostKept {
		s.unsynced = nil
	}
	l.syncer.remove(s)
	if s.sealed && s.file.Truncate(s.end.Load()) == nil { // gives back what it does not need
		s.size = s.end.Load()
	}
}
