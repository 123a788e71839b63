// Package outbox is the durable queue between what detects and what delivers. What was appended is there until every
// reader has acknowledged it, whatever dies: a killed agent, a machine without power, a disk that fails or is full. What
// cannot be kept any longer is counted, by rule and cause, in a ledger that outlives everything.
//
// It knows nothing of events: a record is a document with a few words about it. See docs/outbox.md for the files.
package outbox

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of Config.Quota in bytes.
const (
	LeastQuota   = 4 << 20
	DefaultQuota = 256 << 20
)

// DefaultSyncWithin is how long a record may be in the page cache only.
const DefaultSyncWithin = 10 * time.Millisecond

// Sizes of segments in bytes.
const (
	leastSegment = 128 << 10
	mostSegment  = 4 << 20
)

// Config says how an outbox is to be.
type Config struct {
	Dir        string // is made if need be; "" is to keep records in memory, which is lost with the agent
	Quota      int64  // bytes that it may take; 0 is DefaultQuota
	Memory     int64  // bytes that it may take while the disk fails; 0 is a sixteenth of Quota
	SyncWithin time.Duration
	Readers    []ReaderConfig // all that are to read
	Log        *slog.Logger

	disk  disk // in the place of Dir
	still bool // nothing goes on by itself: who tests syncs and mends by hand
}

// ReaderConfig names a reader. Its place is kept by its name. One that is new begins behind what is there.
type ReaderConfig struct {
	Name  string // at most 64 bytes
	Kinds Kinds  // what it wants; the others pass it by
}

// Validate reports what is wrong with the configuration.
func (c Config) Validate() error {
	if c.Quota != 0 && c.Quota < LeastQuota {
		return fmt.Errorf("configuring the outbox: a quota of %d bytes, at least %d are needed", c.Quota, LeastQuota)
	}
	if c.Log == nil {
		return errors.New("configuring the outbox: no logger given")
	}
	if len(c.Readers) > cursorPlaces {
		return fmt.Errorf("configuring the outbox: %d readers, at most %d are possible", len(c.Readers), cursorPlaces)
	}
	seen := make(map[string]bool)
	for _, r := range c.Readers {
		if r.Name == "" || len(r.Name) > maxReaderName || seen[r.Name] {
			return fmt.Errorf("configuring the outbox: readers need names of their own, of 1 to %d bytes, and one is called %q", maxReaderName, r.Name)
		}
		seen[r.Name] = true
	}
	return nil
}

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

// turn ends the segment of a tier that is appended to, if there is one, and begins the next, which has room for a record.
func (l *Log) turn(tier Tier, r *Record) *segment {
	if s := l.active[tier]; s != nil {
		l.seal(s)
	}
	l.active[tier] = l.begin(tier, l.nextIndex[tier].Load(), r.Seq, r.size(), nil, false)
	return l.active[tier]
}

// seal ends a segment that is appended to. That its header says so lets damage at its end be counted, and no more.
func (l *Log) seal(s *segment) {
	s.sealed = true
	l.active[s.tier] = nil
	if s.file != nil && writeAll(s.file, s.appendHead(nil), 0) == nil {
		l.syncer.add(s)
	}
}

// begin makes a segment that begins with the records in content and has room for more bytes. It is in memory if it is to be, or if
// the disk does not let it.
func (l *Log) begin(tier Tier, first, firstSeq uint64, more int, content []byte, inMemory bool) *segment {
	s := newSegment(tier, l.nextMade, first, firstSeq)
	l.nextMade++
	need := int64(segmentHead + len(content) + more)
	if l.disk != nil && !inMemory {
		s.size = max(l.segment, need)
		l.makeRoom(s.size, tier)
		if err := l.create(s, content); err != nil {
			l.diskFailed(fmt.Errorf("making segment %s: %w", s.name, err))
		}
	}
	if s.file == nil {
		s.size = max(leastSegment, need)
		l.makeMemory(s.size, tier)
		s.mem = make([]byte, s.size)
		copy(s.mem, append(s.appendHead(nil), content...))
	}
	s.end.Store(int64(segmentHead + len(content)))
	l.shelf.add(s)
	return s
}

// create makes the file of a segment. It has its name once it has its content, since it may take the place of another one.
func (l *Log) create(s *segment, content []byte) error {
	f, err := l.prepare(s, append(s.appendHead(nil), content...), s.size)
	if err != nil {
		return err
	}
	if err := l.disk.Rename(s.name+newSuffix, s.name); err != nil {
		return errors.Join(err, f.Close(), l.disk.Remove(s.name+newSuffix))
	}
	s.file, s.fresh, s.unsynced = f, true, append([]byte(nil), content...)
	l.syncer.add(s)
	return nil
}

// prepare writes what is to be the file of a segment. Records may have been told to be on the disk, and are again.
func (l *Log) prepare(s *segment, data []byte, size int64) (file, error) {
	return prepare(l.disk, s.name, size, func(f file) error {
		if err := writeAll(f, data, 0); err != nil || len(data) == segmentHead {
			return err
		}
		return f.Sync()
	})
}

// abandon gives up a file of which it is not known what is on the disk. What may not be, and more, goes to another one, or into
// memory, which is returned; if the one was appended to, then the other one will be. The caller counts what is more.
func (l *Log) abandon(s *segment, more []byte, inMemory bool) *segment {
	content := append(append([]byte(nil), s.unsynced...), more...)
	l.syncer.remove(s)
	h, ok := parseHead(content, s.tier)
	if !ok { // there is nothing to save
		return s
	}
	next, lastSeq, appended := s.next, s.lastSeq, l.active[s.tier] == s
	l.shelf.cut(s, h.index, h.Seq)
	fresh := l.begin(s.tier, h.index, h.Seq, 0, content, inMemory)
	fresh.next, fresh.lastSeq = next, lastSeq
	if appended {
		l.active[s.tier] = fresh
	} else {
		fresh.sealed = true
	}
	if h.index == s.first { // nothing of it counts
		l.shelf.take(s, func() bool { return true })
		fresh.replaces = append(s.replaces, s.id)
		if fresh.instead = s; fresh.file != nil {
			l.settled(fresh)
		}
	}
	return fresh
}

// settled removes the file that a segment took the place of, now that it has one of its own.
func (l *Log) settled(s *segment) {
	if s.instead != nil {
		l.discard(s.instead)
		s.instead = nil
	}
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
