package outbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// summary is what is in the fixture.
type summary struct {
	Records []string // that the reader "behind" gets: sequence, tier, kind, count and document
	Losses  []Loss
	Lag     map[string]uint64
}

func summarize(t *testing.T, l *Log) (s summary) {
	s.Losses, s.Lag = l.Losses(), make(map[string]uint64)
	for _, r := range l.readers {
		s.Lag[r.name] = r.Lag()
		for _, record := range drain(t, r) {
			if r.name == "behind" {
				s.Records = append(s.Records, fmt.Sprintf("%d %s %s %d %s", record.Seq, record.Tier, record.Kind, record.Count, record.JSON))
			}
		}
	}
	return s
}

// The outbox in testdata/format1 was written by format 1, which is to be read for ever. BITTERN_UPDATE_GOLDEN=1 makes it anew, which
// is for a new format only, under another name.
func TestFormat1(t *testing.T) {
	t.Parallel()
	const golden = "testdata/format1"
	cfg := Config{Dir: t.TempDir(), Quota: LeastQuota, still: true, Readers: []ReaderConfig{{"behind", AllKinds}, {"done", KindsOf(Gap)}}}
	if os.Getenv("BITTERN_UPDATE_GOLDEN") != "" {
		makeFormat1(t, golden, cfg)
	}
	if err := os.CopyFS(cfg.Dir, os.DirFS(golden)); err != nil {
		t.Fatal(err)
	}
	var want summary
	data, err := os.ReadFile(golden + ".json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	l := open(t, cfg)
	if err := l.Health(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(want, summarize(t, l)); diff != "" {
		t.Errorf("format 1 is read otherwise (-want +got):\n%s", diff)
	}
	closeLog(t, l)
}

func makeFormat1(t *testing.T, golden string, cfg Config) {
	if err := os.RemoveAll(golden); err != nil {
		t.Fatal(err)
	}
	cfg.Dir = golden
	l := open(t, cfg)
	for n := range 40 {
		r := numbered(n, Tier(n%5))
		if n%9 == 0 {
			r.Kind = Gap
		}
		r.Group, r.Rule = 1, fmt.Sprintf("R%d", n%2)
		if err := l.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		tier Tier
		do   func() bool
	}{{Low, func() bool { return l.evictOne(Low, false) }}, {Medium, l.mergeOne}} {
		l.mu.Lock()
		l.seal(l.active[c.tier])
		l.mu.Unlock()
		l.Sync()
		l.mu.Lock()
		if !c.do() {
			t.Errorf("nothing was done with %s", c.tier)
		}
		l.mu.Unlock()
	}
	if err := l.Note(ID{9: 1}, Loss{Cause: "ring_full", Rule: "R1", Class: "exec", Count: 3}); err != nil {
		t.Fatal(err)
	}
	l.readers[0].fill()
	drain(t, l.readers[1])
	if err := l.Append(numbered(40, High), numbered(41, Low)); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	if err := os.Remove(filepath.Join(golden, lockFile)); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"*" + segmentSuffix, ledgerFile} {
		files, err := filepath.Glob(filepath.Join(golden, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			trim(t, name)
		}
	}
	cfg.Dir = t.TempDir() // reading changes it
	if err := os.CopyFS(cfg.Dir, os.DirFS(golden)); err != nil {
		t.Fatal(err)
	}
	l = open(t, cfg)
	data, err := json.MarshalIndent(summarize(t, l), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(golden+".json", append(data, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
}

// trim cuts off the zeros that a file ends with.
func trim(t *testing.T, name string) {
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, int64(aligned(len(bytes.TrimRight(data, "\x00"))))); err != nil {
		t.Fatal(err)
	}
}

// A segment of a format that is not known is left alone, and what comes does not get its numbers.
func TestNewerFormat(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: t.TempDir(), Quota: LeastQuota, still: true, Readers: []ReaderConfig{{"a", AllKinds}}}
	l := open(t, cfg)
	fill(l, 3, High, 0)
	closeLog(t, l)
	segments, err := filepath.Glob(filepath.Join(cfg.Dir, "*"+segmentSuffix))
	if err != nil || len(segments) != 1 {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	rewrite := func(format byte) {
		data, err := os.ReadFile(segments[0])
		if err != nil {
			t.Fatal(err)
		}
		data[7] = format
		if err := os.WriteFile(segments[0], data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(2)
	l = open(t, cfg)
	if err := l.Health(); err != nil {
		t.Errorf("one that is left alone is no failure of the disk: %v", err)
	}
	fill(l, 1, High, 0)
	if lag := l.Reader("a").Lag(); lag != 1 {
		t.Errorf("lag %d, want 1", lag)
	}
	closeLog(t, l)
	rewrite(1)
	l = open(t, cfg)
	if all := drain(t, l.Reader("a")); len(all) != 4 || all[0].Seq != 1 || len(l.Losses()) > 0 {
		t.Errorf("%d records, want 4; lost: %v", len(all), l.Losses())
	}
	closeLog(t, l)
}
