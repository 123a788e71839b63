// Package outbox is the durable queue between what detects and what delivers. What was appended is there until every
// reader has acknowledged it, whatever dies: a killed agent, a machine without power, a disk that fails or is full. What
// cannot be kept any longer is counted, by rule and cause, in a ledger that outlives everything.
//
// It knows nothing of events: a record is a document with a few words about it. See docs/outbox.md for the files.
package outbox

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
)

// Log is an open outbox. Its methods are safe for use by several goroutines.
type Log struct {
	cfg     Config
	log     *slog.Logger
	disk    disk // nil: there is none
	lock    io.Closer
	segment int64 // bytes of a segment
	shelf   *shelf
	ledger  *ledger
	cursors *cursors
	readers []*Reader
	recent  map[recentKey]bool
	unread  bool // there are segments that could not be opened

	syncer  *syncer
	written atomic.Uint64 // sequence of the last record that may be read
	quit    chan struct{}
	working sync.WaitGroup

	mu        sync.Mutex // guards what follows: it is the writer
	closed    bool
	nextSeq   uint64
	nextMade  uint32
	nextIndex [tiers]atomic.Uint64
	active    [tiers]*segment // appended to; nil: none yet
	failed    error           // what the disk failed with last; nil: it works
	buf       []byte

	trouble              atomic.Pointer[error] // the same, to ask without waiting
	appended, diskErrors atomic.Uint64
}

// ErrClosed says that the outbox has been closed.
var ErrClosed = fmt.Errorf("the outbox is closed: %w", os.ErrClosed)

// Append takes records in. When it returns they outlive the death of this process, and within Config.SyncWithin that
// of the machine, unless Health says otherwise. Records that were appended by one call lie side by side. An error says that a record is no
// record, or that the outbox was closed; then none was taken.
func (l *Log) Append(records ...Record) error {
	for i := range records {
		if err := records[i].check(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keepUp()
	if l.closed {
		return ErrClosed
	}
	var byTier [tiers][]*Record
	for i := range records {
		r := &records[i]
		r.Seq = l.nextSeq
		l.nextSeq++
		if r.Count == 0 {
			r.Count, r.Last = 1, r.Time
		}
		byTier[r.Tier] = append(byTier[r.Tier], r)
	}
	for tier, some := range byTier {
		for len(some) > 0 {
			some = some[l.put(Tier(tier), some):]
		}
	}
	l.appended.Add(uint64(len(records)))
	l.written.Store(l.nextSeq - 1)
	for _, r := range l.readers {
		r.notify()
	}
	return nil
}

// put appends as many records as one segment takes, and returns how many.
func (l *Log) put(tier Tier, some []*Record) (n int) {
	s := l.active[tier]
	if s == nil || s.end.Load()+int64(some[0].size()) > s.size {
		s = l.turn(tier, some[0])
	}
	l.buf = l.buf[:0]
	for _, r := range some {
		if s.end.Load()+int64(len(l.buf)+r.size()) > s.size {
			break
		}
		r.index = s.next + uint64(n)
		l.buf = appendRecord(l.buf, r)
		n++
	}
	if err := s.write(l.buf); err != nil {
		l.diskFailed(fmt.Errorf("writing to segment %s: %w", s.name, err))
		s = l.abandon(s, l.buf, false)
	}
	if s.file != nil {
		l.syncer.add(s)
	}
	s.next += uint64(n)
	s.lastSeq = some[n-1].Seq
	l.nextIndex[tier].Store(s.next)
	return n
}

// diskFailed notes that the disk does not do what it should.
func (l *Log) diskFailed(err error) {
	if l.failed == nil {
		l.log.Error("the disk has failed, records are in memory only until it works", "error", err)
	}
	l.failed = err
	l.trouble.Store(&err)
	l.diskErrors.Add(1)
}

// Has reports whether a record with this id is among the last ones that were there when the outbox was opened. Of the id all but
// the time counts, see event.IDKey.
func (l *Log) Has(id ID) bool { return l.recent[keyOf(id)] }

// recentKey is what makes an id the same if it is told again.
type recentKey [10]byte

func keyOf(id ID) recentKey { return recentKey(id[6:]) }

// Reader returns a reader that was configured; nil if there is none of the name.
func (l *Log) Reader(name string) *Reader {
	for _, r := range l.readers {
		if r.name == name {
			return r
		}
	}
	return nil
}
