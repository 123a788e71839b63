package outbox

import (
	"errors"
	"fmt"
	"slices"
)

// mergesAtOnce bounds how many segments are looked at for records to put together when a new one is begun, which
// takes some 10 ms each.
const mergesAtOnce = 4

// makeRoom sees to it that so many bytes more, for records of a tier, are within the quota. What all readers have is
// removed first; then repeats are put together; then the oldest records of the last tier go, of those that don't matter more
// than what is to come. If there are none of these the quota is exceeded, by a segment of each tier at most.
func (l *Log) makeRoom(size int64, tier Tier) {
	used := func() int64 {
		disk, _ := l.shelf.bytes()
		return disk + size
	}
	if used() > l.cfg.Quota/2 {
		l.reclaim()
	}
	// Before it is too late, so that there is something left to put together.
	for range mergesAtOnce {
		if used() <= l.cfg.Quota/4*3 || !l.mergeOne() {
			break
		}
	}
	for used() > l.cfg.Quota {
		if !l.mergeOne() && !l.evictOne(tier, false) {
			return
		}
	}
}

// makeMemory is makeRoom for records that the disk does not take.
func (l *Log) makeMemory(size int64, tier Tier) {
	l.reclaim()
	for {
		_, memory := l.shelf.bytes()
		if memory+size <= l.cfg.Memory || !l.evictOne(tier, true) {
			return
		}
	}
}

// reclaim removes the segments that all readers have acknowledged.
func (l *Log) reclaim() {
	acked := l.acked()
	for _, tier := range Tiers() {
		for _, s := range l.shelf.all(tier) {
			if s.sealed && s.lastSeq <= acked {
				l.drop(s)
			}
		}
	}
}

// acked is the sequence up to which all readers have acknowledged.
func (l *Log) acked() uint64 { return slices.Min(append(l.ackedBy(), l.written.Load())) }

// ackedBy are the sequences up to which each reader has.
func (l *Log) ackedBy() []uint64 {
	var all []uint64
	for _, r := range l.readers {
		all = append(all, r.acked.Load())
	}
	return all
}

// progress is what each reader has.
func (l *Log) progress() []progress {
	var all []progress
	for _, r := range l.readers {
		all = append(all, r.progress())
	}
	return all
}

// drop removes a segment. A file that can't be removed is told of; when the outbox is opened again it is tried again.
func (l *Log) drop(s *segment) {
	if s.gone.Load() {
		return
	}
	l.shelf.take(s, func() bool { return true })
	l.discard(s)
}

// discard closes a segment that nobody has any more, and removes its file.
func (l *Log) discard(s *segment) {
	l.settled(s)
	l.syncer.remove(s)
	if l.active[s.tier] == s {
		l.active[s.tier] = nil
	}
	onDisk := s.file != nil
	err := s.close()
	if onDisk {
		if removing := l.disk.Remove(s.name); removing != nil {
			err = removing
		}
	}
	if err != nil {
		l.log.Error("a segment can't be removed", "segment", s.name, "error", err)
	}
}

// evictOne gives up a segment of which all readers have everything, if only ahead of what they lack before it; else the oldest segment of the
// last tier that is not before the given one. It returns false if there is none.
func (l *Log) evictOne(from Tier, inMemory bool) bool {
	for _, tier := range slices.Backward(Tiers()) {
		for _, s := range l.shelf.all(tier) {
			if s.sealed && !l.lacked(s) && l.tryEvict(s, inMemory) {
				return true
			}
		}
	}
	for _, tier := range slices.Backward(Tiers()) {
		if tier < from {
			return false
		}
		for _, s := range l.shelf.all(tier) {
			if l.tryEvict(s, inMemory) {
				return true
			}
		}
	}
	return false
}

// lacked reports whether a reader may lack a record of a segment.
func (l *Log) lacked(s *segment) bool {
	return slices.ContainsFunc(l.progress(), func(p progress) bool {
		return s.lastSeq > p.acked && !hasAll(p.ahead, max(s.firstSeq, p.acked+1), s.lastSeq+1)
	})
}

// tryEvict gives up a segment, unless it is appended to, or a reader has records of it in hand.
func (l *Log) tryEvict(s *segment, inMemory bool) bool {
	if !s.sealed || (s.file == nil) != inMemory {
		return false
	}
	var have []progress
	done := l.shelf.take(s, func() bool {
		if l.inHand(s) {
			return false
		}
		have = l.progress() // now: once the segment is gone readers go past it
		return true
	})
	if done {
		l.evict(s, have)
	}
	return done
}

// evict gives up a segment that no reader looks at any more, and counts what each one loses by that, given what it has. That comes before it is
// removed: should we die in between, then it is removed, and not counted again, when the outbox is opened.
func (l *Log) evict(s *segment, have []progress) {
	cause := Full
	if s.file == nil {
		cause = NoDisk
	}
	var lost losses
	good := 0
	scan(s.load(), s.tier, func(r Record, _ int) bool {
		if r.index >= s.next {
			return false
		}
		good++
		for i, reader := range l.readers {
			if !have[i].has(r.Seq) && reader.kinds.Has(r.Kind) {
				lost.add(Loss{Sink: reader.name, Rule: r.Rule, Cause: cause, Count: r.Count, First: r.Time, Last: r.Last})
			}
		}
		return true
	})
	l.missing(s, good)
	l.endBefore(s)
	if err := l.ledger.evicted(append(s.replaces, s.id), lost); err != nil {
		l.diskFailed(fmt.Errorf("writing the ledger: %w", err))
	}
	if n := lost.sum(); n > 0 {
		l.log.Warn("no room, records are given up", "tier", s.tier.String(), "bytes", s.size, "records", n, "cause", string(cause))
	}
	l.discard(s)
}

// endBefore has the segment before one that is given up say where it ends, if it was abandoned: behind that its file may hold the same
// records.
func (l *Log) endBefore(s *segment) {
	for _, before := range l.shelf.all(s.tier) {
		if !before.abandoned || before.next != s.first {
			continue
		}
		if err := errors.Join(writeAll(before.file, before.appendHead(nil), 0), before.file.Sync()); err != nil {
			l.log.Error("an abandoned segment may be read to its end when the outbox is opened again", "segment", before.name, "error", err)
		}
	}
}

// inHand reports whether a reader has been given records of a segment and not acknowledged them. They stay as they are: it may be
// about to deliver them.
func (l *Log) inHand(s *segment) bool {
	for _, r := range l.readers {
		for _, lane := range []*lane{&r.lane, &r.ahead} {
			acked, read := lane.acked.Load(), lane.read.Load()
			if acked < read && s.firstSeq <= read && s.lastSeq > acked {
				return true
			}
		}
	}
	return false
}
