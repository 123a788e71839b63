package outbox

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// examine reads a segment, calls f for each record that counts, and says what is wrong. The record may be kept.
func (v *view) examine(s *segment, f func(*Record)) SegmentReport {
	e := examiner{SegmentReport: SegmentReport{File: s.name, Tier: s.tier.String(), Bytes: s.size, Merged: s.merged}, s: s, next: s.first, data: s.load()}
	if s.guessed {
		e.problem(Problem{Bytes: segmentHead, Message: "its header is damaged; its name and its records tell what it holds", Damage: true})
	}
	scan(e.data, s.tier, func(r Record, at int) bool {
		e.found(&r, at)
		if (s.next == 0 || r.index < s.next) && r.Seq <= v.upTo {
			e.Records++
			e.Count += r.Count
			e.FirstSeq, e.LastSeq = cmp.Or(e.FirstSeq, r.Seq), r.Seq
			f(&r)
		}
		return true
	})
	e.finish()
	return e.SegmentReport
}

// examiner goes through a segment.
type examiner struct {
	SegmentReport
	s    *segment
	data []byte
	end  int    // behind the last good record
	next uint64 // index that comes next, unless records have been put together
	seq  uint64 // of the last record
	all  uint64 // good records
}

func (e *examiner) problem(p Problem) {
	p.File = e.File
	e.Problems = append(e.Problems, p)
}

// found takes in the next good record.
func (e *examiner) found(r *Record, at int) {
	missing := uint64(0)
	if !e.s.merged && r.index > e.next {
		missing = r.index - e.next
	}
	e.skipped(at, missing)
	if r.Seq <= e.seq || e.all > 0 && r.index < e.next {
		e.problem(Problem{
			Offset: segmentHead + int64(at), Bytes: int64(r.size()), Seq: r.Seq, Damage: true,
			Message: fmt.Sprintf("its sequence does not come after %d", e.seq),
		})
	}
	e.end, e.next, e.seq = at+r.size(), r.index+1, r.Seq
	e.all++
}

// skipped tells of what lies between the last good record and an offset, where so many are missing, by their indexes.
func (e *examiner) skipped(to int, missing uint64) {
	if e.end == to && missing == 0 {
		return
	}
	p := Problem{Offset: segmentHead + int64(e.end), Bytes: int64(to - e.end), Damage: true}
	if h, ok := parseHead(e.data[e.end:to], e.s.tier); ok {
		p.Seq = h.Seq
	}
	switch {
	case e.end == to:
		p.Message = records(missing) + " missing"
	case missing == 0: // how many is known at the end, if at all
		p.Message = "damaged"
	default:
		p.Message = records(missing) + " damaged"
	}
	e.problem(p)
}

// finish tells of what is behind the last good record, and of what is not.
func (e *examiner) finish() {
	rest := make([]byte, max(e.s.size-segmentHead-int64(e.end), 0))
	n, _ := e.s.read(rest, segmentHead+int64(e.end))
	rest = rest[:n]
	torn := len(bytes.TrimRight(rest, "\x00"))
	e.data = append(e.data[:e.end], rest...)
	behind := min(e.end+aligned(torn), len(e.data))
	switch {
	case e.s.merged && e.s.records > e.all:
		if torn > 0 {
			e.skipped(behind, 0)
		}
		e.problem(Problem{Message: fmt.Sprintf("%d of its %d records can't be read", e.s.records-e.all, e.s.records), Damage: true})
	case !e.s.merged && e.s.next > e.next:
		e.skipped(behind, e.s.next-e.next)
	case torn > 0:
		e.problem(Problem{Offset: segmentHead + int64(e.end), Bytes: int64(torn), Message: "an incomplete record: an agent is writing it, or died while it did"})
	}
}

func records(n uint64) string {
	if n == 1 {
		return "1 record is"
	}
	return fmt.Sprintf("%d records are", n)
}

// rest are the files that don't count: those that others have taken the place of, and those that can't be read.
func (v *view) rest() (all []SegmentReport) {
	for _, s := range v.obsolete {
		all = append(all, SegmentReport{File: s.name, Tier: s.tier.String(), Bytes: s.size, Merged: s.merged, Obsolete: true})
	}
	for _, name := range slices.Sorted(maps.Keys(v.broken)) {
		tier, _, _, _ := parseSegmentName(name)
		report := SegmentReport{File: name, Tier: tier.String(), Bytes: v.bytes(name)}
		p := Problem{File: name, Message: "it can't be read: " + v.broken[name].Error(), Damage: true}
		if errors.Is(v.broken[name], errEmpty) {
			p.Message, p.Damage = "it holds nothing: an agent was making it when it died, or the machine", false
		}
		report.Problems = []Problem{p}
		all = append(all, report)
	}
	for _, name := range v.left {
		tier, _, _, _ := parseSegmentName(strings.TrimSuffix(name, newSuffix))
		all = append(all, SegmentReport{File: name, Tier: tier.String(), Obsolete: true, Problems: []Problem{{
			File: name, Message: "it is not complete: an agent is making it, or died while it did; it is removed when one starts",
		}}})
	}
	return all
}

// bytes is how large a file is, 0 if it has gone.
func (v *view) bytes(name string) int64 {
	f, err := v.disk.Open(name)
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }() // nothing was written
	size, _ := f.Size()              // which is only to be shown
	return size
}
