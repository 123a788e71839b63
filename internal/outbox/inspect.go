package outbox

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Contents is what an outbox holds, as its files say. Records that an agent has in memory, since the disk fails, are not among it.
type Contents struct {
	Dir     string           `json:"directory"`
	Records uint64           `json:"records"`
	Count   uint64           `json:"count"` // of records before they were put together
	Bytes   int64            `json:"bytes"` // on the disk, of segments
	LastSeq uint64           `json:"last_sequence"`
	Oldest  *time.Time       `json:"oldest,omitempty"` // time of a record; nil if there is none
	Newest  *time.Time       `json:"newest,omitempty"`
	Tiers   []TierContents   `json:"tiers"` // all of them, in their order
	Readers []ReaderContents `json:"sinks"` // by name
	Losses  []Loss           `json:"losses"`
	Files   []SegmentReport  `json:"segments"` // by tier, and in order
	// Problems are what is wrong with files: those of segments, and others.
	Problems []Problem `json:"problems"`
}

// TierContents is what an outbox holds of a tier.
type TierContents struct {
	Tier     string     `json:"tier"`
	Segments int        `json:"segments"`
	Records  uint64     `json:"records"`
	Count    uint64     `json:"count"`
	Bytes    int64      `json:"bytes"`
	Oldest   *time.Time `json:"oldest,omitempty"`
	Newest   *time.Time `json:"newest,omitempty"`
}

// ReaderContents is where a reader is, and what it has still to get.
type ReaderContents struct {
	Name    string     `json:"name"`
	Acked   uint64     `json:"acknowledged"` // sequence up to which it has everything
	Kinds   []string   `json:"kinds"`        // that it wants; empty: all
	Records uint64     `json:"records"`
	Count   uint64     `json:"count"`
	Bytes   int64      `json:"bytes"`            // that these records take
	Oldest  *time.Time `json:"oldest,omitempty"` // time of the oldest of these records

	kinds Kinds
}

// SegmentReport is what a segment holds.
type SegmentReport struct {
	File     string    `json:"file"`
	Tier     string    `json:"tier"`
	Bytes    int64     `json:"bytes"`
	Records  uint64    `json:"records"`
	Count    uint64    `json:"count"`
	FirstSeq uint64    `json:"first_sequence,omitempty"`
	LastSeq  uint64    `json:"last_sequence,omitempty"`
	Merged   bool      `json:"merged,omitempty"`   // records of it have been put together
	Obsolete bool      `json:"obsolete,omitempty"` // it does not count any more, and is about to be removed
	Problems []Problem `json:"problems,omitempty"`
}

// Damaged reports whether the disk did not keep something, or has not at some time before.
func (c *Contents) Damaged() bool {
	return slices.ContainsFunc(c.Problems, func(p Problem) bool { return p.Damage }) ||
		slices.ContainsFunc(c.Losses, func(l Loss) bool { return l.Cause == Damaged })
}

// Inspect reads the outbox in a directory, all of it, whether an agent runs or not, and changes nothing. Its error wraps ErrNone if
// there is none.
func Inspect(dir string) (*Contents, error) {
	v, err := look(dir)
	if err != nil {
		return nil, err
	}
	defer v.close()
	c := &Contents{Dir: dir, Readers: v.readers(), Losses: []Loss{}, Files: []SegmentReport{}, Problems: []Problem{}}
	for _, l := range v.book.Losses {
		c.Losses = append(c.Losses, *l)
	}
	for tier, all := range v.tiers {
		t := TierContents{Tier: Tier(tier).String()}
		for i, s := range all {
			report := v.examine(s, func(r *Record) {
				t.Oldest, t.Newest = earlier(t.Oldest, r.Time), later(t.Newest, r.Time)
				c.add(r)
			})
			if i > 0 && all[i-1].next < s.first {
				report.Problems = append(report.Problems, absent(s, all[i-1].next))
			}
			t.Segments++
			t.Records += report.Records
			t.Count += report.Count
			t.Bytes += report.Bytes
			c.LastSeq = max(c.LastSeq, report.LastSeq)
			c.Files = append(c.Files, report)
		}
		c.Records += t.Records
		c.Count += t.Count
		c.Bytes += t.Bytes
		if t.Oldest != nil {
			c.Oldest, c.Newest = earlier(c.Oldest, *t.Oldest), later(c.Newest, *t.Newest)
		}
		c.Tiers = append(c.Tiers, t)
	}
	c.Files = append(c.Files, v.rest()...)
	for _, f := range c.Files {
		c.Problems = append(c.Problems, f.Problems...)
	}
	c.Problems = append(c.Problems, v.problems...)
	return c, nil
}

// absent tells of records that are in no segment, before one.
func absent(s *segment, first uint64) Problem {
	return Problem{File: s.name, Message: fmt.Sprintf("records %d to %d of its tier, which come before it, are in no file: they were given up, or in memory when an agent died", first, s.first-1)}
}

// add counts a record for the readers that have still to get it.
func (c *Contents) add(r *Record) {
	for i := range c.Readers {
		to := &c.Readers[i]
		if r.Seq > to.Acked && to.kinds.Has(r.Kind) {
			to.Records++
			to.Count += r.Count
			to.Bytes += int64(r.size())
			to.Oldest = earlier(to.Oldest, r.Time)
		}
	}
}

// readers are those that have a place, by name.
func (v *view) readers() []ReaderContents {
	all := []ReaderContents{}
	for _, c := range v.cursors {
		if c.name != "" {
			all = append(all, ReaderContents{Name: c.name, Acked: c.acked, Kinds: c.kinds.names(), kinds: c.kinds})
		}
	}
	slices.SortFunc(all, func(a, b ReaderContents) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// names are those of the kinds that are known; none if it is all of them.
func (s Kinds) names() []string {
	names := []string{}
	for k := Detection; k < kinds && s != AllKinds; k++ {
		if s.Has(k) {
			names = append(names, k.String())
		}
	}
	return names
}

func earlier(a *time.Time, b time.Time) *time.Time {
	if a == nil || b.Before(*a) {
		return &b
	}
	return a
}

func later(a *time.Time, b time.Time) *time.Time {
	if a == nil || b.After(*a) {
		return &b
	}
	return a
}
