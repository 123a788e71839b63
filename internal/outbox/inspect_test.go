package outbox

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func inspect(t *testing.T, dir string) *Contents {
	t.Helper()
	c, err := Inspect(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// collect returns the records that a filter wants.
func collect(t *testing.T, dir string, f Filter) (all []Record) {
	t.Helper()
	for r, err := range Records(dir, f) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func sequences(all []Record) (seqs []uint64) {
	for _, r := range all {
		seqs = append(seqs, r.Seq)
	}
	return seqs
}

// filled appends numbered records with sequences 1 to n.
func filled(t *testing.T, l *Log, n int, of func(n int) Record) {
	t.Helper()
	for i := 1; i <= n; i++ {
		if err := l.Append(of(i)); err != nil {
			t.Fatal(err)
		}
	}
}

// snapshot is what the files of a directory are.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = info.ModTime().String() + string(data)
	}
	return all
}

func TestInspect(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Quota: LeastQuota, Readers: []ReaderConfig{{"slow", AllKinds}, {"gaps", KindsOf(Gap)}, {"fast", AllKinds}}}
	l := open(t, cfg)
	of := func(n int) Record {
		r := numbered(n, Tier(n%3+2)) // high, medium, low
		if n%10 == 0 {
			r.Kind, r.Tier = Gap, System
		}
		return r
	}
	filled(t, l, 60, of)
	drain(t, l.Reader("fast"))
	filled(t, l, 40, func(n int) Record { return of(n + 60) })
	if err := l.Note(ID{}, Loss{Rule: "R", Cause: "ring_full", Count: 7, First: time.Unix(5, 0).UTC(), Last: time.Unix(9, 0).UTC()}); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, cfg.Dir)
	for _, running := range []bool{true, false} {
		if !running {
			closeLog(t, l)
			before = snapshot(t, cfg.Dir)
		}
		c := inspect(t, cfg.Dir)
		if c.Records != 100 || c.Count != 100 || c.LastSeq != 100 || c.Oldest.Unix() != 1 || c.Newest.Unix() != 100 || c.Damaged() || len(c.Problems) > 0 {
			t.Errorf("running %v: %+v", running, c)
		}
		records := make(map[string]uint64)
		for _, tier := range c.Tiers {
			records[tier.Tier] = tier.Records
		}
		if want := map[string]uint64{"system": 10, "critical": 0, "high": 30, "medium": 30, "low": 30}; !maps.Equal(records, want) {
			t.Errorf("running %v: records by tier %v, want %v", running, records, want)
		}
		if got := c.Tiers[0]; got.Segments != 1 || got.Oldest.Unix() != 10 || got.Newest.Unix() != 100 || got.Bytes < leastSegment && running {
			t.Errorf("running %v: tier %+v", running, got)
		}
		text := fmt.Sprint(len(c.Readers))
		for _, r := range c.Readers {
			text += fmt.Sprintf(" %s %d %d %v", r.Name, r.Acked, r.Records, r.Kinds)
			if r.Oldest != nil {
				text += fmt.Sprint(" ", r.Oldest.Unix())
			}
		}
		if want := "3 fast 60 40 [] 61 gaps 0 10 [gap] 10 slow 0 100 [] 1"; text != want {
			t.Errorf("running %v: readers %s, want %s", running, text, want)
		}
		first := numbered(61, Low)
		if got, each := c.Readers[0].Bytes, int64(first.size()); got < 39*each || got > 41*each {
			t.Errorf("running %v: backlog of %d bytes, want about %d", running, got, 40*each)
		}
		if len(c.Losses) != 1 || c.Losses[0].Count != 7 || c.Losses[0].First.Unix() != 5 {
			t.Errorf("running %v: losses %+v", running, c.Losses)
		}
		if after := snapshot(t, cfg.Dir); !maps.Equal(before, after) {
			t.Errorf("running %v: inspecting has changed the files", running)
		}
	}
}

func TestRecordsFilter(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Quota: LeastQuota, Readers: []ReaderConfig{{"all", AllKinds}, {"gaps", KindsOf(Gap)}}}
	l := open(t, cfg)
	of := func(n int) Record {
		r := numbered(n, Tier(n)%tiers)
		if n%4 == 0 {
			r.Kind = Gap
		}
		return r
	}
	filled(t, l, 10, of)
	drain(t, l.Reader("all"))
	drain(t, l.Reader("gaps"))
	filled(t, l, 10, func(n int) Record { return of(n + 10) })
	closeLog(t, l)
	for _, c := range []struct {
		name   string
		filter Filter
		want   []uint64
	}{
		{"all", Filter{}, []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}},
		{"rules", Filter{Rules: []string{"R1", "R3"}}, []uint64{1, 3, 8, 10, 15, 17}},
		{"kind", Filter{Kinds: KindsOf(Gap)}, []uint64{4, 8, 12, 16, 20}},
		{"tiers", Filter{Tiers: []Tier{Low, System}}, []uint64{4, 5, 9, 10, 14, 15, 19, 20}},
		{"since", Filter{Since: 17}, []uint64{17, 18, 19, 20}},
		{"reader", Filter{Reader: "all"}, []uint64{11, 12, 13, 14, 15, 16, 17, 18, 19, 20}},
		{"reader of a kind", Filter{Reader: "gaps"}, []uint64{12, 16, 20}},
		{"several", Filter{Reader: "gaps", Since: 13, Kinds: KindsOf(Gap, Detection), Tiers: []Tier{Critical}}, []uint64{16}},
		{"nothing", Filter{Rules: []string{"R9"}}, nil},
	} {
		all := collect(t, cfg.Dir, c.filter)
		if got := sequences(all); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		for _, r := range all {
			if want := of(int(r.Seq)); string(r.JSON) != string(want.JSON) || string(r.Text) != string(want.Text) || r.Tier != want.Tier || r.ID != want.ID {
				t.Errorf("%s: got %+v", c.name, r)
			}
		}
	}
	for range Records(cfg.Dir, Filter{}) {
		break
	}
	for _, err := range Records(cfg.Dir, Filter{Reader: "al"}) {
		var unknown *UnknownReaderError
		if !errors.As(err, &unknown) || !slices.Equal(unknown.Known, []string{"all", "gaps"}) {
			t.Errorf("unknown reader: %v", err)
		}
	}
}

func TestInspectNothing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, none := range map[string]bool{t.TempDir(): true, filepath.Join(t.TempDir(), "nowhere"): true, file: false} {
		if _, err := Inspect(dir); err == nil || errors.Is(err, ErrNone) != none {
			t.Errorf("%s: %v", dir, err)
		}
		for _, err := range Records(dir, Filter{}) {
			if err == nil || errors.Is(err, ErrNone) != none {
				t.Errorf("%s: %v", dir, err)
			}
		}
	}
	l := open(t, Config{Dir: t.TempDir()})
	defer closeLog(t, l)
	if c := inspect(t, l.cfg.Dir); c.Records != 0 || len(c.Tiers) != int(tiers) || c.Oldest != nil || len(c.Problems) > 0 {
		t.Errorf("an empty outbox: %+v", c)
	}
}

// TestInspectMerged has repeats put together, with what they were put together from still there.
func TestInspectMerged(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Quota: LeastQuota, Readers: []ReaderConfig{{"a", AllKinds}, {"b", AllKinds}}}
	l := open(t, cfg)
	of := func(n int) Record {
		r := numbered(n, Low)
		r.Rule, r.Group, r.JSON = "R", 1, slices.Concat([]byte(`"`), make([]byte, 1000), []byte(`"`))
		return r
	}
	// More than the segments that are sealed hold, so that those are put together.
	n := int(l.segment)/1000*2 + 100
	filled(t, l, n, of)
	l.Sync()
	l.mu.Lock()
	old := l.shelf.all(Low)[0]
	data, err := os.ReadFile(filepath.Join(cfg.Dir, old.name))
	if err != nil {
		t.Error(err)
	}
	for l.mergeOne() {
	}
	l.mu.Unlock()
	check := func() *Contents {
		t.Helper()
		c := inspect(t, cfg.Dir)
		if c.Count != uint64(n) || c.Records >= uint64(n) || c.Damaged() || c.Readers[0].Count != uint64(n) || c.Readers[1].Records != c.Records {
			t.Errorf("%d records, count %d, damaged %v, want count %d: %+v", c.Records, c.Count, c.Damaged(), n, c.Problems)
		}
		all := collect(t, cfg.Dir, Filter{})
		if len(all) != int(c.Records) || all[0].Count < 2 || all[0].Last.Equal(all[0].Time) || !slices.IsSorted(sequences(all)) {
			t.Errorf("%d records, the first one counts %d", len(all), all[0].Count)
		}
		return c
	}
	if c := check(); !c.Files[0].Merged || c.Files[0].File == old.name {
		t.Errorf("segments %+v", c.Files)
	}
	closeLog(t, l)
	if err := os.WriteFile(filepath.Join(cfg.Dir, old.name), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Dir, segmentName(High, 1, 99)+newSuffix), data, 0o600); err != nil {
		t.Fatal(err)
	}
	c := check()
	var obsolete []string
	for _, f := range c.Files {
		if f.Obsolete {
			obsolete = append(obsolete, f.File)
		}
	}
	if want := []string{old.name, segmentName(High, 1, 99) + newSuffix}; !slices.Equal(obsolete, want) {
		t.Errorf("obsolete are %v, want %v", obsolete, want)
	}
	if len(c.Problems) != 1 || !strings.Contains(c.Problems[0].Message, "it is not complete") {
		t.Errorf("problems %+v", c.Problems)
	}
}

// TestInspectGivenUp has a segment in the directory that the ledger says was given up.
func TestInspectGivenUp(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Quota: LeastQuota, Readers: []ReaderConfig{{"a", AllKinds}}}
	l := open(t, cfg)
	filled(t, l, 5, func(n int) Record { return numbered(n, Low) })
	s := l.active[Low]
	lost := make(losses)
	lost.add(Loss{Sink: "a", Cause: Full, Count: 5})
	if err := l.ledger.evicted([][16]byte{s.id}, lost); err != nil {
		t.Fatal(err)
	}
	c := inspect(t, cfg.Dir)
	if c.Records != 0 || c.Readers[0].Records != 0 || len(c.Files) != 1 || !c.Files[0].Obsolete || c.Losses[0].Count != 5 {
		t.Errorf("got %+v", c)
	}
	closeLog(t, l)
}

// TestInspectAbandoned has a file that was given up after a failed sync: what it has at its end is in the next one, too.
func TestInspectAbandoned(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Quota: LeastQuota, SyncWithin: time.Hour, Readers: []ReaderConfig{{"a", AllKinds}}}
	l := open(t, cfg)
	filled(t, l, 3, func(n int) Record { return numbered(n, Low) })
	l.Sync()
	filled(t, l, 2, func(n int) Record { return numbered(n+3, Low) })
	l.mu.Lock()
	l.abandon(l.active[Low], nil, false)
	l.mu.Unlock()
	filled(t, l, 1, func(n int) Record { return numbered(n+5, Low) })
	c := inspect(t, cfg.Dir)
	if c.Records != 6 || len(c.Problems) > 0 || c.Readers[0].Records != 6 || c.Files[0].Records != 3 || c.Files[1].Records != 3 {
		t.Errorf("got %+v", c)
	}
	if got := sequences(collect(t, cfg.Dir, Filter{})); !slices.Equal(got, []uint64{1, 2, 3, 4, 5, 6}) {
		t.Errorf("sequences %v", got)
	}
	closeLog(t, l)
}

// TestInspectWhileAppending looks at an outbox while an agent appends, delivers, puts together, gives up and removes.
func TestInspectWhileAppending(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Quota: LeastQuota, Readers: []ReaderConfig{{"a", AllKinds}}}
	l := open(t, cfg)
	stop := make(chan struct{})
	var working sync.WaitGroup
	working.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				if len(l.Losses()) > 0 {
					return
				}
			default:
			}
			r := numbered(n, Tier(n)%tiers)
			r.JSON = fmt.Appendf(nil, `{"n":%d,"x":"%0*d"}`, n, n%3000, 0)
			if n%3 == 0 {
				r.Rule, r.Group = "R", uint64(n%2+1)
			}
			if err := l.Append(r); err != nil {
				t.Error(err)
				return
			}
			if n%5000 < 2000 { // else it falls behind until records are given up
				l.Reader("a").fill()
				if err := l.Reader("a").Ack(); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for looks := range 40 {
		c, err := Inspect(cfg.Dir)
		if err != nil {
			t.Fatalf("look %d: %v", looks, err)
		}
		for _, p := range c.Problems {
			if p.Damage {
				t.Errorf("look %d: %+v", looks, p)
			}
		}
		last := uint64(0)
		for r, err := range Records(cfg.Dir, Filter{Skipped: func(p Problem) { t.Errorf("look %d: %+v", looks, p) }}) {
			if err != nil {
				t.Fatalf("look %d: %v", looks, err)
			}
			if r.Seq <= last || !strings.HasPrefix(string(r.JSON), fmt.Sprintf(`{"n":%d,`, r.Seq)) {
				t.Fatalf("look %d: after %d comes %d: %.20s", looks, last, r.Seq, r.JSON)
			}
			last = r.Seq
		}
		if last < c.LastSeq {
			t.Errorf("look %d: %d is the last sequence, it was %d before", looks, last, c.LastSeq)
		}
	}
	close(stop)
	working.Wait()
	closeLog(t, l)
	if c := inspect(t, cfg.Dir); c.Damaged() || len(c.Losses) == 0 {
		t.Errorf("at the end: problems %+v, losses %+v", c.Problems, c.Losses)
	}
}

// TestInspectIsComplete has all records in the view up to the last that is in it, while more come in all tiers.
func TestInspectIsComplete(t *testing.T) {
	for range 5 {
		cfg := Config{Dir: t.TempDir(), Quota: LeastQuota, Readers: []ReaderConfig{{"a", AllKinds}}}
		l := open(t, cfg)
		var working sync.WaitGroup
		done := make(chan struct{})
		working.Go(func() { // as many as there is room for
			defer close(done)
			for n := range 15_000 {
				if err := l.Append(numbered(n+1, Tier(n*7)%tiers)); err != nil {
					t.Error(err)
					return
				}
			}
		})
		for appending := true; appending; {
			select {
			case <-done:
				appending = false
			default:
			}
			next := uint64(1)
			for _, seq := range sequences(collect(t, cfg.Dir, Filter{})) {
				if seq != next {
					t.Fatalf("sequence %d, want %d", seq, next)
				}
				next++
			}
			if !appending && next != 15_001 {
				t.Errorf("%d records in the end", next-1)
			}
		}
		working.Wait()
		closeLog(t, l)
	}
}
