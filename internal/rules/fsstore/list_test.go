package fsstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bittern/internal/rules"
	"bittern/internal/rules/storetest"
)

// listed starts a store with two rules that use a list, and the list.
func listed(t *testing.T, value string) (*fixture, *rules.Subscription) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "rules")
	must(t, os.MkdirAll(filepath.Join(dir, ListsName), 0o700))
	fill(t, dir, map[string]string{
		"a.yml": storetest.Listed("R1", 1), "b.yml": storetest.Listed("R2", 1), "lists/tools.yml": "- " + value + "\n",
	})
	f := openStore(t, config(dir, brief))
	return f, f.Changes()
}

// both receives the two rules as one set, and checks which value their list has.
func both(t *testing.T, f *fixture, sub *rules.Subscription, value string) {
	t.Helper()
	changes := storetest.Expect(t, sub, "definition R1 v1", "definition R2 v1")
	if set := changes[0].Set; set.ID == 0 || set.Size != 2 || !set.Whole || changes[1].Set != set {
		t.Errorf("they are of sets %+v and %+v", set, changes[1].Set)
	}
	wantValue(t, f, value)
}

func wantValue(t *testing.T, f *fixture, value string) {
	t.Helper()
	want := rules.ParseList("tools", "", []byte("- "+value+"\n"), rules.Options{}).Lists[0]
	for _, r := range f.Load() {
		if !r.Uses()["tools"].Same(want) {
			t.Errorf("%s has not the list of %s", r.ID, value)
		}
	}
}

func TestListFiles(t *testing.T) {
	f, sub := listed(t, "/a")
	wantValue(t, f, "/a")
	list := f.file("lists/tools.yml")
	must(t, os.WriteFile(list, []byte("- /b\n"), 0o600)) // in place
	both(t, f, sub, "/b")
	f.Put(t, "tools.yml.tmp", "description: all\nvalues:\n- /c\n")
	must(t, os.Rename(f.file("tools.yml.tmp"), list))
	both(t, f, sub, "/c")
	fill(t, f.dir, map[string]string{"lists/tools.yml.swp": "- /x\n", "lists/.hold": "", "lists/tools.yml": "# only a comment is new\n- /c\n"})
	must(t, os.Mkdir(f.file("lists/deeper"), 0o700))
	fill(t, f.dir, map[string]string{"lists/deeper/tools.yml": "- /x\n"})
	storetest.Quiet(t, f, sub)

	must(t, os.Rename(list, f.file("lists/tools.yaml")))
	storetest.Quiet(t, f, sub)
	must(t, os.Remove(f.file("lists/tools.yaml")))
	storetest.Expect(t, sub, "rejected R1", "rejected R2")
	storetest.WantProblem(t, f, "a.yml", "unknown list \"tools\" (a list is a file lists/tools.yml below", "R1")
	fill(t, f.dir, map[string]string{"lists/tools.yml": "- {a: b}\n"})
	storetest.Expect(t, sub, "rejected", "rejected R1", "rejected R2")
	storetest.WantProblem(t, f, "lists/tools.yml", "lists/tools.yml:1:3: a value of list tools must be")
	storetest.WantProblem(t, f, "b.yml", "list tools can't be used: "+list+":1:3: ", "R2")
	must(t, os.WriteFile(list, nil, 0o600))
	storetest.Expect(t, sub, "rejected", "rejected R1", "rejected R2")
	storetest.WantProblem(t, f, "lists/tools.yml", "list tools is empty")
	must(t, os.Remove(list))
	must(t, os.Mkdir(list, 0o700))
	storetest.Expect(t, sub, "rejected", "rejected R1", "rejected R2")
	must(t, os.Remove(list))
	storetest.Expect(t, sub, "rejected R1", "rejected R2")
	must(t, os.WriteFile(list, []byte("- /d\n"), 0o600))
	both(t, f, sub, "/d")
	storetest.Quiet(t, f, sub)
	if got := f.Problems(); got != nil {
		t.Errorf("problems %+v remain", got)
	}
}

// The directory of lists comes, goes, is renamed, replaced and exchanged.
func TestListsDirectory(t *testing.T) {
	f, sub := listed(t, "/a")
	lists, away := f.file("lists"), f.file("lists.away")
	for i := range 3 {
		must(t, os.Rename(lists, away))
		storetest.Expect(t, sub, "rejected R1", "rejected R2")
		fill(t, away, map[string]string{"tools.yml": fmt.Sprintf("- /b%d\n", i)})
		must(t, os.Rename(away, lists))
		both(t, f, sub, fmt.Sprintf("/b%d", i))
		must(t, os.WriteFile(filepath.Join(lists, "tools.yml"), fmt.Appendf(nil, "- /c%d\n", i), 0o600))
		both(t, f, sub, fmt.Sprintf("/c%d", i))
	}
	must(t, os.RemoveAll(lists))
	storetest.Expect(t, sub, "rejected R1", "rejected R2")
	must(t, os.WriteFile(lists, []byte("not a directory"), 0o600))
	must(t, os.Remove(lists))
	must(t, os.Mkdir(lists, 0o700))
	must(t, os.WriteFile(filepath.Join(lists, "tools.yml"), []byte("- /d\n"), 0o600))
	both(t, f, sub, "/d")

	// Nobody sees lists without their directory in between.
	must(t, os.Mkdir(away, 0o700))
	must(t, os.WriteFile(filepath.Join(away, "tools.yml"), []byte("- /e\n"), 0o600))
	must(t, unix.Renameat2(unix.AT_FDCWD, lists, unix.AT_FDCWD, away, unix.RENAME_EXCHANGE))
	both(t, f, sub, "/e")
	storetest.Quiet(t, f, sub)

	// A rules directory that never had any.
	plain := start(t, brief, two())
	plainSub := plain.Changes()
	must(t, os.Mkdir(plain.file("lists"), 0o700))
	fill(t, plain.dir, map[string]string{"lists/tools.yaml": "[/a]", "c.yml": storetest.Listed("R3", 1)})
	for c := storetest.Next(t, plainSub); c.Kind == rules.Rejected; c = storetest.Next(t, plainSub) {
		continue // the rule may be seen first
	}
	storetest.Quiet(t, plain, plainSub)
	storetest.WantLive(t, plain, "R1v1 R2v1 R3v1")
}

// lists is a symbolic link, is switched, and leads nowhere for a while.
func TestListsLink(t *testing.T) {
	f, sub := listed(t, "/a")
	elsewhere := t.TempDir()
	for _, name := range []string{"one", "two"} {
		must(t, os.Mkdir(filepath.Join(elsewhere, name), 0o700))
		must(t, os.WriteFile(filepath.Join(elsewhere, name, "tools.yml"), []byte("- /"+name+"\n"), 0o600))
	}
	must(t, os.RemoveAll(f.file("lists")))
	storetest.Expect(t, sub, "rejected R1", "rejected R2")
	must(t, os.Symlink(filepath.Join(elsewhere, "one"), f.file("lists")))
	both(t, f, sub, "/one")
	must(t, os.Symlink(filepath.Join(elsewhere, "two"), f.file("switch")))
	must(t, os.Rename(f.file("switch"), f.file("lists")))
	both(t, f, sub, "/two")
	must(t, os.WriteFile(filepath.Join(elsewhere, "two", "tools.yml"), []byte("- /three\n"), 0o600))
	both(t, f, sub, "/three")
	must(t, os.Rename(filepath.Join(elsewhere, "two"), filepath.Join(elsewhere, "four")))
	storetest.Expect(t, sub, "rejected R1", "rejected R2")
	must(t, os.Rename(filepath.Join(elsewhere, "one"), filepath.Join(elsewhere, "two")))
	both(t, f, sub, "/one")
	storetest.Quiet(t, f, sub)
}

// The lists are those of a Kubernetes ConfigMap: of one that is the rules directory, and of one of
// their own.
func TestListsConfigMap(t *testing.T) {
	deploy := func(dir, version, at, value string) {
		t.Helper()
		must(t, os.MkdirAll(filepath.Join(dir, version, at), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, version, at, "tools.yml"), []byte("- "+value+"\n"), 0o600))
		must(t, os.Symlink(version, filepath.Join(dir, "..tmp")))
		must(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	}
	t.Run("whole", func(t *testing.T) {
		f, sub := listed(t, "/a")
		deploy(f.dir, "..1", "lists", "/b")
		must(t, os.RemoveAll(f.file("lists")))
		storetest.Expect(t, sub, "rejected R1", "rejected R2")
		must(t, os.Symlink("..data/lists", f.file("lists")))
		both(t, f, sub, "/b")
		for i := 2; i < 6; i++ {
			deploy(f.dir, fmt.Sprintf("..%d", i), "lists", fmt.Sprintf("/b%d", i))
			both(t, f, sub, fmt.Sprintf("/b%d", i))
		}
		storetest.Quiet(t, f, sub)
	})
	t.Run("lists alone", func(t *testing.T) {
		f, sub := listed(t, "/a")
		deploy(f.file("lists"), "..1", "", "/b")
		must(t, os.Symlink("..data/tools.yml", f.file("lists/tmp")))
		must(t, os.Rename(f.file("lists/tmp"), f.file("lists/tools.yml")))
		both(t, f, sub, "/b")
		for i := 2; i < 6; i++ {
			deploy(f.file("lists"), fmt.Sprintf("..%d", i), "", fmt.Sprintf("/b%d", i))
			both(t, f, sub, fmt.Sprintf("/b%d", i))
		}
		storetest.Quiet(t, f, sub)
	})
}

// Half of a list is no list: it is not read while its writer is at it.
func TestListBeingWritten(t *testing.T) {
	f, sub := listed(t, "/a")
	for i := range 5 {
		file, err := os.OpenFile(f.file("lists/tools.yml"), os.O_WRONLY|os.O_TRUNC, 0)
		must(t, err)
		if i%2 == 0 { // a tool that makes the file anew
			must(t, errors.Join(file.Close(), os.Remove(f.file("lists/tools.yml"))))
			file, err = os.OpenFile(f.file("lists/tools.yml"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			must(t, err)
		}
		_, err = fmt.Fprintf(file, "- /x%d\n", i)
		must(t, err)
		f.Put(t, "z.yml", storetest.Text("Z", i+1)) // so that something is read meanwhile
		for c := storetest.Next(t, sub); c.RuleID != "Z"; c = storetest.Next(t, sub) {
			if c.Kind == rules.Definition {
				t.Fatalf("%s is live with half of a list", storetest.Show(c))
			}
		}
		_, err = fmt.Fprintf(file, "- /y%d\n", i)
		must(t, errors.Join(err, file.Close()))
		want := rules.ParseList("tools", "", fmt.Appendf(nil, "[/x%d, /y%d]", i, i), rules.Options{}).Lists[0]
		for {
			c := storetest.Next(t, sub)
			if c.Kind == rules.Definition && !c.Rule.Uses()["tools"].Same(want) {
				t.Fatalf("%s is live with half of a list", storetest.Show(c))
			}
			if c.Kind == rules.Definition && c.RuleID == "R2" {
				break
			}
		}
	}
}

// The rescan finds what no event tells of a list.
func TestRescanFindsLists(t *testing.T) {
	outside := t.TempDir()
	l, sub, log := patrolling(t, func(dir string) {
		must(t, os.Mkdir(filepath.Join(dir, ListsName), 0o700))
		fill(t, dir, map[string]string{"a.yml": storetest.Listed("R1", 1), "b.yml": storetest.Listed("R2", 1)})
		fill(t, outside, map[string]string{"target": "- /a\n"})
		must(t, os.Symlink(filepath.Join(outside, "target"), filepath.Join(dir, "lists/tools.yml")))
	})
	round(t, l)
	wantMissed(t, l, log, 0)
	rewrite(t, filepath.Join(outside, "target"), "- /b\n")
	round(t, l)
	wantMissed(t, l, log, 1)
	storetest.Expect(t, sub, "definition R1 v1", "definition R2 v1")
	must(t, os.Remove(filepath.Join(outside, "target")))
	round(t, l)
	round(t, l) // what can't be read is in doubt first
	wantMissed(t, l, log, 2)
	if text := storetest.Expect(t, sub, "rejected", "rejected R1", "rejected R2")[1].Problems.Error(); !strings.Contains(text, "symbolic link leads nowhere") {
		t.Errorf("the problem is %s", text)
	}
}
