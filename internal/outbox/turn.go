package outbox

import (
	"errors"
	"fmt"
)

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
