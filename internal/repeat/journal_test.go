package repeat

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// kept are windows as they are read back.
var sameWindow = cmp.Options{
	cmpopts.IgnoreUnexported(Window{}, rules.Rule{}),
	cmpopts.EquateApproxTime(0),
}

func windowOf(r *rules.Rule, user uint32) *Window {
	at := time.Unix(1e9, 5)
	return &Window{
		Rule: r, Source: Source{Per: rules.PerProcess, PID: 4711, Start: time.Hour, User: user}, Executable: "/bin/x\xff",
		Boot: "5b1c6a2e-55c1-4fd8-9a0e-2d7e0a1f9d11", Opened: 2 * time.Hour, Began: at,
		Written: 3, Held: 9, Announced: 7, Told: 4, ToldAt: 3 * time.Hour, First: at.Add(time.Second), Last: at.Add(time.Minute),
		Record: Record{Instance: strings.Repeat("a", 64), Class: event.FileOpen, CPU: 3, Sequence: 1 << 40}, LastHeld: true,
	}
}

// journal makes one with some windows, and closes its file as a death does.
func journal(t *testing.T, dir string, all ...*Window) {
	t.Helper()
	j, found, damage, err := OpenJournal(dir, parseRule)
	if err != nil || len(found)+len(damage) > 0 {
		t.Fatal(found, damage, err)
	}
	for _, win := range all {
		for range 2 { // both copies
			if win.place == 0 {
				if err := j.begin(win); err != nil {
					t.Fatal(err)
				}
			}
			if err := j.save(win); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := j.file.Close(); err != nil {
		t.Fatal(err)
	}
}

func reopen(t *testing.T, dir string) (found []*Window, damage []error) {
	t.Helper()
	j, found, damage, err := OpenJournal(dir, parseRule)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.file.Close() }) // once more, for some
	return found, damage
}

func TestJournalKeepsWindows(t *testing.T) {
	dir := t.TempDir()
	a, b := ruleOf(t, "A", 2, 3, time.Minute), ruleOf(t, strings.Repeat("B", 64), 1, 1, time.Hour)
	want := []*Window{windowOf(a, 1), windowOf(b, 2), windowOf(a, 3)}
	want[1].Executable = strings.Repeat("/x", 300)
	journal(t, dir, want...)

	j, found, damage, err := OpenJournal(dir, parseRule)
	if err != nil || len(damage) > 0 {
		t.Fatal(damage, err)
	}
	if !strings.HasPrefix(want[1].Executable, found[1].Executable) || len(found[1].Executable) < 100 {
		t.Errorf("executable %q", found[1].Executable)
	}
	want[1].Executable = found[1].Executable
	if diff := cmp.Diff(want, found, sameWindow); diff != "" {
		t.Error(diff)
	}
	if _, _, _, err := OpenJournal(dir, parseRule); err == nil || !strings.Contains(err.Error(), "does another agent run?") {
		t.Errorf("two agents use one journal: %v", err)
	}
	for _, win := range found {
		if err := j.free(win); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it has left %v, %v", left, err)
	}
}

// A rule whose document can't be read is known by what lies with its windows.
func TestJournalWithoutDocument(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"gone":      os.Remove,
		"cut short": func(path string) error { return os.Truncate(path, 40) },
		"another": func(path string) error {
			return os.WriteFile(path, ruleOf(t, "A", 3, 3, time.Minute).Document(), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, r := t.TempDir(), ruleOf(t, "A", 2, 3, time.Minute)
			journal(t, dir, windowOf(r, 1))
			if err := spoil(filepath.Join(dir, "rule-"+r.Hash.String())); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "rule-x.new"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			found, damage := reopen(t, dir)
			if len(found) != 1 || len(damage) != 1 || !strings.Contains(damage[0].Error(), "rule A version 2: ") {
				t.Fatal(found, damage)
			}
			got := found[0].Rule
			limit := *r.Limit
			limit.Per = rules.PerProcess // of the window
			if got.ID != "A" || got.Version != 2 || got.Hash != r.Hash || *got.Limit != limit {
				t.Errorf("rule %+v, limit %+v", got, got.Limit)
			}
			if left, err := filepath.Glob(filepath.Join(dir, "rule-*")); err != nil || len(left) > 0 {
				t.Errorf("documents are left that no window needs: %v %v", left, err)
			}
		})
	}
}

func TestJournalIsDamaged(t *testing.T) {
	r := ruleOf(t, "A", 2, 3, time.Minute)
	older, newer := windowOf(r, 1), windowOf(r, 1)
	newer.Held++
	first := appendCopy(nil, older, 8)
	second := appendCopy(nil, newer, 9)
	flip := func(copy []byte) []byte {
		copy = append([]byte(nil), copy...)
		copy[200] ^= 4
		return copy
	}
	for name, tt := range map[string]struct {
		data   []byte
		want   *Window
		damage string
	}{
		"whole":                    {append(first[:512:512], second...), newer, ""},
		"the newer one is flipped": {append(first[:512:512], flip(second)...), older, "the other one counts"},
		"the older one is flipped": {append(flip(first), second...), newer, "the other one counts"},
		"both are":                 {append(flip(first), flip(second)...), nil, "it is damaged"},
		"truncated":                {append(first[:512:512], second[:150]...), older, "the other one counts"},
		"one copy":                 {first, older, ""},
		"the first is cut":         {first[:90], nil, "it is damaged"},
		"the second is cut":        {append(make([]byte, 512), first[:90]...), nil, "it is damaged"},
		"no window":                {[]byte("what is this?"), nil, "it is damaged"},
		"empty":                    {nil, nil, ""},
		"never written":            {make([]byte, 2048), nil, ""},
		"free":                     {append(first[:512:512], appendCopy(nil, nil, 9)...), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, windowsFile), tt.data, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "rule-"+r.Hash.String()), r.Document(), 0o600); err != nil {
				t.Fatal(err)
			}
			found, damage := reopen(t, dir)
			if got := fmt.Sprint(errors.Join(damage...)); len(damage) > 1 || (tt.damage == "") != (len(damage) == 0) || !strings.Contains(got, tt.damage) {
				t.Errorf("damage: %s", got)
			}
			var want []*Window
			if tt.want != nil {
				want = []*Window{tt.want}
			}
			if diff := cmp.Diff(want, found, sameWindow, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What another build has written is put aside, not overwritten.
func TestJournalOfAnotherBuild(t *testing.T) {
	for _, format := range []byte{0, 2, 255} {
		dir := t.TempDir()
		r := ruleOf(t, "A", 2, 3, time.Minute)
		other := appendCopy(nil, windowOf(r, 1), 1)
		other[3] = format
		data := append(appendCopy(nil, windowOf(r, 2), 1), make([]byte, 512)...)
		data = append(data, other...)
		path := filepath.Join(dir, windowsFile)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		found, damage := reopen(t, dir)
		if len(found) > 0 || len(damage) != 1 || !errors.Is(damage[0], errFormat) {
			t.Fatalf("format %d: %v, %v", format, found, damage)
		}
		if kept, err := os.ReadFile(path + ".old"); err != nil || string(kept) != string(data) {
			t.Errorf("it is not kept: %v", err)
		}
		if now, err := os.ReadFile(path); err != nil || len(now) != 0 {
			t.Errorf("it was not begun anew: %d bytes, %v", len(now), err)
		}
	}
}

// FuzzReadPlace holds the reader to what was written: whatever happens to the bytes, a window that is read is
// one that was written there, or the bytes say so by a right checksum.
func FuzzReadPlace(f *testing.F) {
	r := &rules.Rule{ID: "A", Version: 2, Limit: &rules.Limit{Per: rules.PerProcess, Max: 3, Window: time.Minute}}
	older, newer := windowOf(r, 1), windowOf(r, 1)
	newer.Held++
	whole := append(appendCopy(nil, older, 8), appendCopy(nil, newer, 9)...)
	f.Add(whole, 0, byte(0), len(whole))
	f.Add(whole, 700, byte(1), len(whole))
	f.Add(whole, 100, byte(1), 600)
	f.Add([]byte("BRW\x01"), 3, byte(3), 4)
	f.Fuzz(func(t *testing.T, data []byte, at int, flip byte, length int) {
		data = append([]byte(nil), data[:min(len(data), max(0, length), placeBytes)]...)
		if at >= 0 && at < len(data) {
			data[at] ^= flip
		}
		win, writes, err := readPlace(data)
		if win == nil {
			return
		}
		if errors.Is(err, errDamaged) || errors.Is(err, errFormat) {
			t.Fatalf("a window, and %v", err)
		}
		again, n, err := readCopy(appendCopy(nil, win, writes))
		if err != nil || n != writes {
			t.Fatal(n, writes, err)
		}
		if diff := cmp.Diff(win, again, sameWindow); diff != "" {
			t.Error(diff)
		}
	})
}
