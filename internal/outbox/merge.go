package outbox

import (
	"errors"
	"fmt"
	"slices"
)

// mostTries is how often a segment is looked at for records to put together, if readers don't stand still meanwhile.
const mostTries = 3

// mergeOne puts records of the next segment together that differ in little but their time. It returns false if there is none
// that it has not been done with.
func (l *Log) mergeOne() bool {
	for _, tier := range slices.Backward(Tiers()) {
		all := l.shelf.all(tier)
		for i, s := range all {
			if !s.sealed || s.merged || s.tried >= mostTries || s.file == nil || len(s.unsynced) > 0 || l.inHand(s) {
				continue
			}
			some := []*segment{s}
			// Small ones become one, so that there are not ever more of them.
			if i > 0 && all[i-1].merged && all[i-1].size < l.segment/2 && !l.inHand(all[i-1]) {
				some = []*segment{all[i-1], s}
			}
			if err := l.merge(some); err != nil {
				l.log.Error("repeats can't be put together", "segment", s.name, "error", err)
			}
			return true
		}
	}
	return false
}

// merge makes one segment of some that follow each other.
func (l *Log) merge(some []*segment) error {
	first, last := some[0], some[len(some)-1]
	tried := last.tried + 1
	last.tried = mostTries
	var records []Record
	for _, s := range some {
		good := 0
		scan(s.load(), s.tier, func(r Record, _ int) bool {
			if r.index < s.next {
				records = append(records, r)
				good++
			}
			return r.index < s.next
		})
		l.missing(s, good)
	}
	before := l.positions()
	records = together(records, before)
	if len(records) == 0 {
		l.drop(last)
		return nil
	}
	out := newSegment(first.tier, l.nextMade, first.first, records[0].Seq)
	l.nextMade++
	out.merged, out.records, out.sealed = true, uint64(len(records)), true
	out.next, out.lastSeq = last.next, last.lastSeq
	for _, s := range some {
		out.replaces = append(append(out.replaces, s.replaces...), s.id)
	}
	content := out.appendHead(nil)
	for i := range records {
		content = appendRecord(content, &records[i])
	}
	out.size = int64(len(content))
	if out.size > bytesOf(some)/8*7 {
		return nil // it would not be worth it
	}
	out.end.Store(out.size)
	f, err := l.prepare(out, content, out.size)
	if err != nil {
		return err
	}
	out.file = f
	// A reader that has gone on meanwhile has some of a group that is one record now.
	unchanged := func() bool { return !slices.ContainsFunc(some, l.inHand) && slices.Equal(before, l.positions()) } // in this order: it may be acknowledged in between
	done, err := l.shelf.replace(some, out, func() (bool, error) {
		if !unchanged() {
			return false, nil
		}
		return true, l.disk.Rename(out.name+newSuffix, out.name)
	})
	if !done || err != nil {
		last.tried = tried
		return errors.Join(err, out.close(), l.disk.Remove(out.name+newSuffix))
	}
	if err := l.disk.Sync(); err != nil {
		// The old ones stay, to be removed when the outbox is opened: until the new name is on the disk nothing else has the records.
		return errors.Join(fmt.Errorf("syncing the directory: %w", err), closeAll(some))
	}
	for _, s := range some {
		l.discard(s)
	}
	return nil
}

func closeAll(some []*segment) (err error) {
	for _, s := range some {
		err = errors.Join(err, s.close())
	}
	return err
}

// positions are where readers are, also ahead of a backlog: what is put together must lie between two of them, so that each reader has had
// all of it, or nothing.
func (l *Log) positions() []uint64 {
	var all []uint64
	for _, p := range l.progress() {
		all = append(all, p.acked)
		for _, s := range p.ahead {
			all = append(all, s.from, s.to)
		}
	}
	slices.Sort(all)
	return all
}

// together puts records together that have the same group, kind and rule, and lie between the same two positions.
func together(records []Record, positions []uint64) []Record {
	type key struct {
		group   uint64
		kind    Kind
		rule    string
		between int
	}
	seen := make(map[key]int)
	out := records[:0]
	for _, r := range records {
		if r.Group == 0 {
			out = append(out, r)
			continue
		}
		between, _ := slices.BinarySearch(positions, r.Seq) // positions below it
		k := key{r.Group, r.Kind, r.Rule, between}
		if at, ok := seen[k]; ok {
			out[at].Count += r.Count
			if r.Last.After(out[at].Last) {
				out[at].Last = r.Last
			}
			continue
		}
		seen[k] = len(out)
		out = append(out, r)
	}
	return out
}
