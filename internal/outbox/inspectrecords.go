package outbox

import (
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Filter says which records are wanted. Its zero value wants all.
type Filter struct {
	Rules  []string // of one of these rules
	Kinds  Kinds    // 0: all
	Tiers  []Tier
	Since  uint64 // of this sequence and later
	Reader string // that this reader wants, and has not acknowledged
	// Skipped is called with what is damaged, and so left out; nil: nobody wants to know. It can be of any rule and kind.
	Skipped func(Problem)
}

// KnownKinds returns all kinds.
func KnownKinds() (all []Kind) {
	for k := Detection; k < kinds; k++ {
		all = append(all, k)
	}
	return all
}

// UnknownReaderError says that there is no reader of a name.
type UnknownReaderError struct {
	Name  string
	Known []string
}

func (e *UnknownReaderError) Error() string {
	if len(e.Known) == 0 {
		return fmt.Sprintf("the outbox knows no sink %q, nor any other", e.Name)
	}
	return fmt.Sprintf("the outbox knows no sink %q: there is %s", e.Name, strings.Join(e.Known, ", "))
}

// Records returns the records of the outbox in a directory that a filter wants, in order of their sequence, as they are when it
// begins. It reads as Inspect does. What is damaged is left out. After an error nothing comes.
func Records(dir string, f Filter) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		v, err := look(dir)
		if err != nil {
			yield(Record{}, err)
			return
		}
		defer v.close()
		acked, wanted := uint64(0), AllKinds
		if f.Kinds != 0 {
			wanted = f.Kinds
		}
		if f.Reader != "" {
			all := v.readers()
			at := slices.IndexFunc(all, func(r ReaderContents) bool { return r.Name == f.Reader })
			if at < 0 {
				unknown := &UnknownReaderError{Name: f.Reader}
				for _, r := range all {
					unknown.Known = append(unknown.Known, r.Name)
				}
				yield(Record{}, unknown)
				return
			}
			acked, wanted = all[at].Acked, wanted&all[at].kinds
		}
		from := max(f.Since, acked+1)
		v.skip(f)
		for r := range v.records(f, from) {
			if wanted.Has(r.Kind) && (len(f.Rules) == 0 || slices.Contains(f.Rules, r.Rule)) && !yield(r, nil) {
				return
			}
		}
	}
}

// skip tells of segments that can't be read at all.
func (v *view) skip(f Filter) {
	for _, report := range v.rest() {
		f.skip(report)
	}
}

func (f *Filter) skip(report SegmentReport) {
	for _, p := range report.Problems {
		if p.Damage && f.Skipped != nil {
			f.Skipped(p)
		}
	}
}

// records returns those of the tiers that are wanted, from a sequence on.
func (v *view) records(f Filter, from uint64) iter.Seq[Record] {
	return func(yield func(Record) bool) {
		var rows []*shelfRow
		for _, tier := range Tiers() {
			if len(f.Tiers) == 0 || slices.Contains(f.Tiers, tier) {
				rows = append(rows, &shelfRow{view: v, filter: f, left: v.tiers[tier], from: from})
			}
		}
		for {
			var first *shelfRow
			for _, row := range rows {
				if row.fill() && (first == nil || row.records[0].Seq < first.records[0].Seq) {
					first = row
				}
			}
			if first == nil {
				return
			}
			r := first.records[0]
			first.records = first.records[1:]
			if !yield(r) {
				return
			}
		}
	}
}

// shelfRow goes through the segments of a tier.
type shelfRow struct {
	view    *view
	filter  Filter
	left    []*segment
	from    uint64
	records []Record // of the segment that it is in
}

// fill reports whether there is a record; it reads on if need be.
func (w *shelfRow) fill() bool {
	for len(w.records) == 0 {
		if len(w.left) == 0 {
			return false
		}
		s := w.left[0]
		w.left = w.left[1:]
		if len(w.left) > 0 && s.lastSeq < w.from {
			continue // arrange has set it, since another one follows
		}
		w.records = nil
		w.filter.skip(w.view.examine(s, func(r *Record) {
			if r.Seq >= w.from {
				w.records = append(w.records, *r)
			}
		}))
	}
	return true
}
