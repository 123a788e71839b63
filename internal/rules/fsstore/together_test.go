package fsstore

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"bittern/internal/rules"
	"bittern/internal/rules/storetest"
)

// TestMendingIsNoDeletion mends a file that a set waits for by removing it and making it anew.
func TestMendingIsNoDeletion(t *testing.T) {
	f := start(t, endless, two())
	sub := f.Changes()
	f.Together(t, func() {
		f.Put(t, "a.yml", storetest.BadText("R1"))
		f.Put(t, "b.yml", storetest.Text("R2", 2))
	})
	storetest.Expect(t, sub, "rejected R1", "rejected")
	f.Remove(t, "a.yml")
	f.Put(t, "a.yml", storetest.Text("R1", 2))
	wantSet(t, sub, "definition R1 v2", "definition R2 v2")
}

// TestSetWaitsForWriters: the hold is gone, and a file of the set is still being written.
func TestSetWaitsForWriters(t *testing.T) {
	f := start(t, brief, two())
	sub := f.Changes()
	f.hold(t)
	out, err := os.Create(f.file("c.yml"))
	must(t, err)
	_, err = out.WriteString(storetest.Text("R3", 1)[:40])
	must(t, err)
	f.Put(t, "a.yml", storetest.Text("R1", 2))
	f.release(t)
	until(t, func() bool { return storetest.ProblemsOf(f, HoldName).Problems == nil })
	_, err = out.WriteString(storetest.Text("R3", 1)[40:])
	must(t, err)
	must(t, out.Close())
	wantSet(t, sub, "definition R1 v2", "definition R3 v1")
	storetest.Quiet(t, f, sub)
}

// TestSetWaitsForAllOfAFile: what is there of it would be right.
func TestSetWaitsForAllOfAFile(t *testing.T) {
	cfg := config(t.TempDir(), brief)
	fill(t, cfg.Dir, two())
	var parsed atomic.Int32
	parse := cfg.Parse
	cfg.Parse = func(path string, data []byte, lists rules.Lists) *rules.File {
		if strings.Contains(string(data), "rule_version: 3") {
			parsed.Add(1)
		}
		return parse(path, data, lists)
	}
	f := openStore(t, cfg)
	sub := f.Changes()
	f.hold(t)
	f.Put(t, "a.yml", storetest.Text("R1", 2))
	f.Put(t, "b.yml", storetest.Text("R2", 2))
	out, err := os.OpenFile(f.file("a.yml"), os.O_WRONLY|os.O_TRUNC, 0)
	must(t, err)
	_, err = out.WriteString(storetest.Text("R1", 3))
	must(t, err)
	f.release(t)
	until(t, func() bool { return parsed.Load() > 0 })
	_, err = out.WriteString("---\n" + storetest.Text("R3", 1))
	must(t, err)
	must(t, out.Close())
	wantSet(t, sub, "definition R1 v3", "definition R2 v2", "definition R3 v1")
	storetest.Quiet(t, f, sub)
}

// TestSwitchIsOneSet: what a switch of a link gives new content belongs together, and a part of
// it that is wrong holds up itself only.
func TestSwitchIsOneSet(t *testing.T) {
	top := t.TempDir()
	for version := 1; version <= 2; version++ {
		dir := filepath.Join(top, fmt.Sprint("v", version))
		must(t, os.Mkdir(dir, 0o700))
		fill(t, dir, map[string]string{"a.yml": storetest.Text("R1", version), "b.yml": storetest.Text("R2", version), "c.yml": storetest.Text("R3", 1)})
	}
	fill(t, filepath.Join(top, "v2"), map[string]string{"c.yml": storetest.BadText("R3")})
	through := filepath.Join(top, "mount")
	must(t, os.Mkdir(through, 0o700))
	must(t, os.Symlink("../v1", filepath.Join(through, "..data")))
	for _, name := range []string{"a.yml", "b.yml", "c.yml"} {
		must(t, os.Symlink("..data/"+name, filepath.Join(through, name)))
	}
	must(t, os.Symlink("v1", filepath.Join(top, "current")))
	for _, c := range []struct{ dir, link, to string }{
		{through, filepath.Join(through, "..data"), "../v2"}, {filepath.Join(top, "current"), filepath.Join(top, "current"), "v2"},
	} {
		f := openStore(t, config(c.dir, brief))
		sub := f.Changes()
		must(t, os.Symlink(c.to, c.link+"_tmp"))
		must(t, os.Rename(c.link+"_tmp", c.link))
		for _, change := range storetest.Expect(t, sub, "definition R1 v2", "definition R2 v2", "rejected R3") {
			if change.Set.ID == 0 || change.Set.Size != 3 || change.Set.Whole {
				t.Errorf("%s is of set %+v", storetest.Show(change), change.Set)
			}
		}
		storetest.Quiet(t, f, sub)
	}
}

// TestManySets edits under holds as fast as it can, beside edits that are none of a set: after each
// set, and each other change, the rules of the set are of one generation.
func TestManySets(t *testing.T) {
	const files, generations = 6, 150
	f := start(t, brief, nil)
	sub := f.Changes()
	f.Together(t, func() {
		for i := range files {
			f.Put(t, fmt.Sprintf("s%d.yml", i), storetest.Text(fmt.Sprint("S", i), 1))
		}
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for g := 2; g <= generations; g++ {
			f.Put(t, "other.yml", storetest.Text("OTHER", g))
			f.Put(t, "s0.yml", storetest.Text("S0", g-1)) // as it is
			f.Together(t, func() {
				for _, i := range rand.Perm(files) {
					f.Put(t, fmt.Sprintf("s%d.yml", i), storetest.Text(fmt.Sprint("S", i), g))
				}
			})
		}
	}()
	live, open := map[string]int{}, 0
	for live["S0"] < generations || open > 0 {
		c := storetest.Next(t, sub)
		if c.Kind != rules.Definition {
			t.Fatalf("got %s: %v", storetest.Show(c), c.Problems)
		}
		live[c.RuleID] = c.Rule.Version
		if open > 0 {
			open--
		} else if c.Set.Size > 1 {
			open = c.Set.Size - 1
		}
		for i := 1; open == 0 && i < files; i++ {
			if live[fmt.Sprint("S", i)] != live["S0"] {
				t.Fatalf("live are %v", live)
			}
		}
	}
	<-done
}
