package outbox

import (
	"errors"
	"fmt"
	"time"
)

// mendEvery is how often a disk that has failed is tried again.
const mendEvery = time.Second

// mending brings what is in memory to the disk, once that works again, and removes what all readers have.
func (l *Log) mending() {
	ticker := time.NewTicker(mendEvery)
	defer ticker.Stop()
	for {
		select {
		case <-l.quit:
			return
		case <-ticker.C:
		}
		l.mu.Lock()
		l.reclaim()
		l.mend()
		l.mu.Unlock()
	}
}

// mend tries to bring all that is in memory to the disk.
func (l *Log) mend() {
	if l.disk == nil {
		return
	}
	if err := l.cursors.renew(); err != nil {
		l.diskFailed(err)
		return
	}
	if l.failed == nil {
		return
	}
	for _, tier := range Tiers() {
		for _, s := range l.shelf.all(tier) {
			if s.file != nil {
				continue
			}
			if err := l.move(s); err != nil {
				l.diskFailed(err)
				return
			}
		}
	}
	if err := l.ledger.retry(); err != nil {
		l.diskFailed(err)
		return
	}
	l.failed = nil
	l.trouble.Store(nil)
	l.log.Info("the disk works again, all records are on it")
}

// move gives a segment that is in memory a file.
func (l *Log) move(s *segment) error {
	f, err := l.prepare(s, append(s.appendHead(nil), s.mem[segmentHead:s.end.Load()]...), s.size)
	if err != nil {
		return fmt.Errorf("making segment %s: %w", s.name, err)
	}
	if err := errors.Join(l.disk.Rename(s.name+newSuffix, s.name), l.disk.Sync()); err != nil {
		return errors.Join(fmt.Errorf("making segment %s: %w", s.name, err), f.Close())
	}
	l.shelf.mu.Lock()
	s.file, s.mem = f, nil
	l.shelf.mu.Unlock()
	l.settled(s)
	return nil
}
