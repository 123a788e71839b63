package fsstore

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bittern/internal/rules"
	"bittern/internal/rules/storetest"
)

func two() map[string]string {
	return map[string]string{"a.yml": storetest.Text("R1", 1), "b.yml": storetest.Text("R2", 1)}
}

// gone receives the announcement that the directory is gone, and checks that
// all its rules stay.
func gone(t *testing.T, f *fixture, sub *rules.Subscription, live string) {
	t.Helper()
	storetest.Expect(t, sub, "rejected")
	storetest.WantLive(t, f, live)
	if got := f.Problems(); len(got) == 0 || got[0].Source != f.dir {
		t.Errorf("problems %+v don't tell of the directory", got)
	}
}

func TestDirectoryRenamedAwayAndReplaced(t *testing.T) {
	f := start(t, brief, two())
	sub := f.Changes()
	must(t, os.Rename(f.dir, f.dir+".old"))
	gone(t, f, sub, "R1v1 R2v1")
	fill(t, f.dir+".old", map[string]string{"a.yml": storetest.Text("R1", 9)}) // nobody's business
	fresh := filepath.Join(f.stage, "fresh")
	must(t, os.Mkdir(fresh, 0o700))
	fill(t, fresh, map[string]string{"a.yml": storetest.Text("R1", 2), "c.yml": storetest.Text("R2", 1), "d.yml": storetest.Text("R3", 1)})
	must(t, os.Rename(fresh, f.dir))
	storetest.Expect(t, sub, "definition R1 v2", "definition R3 v1")
	storetest.Quiet(t, f, sub)
	if got := f.Problems(); got != nil {
		t.Errorf("problems %+v remain", got)
	}
}

func TestDirectoryRenamedAwayAndBack(t *testing.T) {
	f := start(t, brief, two())
	sub := f.Changes()
	for version := 1; version <= 3; version++ {
		must(t, os.Rename(f.dir, f.dir+".away"))
		gone(t, f, sub, fmt.Sprintf("R1v%d R2v1", version))
		if err := f.Health(); err == nil || !strings.Contains(err.Error(), f.dir+" is not watched: rules directory is gone") {
			t.Errorf("health is %v", err)
		}
		fill(t, f.dir+".away", map[string]string{"a.yml": storetest.Text("R1", version+1)})
		must(t, os.Rename(f.dir+".away", f.dir))
		storetest.Expect(t, sub, fmt.Sprintf("definition R1 v%d", version+1))
		storetest.Quiet(t, f, sub)
		must(t, f.Health())
	}
}

func TestDirectoryExchangedInOneStep(t *testing.T) {
	f := start(t, brief, two())
	sub := f.Changes()
	fresh := filepath.Join(f.stage, "fresh")
	must(t, os.Mkdir(fresh, 0o700))
	fill(t, fresh, map[string]string{"a.yml": storetest.Text("R1", 2)})
	must(t, unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, f.dir, unix.RENAME_EXCHANGE))
	storetest.Expect(t, sub, "definition R1 v2", "deleted R2")
	storetest.Quiet(t, f, sub)
}

func TestDirectoryDeletedAndMadeAnew(t *testing.T) {
	f := start(t, endless, two())
	sub := f.Changes()
	for round := 2; round < 5; round++ {
		must(t, os.RemoveAll(f.dir))
		gone(t, f, sub, fmt.Sprintf("R1v%d R2v1", round-1))
		must(t, os.Mkdir(f.dir, 0o700))
		fill(t, f.dir, map[string]string{"a.yml": storetest.Text("R1", round), "b.yml": storetest.Text("R2", 1)})
		storetest.Expect(t, sub, fmt.Sprintf("definition R1 v%d", round))
	}
}

func TestAncestorReplaced(t *testing.T) {
	for _, via := range []string{"", "link", "relative link"} {
		t.Run("via "+via, func(t *testing.T) {
			top := t.TempDir()
			real := filepath.Join(top, "etc", "bittern", "rules")
			must(t, os.MkdirAll(real, 0o700))
			fill(t, real, two())
			dir := real
			switch via {
			case "link":
				dir = filepath.Join(t.TempDir(), "link")
				must(t, os.Symlink(real, dir))
			case "relative link":
				must(t, os.Mkdir(filepath.Join(top, "sub"), 0o700))
				dir = filepath.Join(top, "sub", "link")
				must(t, os.Symlink("../etc/./bittern/rules", dir))
			}
			f := openStore(t, config(dir, endless))
			sub := f.Changes()
			must(t, os.Rename(filepath.Join(top, "etc"), filepath.Join(top, "old")))
			gone(t, f, sub, "R1v1 R2v1")
			must(t, os.MkdirAll(real, 0o700))
			f.Put(t, "a.yml", storetest.Text("R1", 2))
			f.Put(t, "b.yml", storetest.Text("R2", 2))
			storetest.Expect(t, sub, "definition R1 v2", "definition R2 v2")
		})
	}
}

// TestLinkSwitched switches a symbolic link on the way to the directory, as
// deployers do with releases: by an atomic rename of another link over it.
func TestLinkSwitched(t *testing.T) {
	byRename := func(to, link string) error {
		return errors.Join(os.Symlink(to, link+".new"), os.Rename(link+".new", link))
	}
	byTool := func(args ...string) func(to, link string) error {
		return func(to, link string) error {
			return exec.CommandContext(t.Context(), "ln", append(args, to, link)...).Run()
		}
	}
	for _, c := range []struct {
		name, below string
		switchLink  func(to, link string) error
	}{
		{"the directory", "", byRename}, {"above the directory", "rules", byRename},
		{"by ln -sfn", "", byTool("-sfn")}, {"by ln -sfT above", "rules", byTool("-sfT")},
	} {
		below, switchLink := c.below, c.switchLink
		t.Run(c.name, func(t *testing.T) {
			top := t.TempDir()
			for version := 1; version <= 3; version++ {
				dir := filepath.Join(top, fmt.Sprint("v", version), below)
				must(t, os.MkdirAll(dir, 0o700))
				fill(t, dir, map[string]string{"a.yml": storetest.Text("R1", version)})
			}
			link := filepath.Join(top, "current")
			must(t, os.Symlink("v1", link))
			f := openStore(t, config(filepath.Join(link, below), brief))
			sub := f.Changes()
			before := watches(t)
			for version := 2; version <= 3; version++ {
				must(t, switchLink(fmt.Sprint("v", version), link))
				storetest.Expect(t, sub, fmt.Sprintf("definition R1 v%d", version))
				storetest.Quiet(t, f, sub)
			}
			if after := watches(t); after != before {
				t.Errorf("%d watches before, %d after", before, after)
			}
		})
	}
}

// watches counts the watches of all inotify instances of the process.
func watches(t *testing.T) int {
	t.Helper()
	paths, err := filepath.Glob("/proc/self/fdinfo/*")
	must(t, err)
	count := 0
	for _, path := range paths {
		data, _ := os.ReadFile(path) // the one of the glob itself is gone
		count += strings.Count(string(data), "inotify wd:")
	}
	return count
}

// TestConfigMap does what the kubelet does to a mounted ConfigMap.
func TestConfigMap(t *testing.T) {
	dir := t.TempDir()
	publish := func(round int, files map[string]string) {
		t.Helper()
		data := fmt.Sprintf("..2026_01_0%d", round)
		must(t, os.Mkdir(filepath.Join(dir, data), 0o700))
		fill(t, filepath.Join(dir, data), files)
		old, _ := os.Readlink(filepath.Join(dir, "..data"))
		must(t, os.Symlink(data, filepath.Join(dir, "..data_tmp")))
		must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
		for name := range files {
			if err := os.Symlink("..data/"+name, filepath.Join(dir, name)); err != nil && !os.IsExist(err) {
				t.Fatal(err)
			}
		}
		shown, err := filepath.Glob(filepath.Join(dir, "*.yml"))
		must(t, err)
		for _, path := range shown {
			if _, keep := files[filepath.Base(path)]; !keep {
				must(t, os.Remove(path))
			}
		}
		if old != "" {
			must(t, os.RemoveAll(filepath.Join(dir, old)))
		}
	}
	publish(1, two())
	f := openStore(t, config(dir, brief))
	storetest.WantLive(t, f, "R1v1 R2v1")
	sub := f.Changes()
	publish(2, map[string]string{"a.yml": storetest.Text("R1", 2), "b.yml": storetest.Text("R2", 1)})
	storetest.Expect(t, sub, "definition R1 v2")
	publish(3, map[string]string{"a.yml": storetest.Text("R1", 3), "b.yml": storetest.Text("R2", 1), "c.yml": storetest.Text("R3", 1)})
	storetest.Expect(t, sub, "definition R1 v3", "definition R3 v1")
	publish(4, map[string]string{"a.yml": storetest.Text("R1", 4), "c.yml": storetest.Text("R3", 1)})
	kinds := map[string]int{}
	for kinds["deleted R2"] == 0 {
		kinds[storetest.Show(storetest.Next(t, sub))]++
	}
	// That b.yml leads nowhere until it is removed may be seen, or may not.
	delete(kinds, "rejected")
	if len(kinds) != 2 || kinds["definition R1 v4"] != 1 {
		t.Errorf("changes %v", kinds)
	}
	storetest.Quiet(t, f, sub)
	storetest.WantLive(t, f, "R1v4 R3v1")
}

func TestLinkInsideTheDirectory(t *testing.T) {
	f := start(t, brief, map[string]string{"source.txt": storetest.Text("R1", 1)})
	sub := f.Changes()
	must(t, os.Symlink("source.txt", f.file("a.yml")))
	storetest.Expect(t, sub, "definition R1 v1")
	f.Put(t, "source.txt", storetest.Text("R1", 2))
	storetest.Expect(t, sub, "definition R1 v2")
	f.Remove(t, "source.txt")
	storetest.Expect(t, sub, "rejected")
	storetest.WantProblem(t, f, "a.yml", "leads nowhere", "R1")
	f.Put(t, "source.txt", storetest.Text("R1", 2))
	f.Put(t, "source.txt", storetest.Text("R1", 3))
	storetest.Expect(t, sub, "definition R1 v3")
	storetest.WantProblem(t, f, "a.yml", "")
}

func TestInitialOrderOfDuplicates(t *testing.T) {
	f := start(t, brief, map[string]string{"c.yml": storetest.Text("R1", 3), "a.yml": storetest.Text("R1", 1), "b.yml": storetest.Text("R1", 2)})
	storetest.WantLive(t, f, "R1v1")
	for _, name := range []string{"b.yml", "c.yml"} {
		storetest.WantProblem(t, f, name, "already defined in "+f.file("a.yml")+":1")
	}
	sub := f.Changes()
	f.Remove(t, "a.yml")
	storetest.Expect(t, sub, "definition R1 v2")
	if got := f.Load()[0].Pos.File; got != f.file("b.yml") {
		t.Errorf("live from %s", got)
	}
	sources := []string{}
	for _, p := range f.Problems() {
		sources = append(sources, filepath.Base(p.Source))
	}
	if !slices.Equal(sources, []string{"c.yml"}) {
		t.Errorf("problems of %q", sources)
	}
}
