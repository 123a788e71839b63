package outbox

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Open opens an outbox, and makes one if there is none. That the disk is full, read-only or damaged is no error: what can be
// read is there, and what can't be written is kept in memory, which Health tells. An *InUseError says that another agent has it.
func Open(cfg Config) (_ *Log, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Quota == 0 {
		cfg.Quota = DefaultQuota
	}
	if cfg.Memory == 0 {
		cfg.Memory = cfg.Quota / 16
	}
	if cfg.SyncWithin == 0 {
		cfg.SyncWithin = DefaultSyncWithin
	}
	l := &Log{
		cfg: cfg, log: cfg.Log, disk: cfg.disk, shelf: new(shelf), quit: make(chan struct{}),
		segment: min(max(cfg.Quota/64, leastSegment), mostSegment),
		nextSeq: 1, nextMade: 1, recent: make(map[recentKey]bool),
	}
	l.syncer = newSyncer()
	if cfg.Dir != "" {
		if l.lock, err = take(cfg.Dir); err != nil {
			var inUse *InUseError
			if errors.As(err, &inUse) {
				return nil, err
			}
			l.diskFailed(fmt.Errorf("opening the outbox: %w", err))
		} else {
			l.disk = directory{cfg.Dir}
		}
	}
	if err := l.load(); err != nil {
		l.diskFailed(fmt.Errorf("opening the outbox: %w", err))
	}
	l.written.Store(l.nextSeq - 1)
	if !cfg.still {
		l.working.Go(l.syncing)
		l.working.Go(l.mending)
	}
	return l, nil
}

// load takes in what is on the disk. Errors are told; what can be had is.
func (l *Log) load() error {
	ledger, ledgerErr := openLedger(l.disk)
	cursors, known, cursorsErr := openCursors(l.disk)
	l.ledger, l.cursors = ledger, cursors
	err := errors.Join(ledgerErr, cursorsErr)
	found, segmentsErr := l.openSegments()
	err = errors.Join(err, segmentsErr)
	for tier := range l.nextIndex {
		l.nextIndex[tier].Store(1)
		live, obsolete := arrange(found[tier])
		for _, s := range obsolete {
			l.discard(s)
		}
		l.shelf.tiers[tier] = live
		if len(live) > 0 {
			l.resume(live[len(live)-1])
			l.remember(live)
		}
	}
	// Segments that were removed may come back after a power failure, and then must be known.
	if err = errors.Join(err, l.settle()); err == nil && !l.unread {
		l.forget()
	}
	if l.unread || segmentsErr != nil {
		l.jump()
	}
	for _, c := range l.cursors.places {
		l.nextSeq = max(l.nextSeq, c.acked+1) // what it has may not have been on the disk
	}
	return errors.Join(err, l.openReaders(known))
}

// jump numbers what comes higher than anything that there may be and could not be read, since it may be another time.
func (l *Log) jump() {
	far := uint64(max(time.Now().UnixMicro(), 1))
	l.nextSeq = max(l.nextSeq, far)
	for tier := range l.nextIndex {
		l.nextIndex[tier].Store(max(l.nextIndex[tier].Load(), far))
		if s := l.active[tier]; s != nil {
			s.sealed = true
			l.active[tier] = nil
		}
	}
}

// settle has all that is there outlive a power failure: who wrote it may have died before.
func (l *Log) settle() error {
	if l.disk == nil {
		return nil
	}
	var errs []error
	for _, tier := range Tiers() {
		for _, s := range l.shelf.all(tier) {
			if err := s.file.Sync(); err != nil {
				errs = append(errs, fmt.Errorf("syncing segment %s: %w", s.name, err))
				s.sealed = true
				l.active[tier] = nil
			}
		}
	}
	return errors.Join(append(errs, l.disk.Sync())...)
}

// forget drops what the ledger knows of segments that are gone.
func (l *Log) forget() {
	exist := make(map[string]bool)
	for _, tier := range Tiers() {
		for _, s := range l.shelf.all(tier) {
			exist[hex.EncodeToString(s.id[:])] = true
		}
	}
	l.ledger.forget(func(id string) bool { return exist[id] })
}

// openSegments opens all segments, by tier. What was given up is removed, and so is what was never finished.
func (l *Log) openSegments() (found [tiers][]*segment, err error) {
	if l.disk == nil {
		return found, nil
	}
	names, err := l.disk.List()
	if err != nil {
		return found, err
	}
	for _, name := range names {
		if _, _, _, ok := parseSegmentName(name); !ok {
			if _, _, _, unfinished := parseSegmentName(strings.TrimSuffix(name, newSuffix)); unfinished {
				err = errors.Join(err, l.disk.Remove(name))
			}
			continue
		}
		_, _, made, _ := parseSegmentName(name)
		l.nextMade = max(l.nextMade, made+1)
		s, openErr := openSegment(l.disk, name)
		if errors.Is(openErr, errEmpty) {
			err = errors.Join(err, l.disk.Remove(name))
			continue
		}
		if openErr != nil {
			l.unread = true
			l.log.Error("a segment can't be read, it is left alone", "error", openErr)
			continue
		}
		if s.guessed {
			l.log.Error("the header of a segment is damaged, its records tell what they are", "segment", name)
		}
		l.nextMade = max(l.nextMade, s.made+1)
		if l.ledger.wasGiven(s.id) {
			l.discard(s)
			continue
		}
		found[s.tier] = append(found[s.tier], s)
	}
	return found, err
}

// resume finds the end of the last segment of a tier, and goes on with it, unless something is behind its last record: that
// is of an agent that died, or a disk that did not keep it, and stays.
func (l *Log) resume(s *segment) {
	data, all := s.loadAll()
	last, good := s.first-1, 0
	s.lastSeq = s.firstSeq - 1
	end := 0
	scan(data, s.tier, func(r Record, at int) bool {
		if s.sealed && r.index >= s.next {
			return false
		}
		last, s.lastSeq, end = r.index, r.Seq, at+r.size()
		good++
		return true
	})
	if !s.sealed {
		s.next = last + 1
	}
	l.missing(s, good)
	l.nextSeq = max(l.nextSeq, s.lastSeq+1, highest(data, s.tier)+1)
	l.nextIndex[s.tier].Store(s.next)
	s.end.Store(int64(segmentHead + end))
	if s.sealed {
		return
	}
	torn := 0
	for i, b := range data[end:] {
		if b != 0 {
			torn = i + 1
		}
	}
	if torn > 0 {
		l.log.Warn("a record was torn when an agent died, it is cut off", "segment", s.name, "bytes", torn)
	}
	if !all {
		l.unread = true // its end may be behind what is not given
	}
	if torn > 0 || s.guessed || !all {
		s.sealed = true
		return
	}
	l.active[s.tier] = s
}

// recentBytes is how much of the end of each tier is looked at for ids: more than one record of the kernel gives.
const recentBytes = 1 << 20

// remember notes the ids of the last records of a tier.
func (l *Log) remember(all []*segment) {
	left := int64(recentBytes)
	for _, s := range slices.Backward(all) {
		data := s.load()
		data = data[:scan(data, s.tier, func(Record, int) bool { return true })]
		skip := max(int64(len(data))-left, 0)
		scan(data, s.tier, func(r Record, at int) bool {
			if int64(at) >= skip {
				l.recent[keyOf(r.ID)] = true
			}
			return true
		})
		if left -= int64(len(data)); left <= 0 {
			return
		}
	}
}
