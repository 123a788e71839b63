package outbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// flip changes a bit of a file.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 0x10
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// told is what problems say, a line each.
func told(all []Problem) string {
	var lines []string
	for _, p := range all {
		line := fmt.Sprintf("%d+%d seq %d: %s", p.Offset, p.Bytes, p.Seq, p.Message)
		if p.Damage {
			line = "! " + line
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// TestInspectDamage damages an outbox of ten records of 112 bytes each, with a sealed segment or without.
func TestInspectDamage(t *testing.T) {
	const size = 112
	at := func(n int, in int64) int64 { return segmentHead + int64(n-1)*size + in }
	const body = recordHead + 3
	for _, c := range []struct {
		name   string
		sealed bool
		flips  []int64
		cut    int64 // the file ends there; 0: where it does
		want   string
		left   []uint64
	}{
		{"nothing", false, nil, 0, "", []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{"a body", false, []int64{at(4, body)}, 0, "! 400+112 seq 4: 1 record is damaged", []uint64{1, 2, 3, 5, 6, 7, 8, 9, 10}},
		{"the first record's header", false, []int64{at(1, 9)}, 0, "! 64+112 seq 0: 1 record is damaged", []uint64{2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{"a body and a header", false, []int64{at(4, body), at(5, 40)}, 0, "! 400+224 seq 4: 2 records are damaged", []uint64{1, 2, 3, 6, 7, 8, 9, 10}},
		{"two places", false, []int64{at(2, body), at(8, 1)}, 0, "! 176+112 seq 2: 1 record is damaged\n! 848+112 seq 0: 1 record is damaged", []uint64{1, 3, 4, 5, 6, 7, 9, 10}},
		{"the last record, which may be torn", false, []int64{at(10, body)}, 0,
			"1072+107 seq 0: an incomplete record: an agent is writing it, or died while it did", []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{"a torn end", false, nil, at(10, 90), "1072+90 seq 0: an incomplete record: an agent is writing it, or died while it did", []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{"the last record of a segment that is sealed", true, []int64{at(10, body)}, 0, "! 1072+112 seq 10: 1 record is damaged", []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9}},
		{"the end of a segment that is sealed", true, nil, at(9, 0), "! 960+0 seq 0: 2 records are missing", []uint64{1, 2, 3, 4, 5, 6, 7, 8}},
		{"the segment's header", false, []int64{20}, 0,
			"! 0+64 seq 0: its header is damaged; its name and its records tell what it holds", []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{"the format", false, []int64{7}, 0, "! 0+0 seq 0: it can't be read: segment NAME: it has a format of another version of Bittern: format 17, want 1", nil},
		{"all of it", false, []int64{20}, at(1, 50), "! 0+0 seq 0: it can't be read: segment NAME: it is damaged, and so are all its records", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir(), Quota: LeastQuota, Readers: []ReaderConfig{{"a", AllKinds}}}
			l := open(t, cfg)
			filled(t, l, 10, func(n int) Record {
				r := numbered(n, High)
				r.JSON, r.Text = []byte(`{"number":1}`), []byte("12345")
				return r
			})
			name := l.active[High].name
			if c.sealed {
				l.mu.Lock()
				l.seal(l.active[High])
				l.mu.Unlock()
			}
			closeLog(t, l)
			path := filepath.Join(cfg.Dir, name)
			for _, at := range c.flips {
				flip(t, path, at)
			}
			if c.cut > 0 {
				if err := os.Truncate(path, c.cut); err != nil {
					t.Fatal(err)
				}
			}
			before := snapshot(t, cfg.Dir)
			in := inspect(t, cfg.Dir)
			if got := strings.ReplaceAll(told(in.Problems), name, "NAME"); got != c.want {
				t.Errorf("problems:\n%s\nwant:\n%s", got, c.want)
			}
			if in.Damaged() != strings.Contains(c.want, "!") || in.Records != uint64(len(c.left)) || in.Readers[0].Records != uint64(len(c.left)) {
				t.Errorf("damaged %v, %d records, reader %+v", in.Damaged(), in.Records, in.Readers[0])
			}
			var skipped []Problem
			all := collect(t, cfg.Dir, Filter{Skipped: func(p Problem) { skipped = append(skipped, p) }})
			if got := sequences(all); !slices.Equal(got, c.left) {
				t.Errorf("records %v, want %v", got, c.left)
			}
			if (len(skipped) > 0) != strings.Contains(c.want, "!") {
				t.Errorf("skipped %+v", skipped)
			}
			for f, content := range snapshot(t, cfg.Dir) {
				if before[f] != content {
					t.Errorf("%s was changed", f)
				}
			}
			if strings.Contains(c.want, "incomplete") || len(c.left) == 0 {
				return
			}
			// An agent that opens it counts the same, for ever.
			closeLog(t, open(t, cfg))
			lost := uint64(0)
			for _, l := range inspect(t, cfg.Dir).Losses {
				lost += l.Count
			}
			if lost != uint64(10-len(c.left)) {
				t.Errorf("an agent counts %d lost records, want %d", lost, 10-len(c.left))
			}
		})
	}
}

// TestInspectDamagedMerged damages a segment of records that were put together: indexes say nothing then.
func TestInspectDamagedMerged(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Quota: LeastQuota, Readers: []ReaderConfig{{"a", AllKinds}}}
	l := open(t, cfg)
	filled(t, l, 600, func(n int) Record {
		r := numbered(n, Low)
		r.Rule, r.Group, r.JSON = "R", uint64(n%3+1), []byte(strings.Repeat("x", 500))
		return r
	})
	l.Sync()
	l.mu.Lock()
	for l.mergeOne() {
	}
	s := l.shelf.all(Low)[0]
	l.mu.Unlock()
	closeLog(t, l)
	if !s.merged || s.records != 3 {
		t.Fatalf("%d records", s.records)
	}
	size := aligned(recordHead + 1 + len("number 1") + 500)
	flip(t, filepath.Join(cfg.Dir, s.name), int64(segmentHead+size+recordHead))
	want := fmt.Sprintf("! %d+%d seq 2: damaged\n! 0+0 seq 0: 1 of its 3 records can't be read", segmentHead+size, size)
	if got := told(inspect(t, cfg.Dir).Problems); got != want {
		t.Errorf("problems:\n%s\nwant:\n%s", got, want)
	}
	flip(t, filepath.Join(cfg.Dir, s.name), int64(segmentHead+2*size+recordHead))
	want = fmt.Sprintf("! %d+%d seq 2: damaged\n! 0+0 seq 0: 2 of its 3 records can't be read", segmentHead+size, 2*size)
	if got := told(inspect(t, cfg.Dir).Problems); got != want {
		t.Errorf("problems:\n%s\nwant:\n%s", got, want)
	}
}

// TestInspectDamagedBooks damages the cursors and the ledger.
func TestInspectDamagedBooks(t *testing.T) {
	for _, c := range []struct {
		name, file string
		flips      []int64
		cut        int64
		want       string
		losses     int
		acked      string
	}{
		{"nothing", "ledger", nil, 0, "", 1, "a 4 b 2"},
		{"newer copy of a cursor", "cursors", []int64{cursorCopy + 16}, 0, `! 128+128 seq 0: a copy of the cursor of "a" is damaged; the other one counts`, 1, "a 2 b 2"},
		{"older copy of a cursor", "cursors", []int64{16}, 0, `! 0+128 seq 0: a copy of the cursor of "a" is damaged; the other one counts`, 1, "a 4 b 2"},
		{"both copies of a cursor", "cursors", []int64{16, cursorCopy + 20}, 0, "! 0+256 seq 0: both copies of place 0 are damaged: a sink may get again what it has", 1, "b 2"},
		{"the only copy of a place", "cursors", []int64{7 * cursorPlace}, 0, "! 1792+128 seq 0: the only copy of place 7 is damaged: a sink may get again what it has", 1, "a 4 b 2"},
		{"the only copy of a place, the second", "cursors", []int64{7*cursorPlace + cursorCopy}, 0, "! 1792+128 seq 0: the only copy of place 7 is damaged: a sink may get again what it has", 1, "a 4 b 2"},
		{"a short file of cursors", "cursors", nil, 4096, "! 4096+4096 seq 0: the rest of it can't be read", 1, "a 4 b 2"},
		{"a copy of the ledger", "ledger", []int64{ledgerHead + 5}, 0, "! 0+524288 seq 0: one of its two copies is damaged, as after a power failure while it was written; the other one counts", 1, "a 4 b 2"},
		{"the other copy of the ledger", "ledger", []int64{ledgerCopy + 9}, 0, "! 524288+524288 seq 0: one of its two copies is damaged, as after a power failure while it was written; the other one counts", 1, "a 4 b 2"},
		{"both copies of the ledger", "ledger", []int64{ledgerCopy, 1}, 0, "! 0+1048576 seq 0: both copies are damaged: what was lost is not known", 0, "a 4 b 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := Config{Dir: t.TempDir(), Quota: LeastQuota, Readers: []ReaderConfig{{"a", AllKinds}, {"b", AllKinds}}}
			l := open(t, cfg)
			for n := range 2 {
				filled(t, l, 2, func(n int) Record { return numbered(n, High) })
				drain(t, l.Reader("a"))
				if n == 0 {
					drain(t, l.Reader("b"))
				}
			}
			for n := range 3 { // so that both copies were written
				if err := l.Note(ID{9: byte(n)}, Loss{Cause: "ring_full", Count: 1}); err != nil {
					t.Fatal(err)
				}
			}
			closeLog(t, l)
			for _, at := range c.flips {
				flip(t, filepath.Join(cfg.Dir, c.file), at)
			}
			if c.cut > 0 {
				if err := os.Truncate(filepath.Join(cfg.Dir, c.file), c.cut); err != nil {
					t.Fatal(err)
				}
			}
			in := inspect(t, cfg.Dir)
			if got := told(in.Problems); got != c.want {
				t.Errorf("problems:\n%s\nwant:\n%s", got, c.want)
			}
			var acked []string
			for _, r := range in.Readers {
				acked = append(acked, fmt.Sprint(r.Name, " ", r.Acked))
			}
			if got := strings.Join(acked, " "); got != c.acked || len(in.Losses) != c.losses || in.Damaged() != (c.want != "") {
				t.Errorf("readers %s, losses %+v, damaged %v", got, in.Losses, in.Damaged())
			}
		})
	}
}

// TestInspectMissingBooks has neither cursors nor a ledger: both are made anew.
func TestInspectMissingBooks(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Quota: LeastQuota, Readers: []ReaderConfig{{"a", AllKinds}}}
	l := open(t, cfg)
	filled(t, l, 3, func(n int) Record { return numbered(n, High) })
	made := l.active[High].name
	closeLog(t, l)
	for _, name := range []string{cursorsFile, ledgerFile} {
		if err := os.Remove(filepath.Join(cfg.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	in := inspect(t, cfg.Dir)
	if want := "0+0 seq 0: it is missing; an agent makes it anew when it starts"; told(in.Problems) != want+"\n"+want || in.Records != 3 || in.Damaged() {
		t.Errorf("problems %s, %d records", told(in.Problems), in.Records)
	}
	// A segment that was just made has nothing yet.
	if err := os.WriteFile(filepath.Join(cfg.Dir, segmentName(Low, 1, 50)), make([]byte, 200<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	in = inspect(t, cfg.Dir)
	if !strings.Contains(told(in.Problems), "it holds nothing: an agent was making it") || in.Damaged() || in.Records != 3 || in.Files[1].Bytes != 200<<10 || in.Files[0].File != made {
		t.Errorf("problems %s, %d records, files %+v", told(in.Problems), in.Records, in.Files)
	}
}

// TestInspectAbsent has a segment removed from between others.
func TestInspectAbsent(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Quota: LeastQuota, Readers: []ReaderConfig{{"a", AllKinds}}}
	l := open(t, cfg)
	for n := range 3 {
		filled(t, l, 2+n, func(n int) Record { return numbered(n, High) })
		l.mu.Lock()
		l.seal(l.active[High])
		l.mu.Unlock()
	}
	second := l.shelf.all(High)[1].name
	closeLog(t, l)
	if got := sequences(collect(t, cfg.Dir, Filter{Since: 5})); !slices.Equal(got, []uint64{5, 6, 7, 8, 9}) {
		t.Errorf("since 5: %v", got)
	}
	if err := os.Remove(filepath.Join(cfg.Dir, second)); err != nil {
		t.Fatal(err)
	}
	in := inspect(t, cfg.Dir)
	want := "0+0 seq 0: records 3 to 5 of its tier, which come before it, are in no file: they were given up, or in memory when an agent died"
	if told(in.Problems) != want || in.Damaged() || in.Records != 6 || len(in.Files[1].Problems) != 1 {
		t.Errorf("problems:\n%s\nwant:\n%s", told(in.Problems), want)
	}
}

// TestInspectZeroedLedger has a copy of the ledger that is as if it had never been written, which it was.
func TestInspectZeroedLedger(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Quota: LeastQuota}
	l := open(t, cfg)
	if in := inspect(t, cfg.Dir); len(in.Problems) > 0 {
		t.Errorf("a new ledger: %s", told(in.Problems))
	}
	if err := l.Note(ID{}, Loss{Cause: "ring_full", Count: 1}); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	path := filepath.Join(cfg.Dir, ledgerFile)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		zeroed := slices.Clone(data)
		clear(zeroed[i*ledgerCopy : (i+1)*ledgerCopy])
		if err := os.WriteFile(path, zeroed, 0o600); err != nil {
			t.Fatal(err)
		}
		// Without the newer copy it is as a ledger that was written once.
		if in := inspect(t, cfg.Dir); in.Damaged() != (i == 1) {
			t.Errorf("copy %d: %s", i, told(in.Problems))
		}
	}
}

// TestLookAtWhatIsBeingMade has a segment that an agent makes while the outbox is looked at.
func TestLookAtWhatIsBeingMade(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Quota: LeastQuota}
	l := open(t, cfg)
	filled(t, l, 2, func(n int) Record { return numbered(n, Low) })
	path := filepath.Join(cfg.Dir, segmentName(High, 1, 9))
	if err := os.WriteFile(path, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := look(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	if len(v.broken) != 1 || len(v.rest()) != 1 {
		t.Errorf("%v can't be read", v.broken)
	}
	if err := os.WriteFile(path, newSegment(High, 9, 1, 3).appendHead(nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if v.retry(); len(v.broken) > 0 {
		t.Errorf("%v can't be read", v.broken)
	}
	closeLog(t, l)
}

// TestUnseen says which files that come while the outbox is looked at have it looked at again.
func TestUnseen(t *testing.T) {
	cfg := Config{Dir: t.TempDir(), Quota: LeastQuota}
	l := open(t, cfg)
	filled(t, l, 2, func(n int) Record { return numbered(n, Low) })
	v, err := look(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	known := l.active[Low].name
	for name, want := range map[string]bool{
		known:                   false,
		segmentName(Low, 1, 9):  true, // what was put together
		segmentName(Low, 2, 9):  false,
		segmentName(High, 1, 9): false,
		known + newSuffix:       false,
		"something else":        false,
	} {
		if got := v.unseen([]string{known, name}); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if complete, err := v.openAll([]string{known, segmentName(Low, 2, 9)}); complete || err != nil {
		t.Errorf("a file that has gone: complete %v, %v", complete, err)
	}
	if _, err := v.openAll(nil); err != nil || len(v.opened) > 0 {
		t.Errorf("all have gone: %v, %v", v.opened, err)
	}
	closeLog(t, l)
}
