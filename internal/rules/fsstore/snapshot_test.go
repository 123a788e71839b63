package fsstore

import (
	"crypto/sha256"
	"maps"
	"slices"
	"strings"
	"testing"

	"bittern/internal/rules/storetest"
)

// wantSnapshot waits until a snapshot has these files, each as "NAME text".
func wantSnapshot(t *testing.T, f *fixture, whole bool, want map[string]string) Snapshot {
	t.Helper()
	sums := map[string][32]byte{}
	for name, text := range want {
		sums[name] = sha256.Sum256([]byte(text))
	}
	for {
		got := f.Snapshot()
		if maps.Equal(got.Files, sums) {
			if got.Whole != whole {
				t.Errorf("whole is %v", got.Whole)
			}
			return got
		}
		select {
		case <-f.Revised():
		case <-t.Context().Done():
			t.Fatalf("it has %q", slices.Sorted(maps.Keys(got.Files)))
		}
	}
}

func TestSnapshots(t *testing.T) {
	r1, r2 := storetest.Text("R1", 1), storetest.Text("R2", 1)
	f := start(t, brief, map[string]string{"a.yml": r1})
	wantSnapshot(t, f, false, map[string]string{"a.yml": r1})
	f.Put(t, "b.yml", r2)
	if got := wantSnapshot(t, f, false, map[string]string{"a.yml": r1, "b.yml": r2}); len(got.Rules) != 2 || len(got.Problems) != 0 {
		t.Errorf("got %+v", got)
	}
	// What makes no change is told too.
	f.Put(t, "b.yml", "# a comment\n"+r2)
	wantSnapshot(t, f, false, map[string]string{"a.yml": r1, "b.yml": "# a comment\n" + r2})
	f.Remove(t, "b.yml")
	wantSnapshot(t, f, false, map[string]string{"a.yml": r1})

	// A set that waits: its contents, and the rules that are live.
	f.Together(t, func() {
		f.Put(t, "b.yml", storetest.BadText("R2"))
		f.Put(t, "c.yml", r2)
		f.Remove(t, "a.yml")
	})
	got := wantSnapshot(t, f, true, map[string]string{"b.yml": storetest.BadText("R2"), "c.yml": r2})
	if len(got.Rules) != 1 || got.Rules[0].ID != "R1" || len(got.Problems) == 0 {
		t.Errorf("got %+v", got)
	}
	f.Put(t, "b.yml", storetest.ToolsText("/a"))
	wantSnapshot(t, f, true, map[string]string{"b.yml": storetest.ToolsText("/a"), "c.yml": r2})
	// Rules of a list change together, but that is no set of its author's.
	f.Put(t, "b.yml", storetest.ToolsText("/b"))
	wantSnapshot(t, f, false, map[string]string{"b.yml": storetest.ToolsText("/b"), "c.yml": r2})
	f.Put(t, "d.yml", strings.Repeat("#", 1<<20+1)) // too large to be read
	for len(f.Problems()) == 0 {
		<-f.Revised()
	}
	wantSnapshot(t, f, false, map[string]string{"b.yml": storetest.ToolsText("/b"), "c.yml": r2})
}
