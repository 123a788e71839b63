package outbox

import "time"

// Stats is how an outbox is.
type Stats struct {
	Tiers      [tiers]TierStats
	Readers    []ReaderStats
	Quota      int64  // bytes
	Appended   uint64 // records, since it was opened
	DiskErrors uint64 // since it was opened
}

// TierStats is how a tier is. What all readers have counts until it is removed, a segment at a time.
type TierStats struct {
	Segments int
	Records  uint64 // of those that were put together, each counts as one
	Bytes    int64  // on the disk
	Memory   int64  // bytes in memory, since the disk has failed
}

// ReaderStats is how a reader is.
type ReaderStats struct {
	Name    string
	Pending uint64    // records that it has not gone past
	Oldest  time.Time // when the oldest record happened that it has been given and not acknowledged; zero: there is none
}

// Stats looks at all. It waits for a record that is being appended.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := Stats{Quota: l.cfg.Quota, Appended: l.appended.Load(), DiskErrors: l.diskErrors.Load()}
	for tier, segments := range l.shelf.tiers {
		of := &all.Tiers[tier]
		of.Segments = len(segments)
		for _, s := range segments {
			if s.merged {
				of.Records += s.records
			} else {
				of.Records += s.next - s.first
			}
			if s.file == nil {
				of.Memory += s.size
			} else {
				of.Bytes += s.size
			}
		}
	}
	for _, r := range l.readers {
		reader := ReaderStats{Name: r.name, Pending: r.Lag()}
		if nanos := r.oldestInHand(); nanos != 0 {
			reader.Oldest = time.Unix(0, nanos).UTC()
		}
		all.Readers = append(all.Readers, reader)
	}
	return all
}
