package fsstore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bittern/internal/rules"
	"bittern/internal/rules/storetest"
)

func TestGitCheckoutOfAThousandFiles(t *testing.T) {
	const files = 1000
	f := start(t, endless, nil)
	git := func(args ...string) {
		t.Helper()
		f.run(t, "git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "gc.auto=0"}, args...)...)
	}
	sub := f.Changes()
	git("init", "-q")
	for version := 1; version <= 2; version++ {
		for i := range files {
			fill(t, f.dir, map[string]string{fmt.Sprintf("r%d.yml", i): storetest.Text(fmt.Sprintf("R%d", i), version)})
		}
		git("add", ".")
		git("commit", "-q", "-m", "rules")
		git("tag", fmt.Sprint("v", version))
		got := map[string]int{}
		for range files {
			got[storetest.Show(storetest.Next(t, sub))]++
		}
		wantEach(t, got, files, version)
	}
	git("checkout", "-q", "v1")
	got := map[string]int{}
	for range files {
		got[storetest.Show(storetest.Next(t, sub))]++
	}
	wantEach(t, got, files, 1)
	f.Put(t, "fence.yml", storetest.Text("FENCE", 1))
	storetest.Expect(t, sub, "definition FENCE v1")
	if got := f.Problems(); got != nil {
		t.Errorf("problems are %+v", got)
	}
	f.wantLog(t)
}

func wantEach(t *testing.T, got map[string]int, files, version int) {
	t.Helper()
	for i := range files {
		if want := fmt.Sprintf("definition R%d v%d", i, version); got[want] != 1 {
			t.Fatalf("%q was announced %d times", want, got[want])
		}
	}
}

func TestNothingIsReadWhileItIsWritten(t *testing.T) {
	for name, flags := range map[string]int{
		"new file": os.O_CREATE | os.O_EXCL | os.O_WRONLY, "truncated file": os.O_TRUNC | os.O_WRONLY,
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, endless, nil)
			sub := f.Changes()
			if flags&os.O_TRUNC != 0 {
				f.Put(t, "a.yml", storetest.Join(storetest.Text("R1", 1), storetest.Text("R2", 1)))
				storetest.Expect(t, sub, "definition R1 v1", "definition R2 v1")
			}
			out, err := os.OpenFile(f.file("a.yml"), flags, 0o600)
			must(t, err)
			// The first half is a good file, the middle is not.
			text := storetest.Join(storetest.Text("R1", 2), storetest.Text("R2", 2))
			for i, piece := range []string{text[:len(text)/3], text[len(text)/3 : len(text)*2/3], text[len(text)*2/3:]} {
				_, err = out.WriteString(piece)
				must(t, err)
				// Others who close the file make events meanwhile.
				other, err := os.OpenFile(f.file("a.yml"), os.O_WRONLY, 0)
				must(t, err)
				must(t, other.Close())
				if i < 2 {
					fence := fmt.Sprintf("FENCE%d", i)
					f.Put(t, fence+".yml", storetest.Text(fence, 1))
					storetest.Expect(t, sub, "definition "+fence+" v1")
				}
			}
			must(t, out.Close())
			storetest.Expect(t, sub, "definition R1 v2", "definition R2 v2")
			storetest.WantProblem(t, f, "a.yml", "")
		})
	}
}

// TestNewFileWaitsForItsWriter links a file into the directory while it is open.
// What is there looks whole, and only the lease tells that it is not.
func TestNewFileWaitsForItsWriter(t *testing.T) {
	f := start(t, endless, nil)
	sub := f.Changes()
	outside := filepath.Join(f.stage, "outside")
	out, err := os.Create(outside)
	must(t, err)
	_, err = out.WriteString(storetest.Text("R1", 1))
	must(t, err)
	must(t, os.Link(outside, f.file("a.yml")))
	f.Put(t, "fence.yml", storetest.Text("FENCE", 1))
	storetest.Expect(t, sub, "definition FENCE v1")
	_, err = out.WriteString("---\n" + storetest.Text("R2", 1))
	must(t, err)
	must(t, out.Close())
	storetest.Expect(t, sub, "definition R1 v1", "definition R2 v1")
}

func TestRemovedAndMadeAnewIsNoDeletion(t *testing.T) {
	f := start(t, endless, map[string]string{"a.yml": storetest.Text("R1", 1)})
	sub := f.Changes()
	f.Remove(t, "a.yml")
	f.Put(t, "fence.yml", storetest.Text("FENCE", 1)) // the removal was read
	storetest.Expect(t, sub, "definition FENCE v1")
	storetest.WantLive(t, f, "FENCEv1 R1v1")
	out, err := os.Create(f.file("a.yml"))
	must(t, err)
	f.Put(t, "fence.yml", storetest.Text("FENCE", 2))
	storetest.Expect(t, sub, "definition FENCE v2")
	storetest.WantLive(t, f, "FENCEv2 R1v1")
	_, err = out.WriteString(storetest.Text("R1", 2))
	must(t, err)
	must(t, out.Close())
	storetest.Expect(t, sub, "definition R1 v2")
}

func TestFilesThatAreOnlyLinkedIn(t *testing.T) {
	text := storetest.Text("R1", 1)
	for name, make := range map[string]func(t *testing.T, f *fixture, outside string){
		"hard link":     func(t *testing.T, f *fixture, outside string) { must(t, os.Link(outside, f.file("a.yml"))) },
		"symbolic link": func(t *testing.T, f *fixture, outside string) { must(t, os.Symlink(outside, f.file("a.yml"))) },
		"unnamed file": func(t *testing.T, f *fixture, _ string) {
			fd, err := unix.Open(f.dir, unix.O_WRONLY|unix.O_TMPFILE|unix.O_CLOEXEC, 0o600)
			if err != nil {
				t.Skipf("no unnamed files here: %v", err)
			}
			_, err = unix.Write(fd, []byte(text))
			must(t, err)
			must(t, unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, f.file("a.yml"), unix.AT_SYMLINK_FOLLOW))
			must(t, unix.Close(fd))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, brief, nil)
			sub := f.Changes()
			outside := filepath.Join(f.stage, "outside")
			must(t, os.WriteFile(outside, []byte(text), 0o600))
			make(t, f, outside)
			storetest.Expect(t, sub, "definition R1 v1")
			f.Remove(t, "a.yml")
			storetest.Expect(t, sub, "deleted R1")
			storetest.Quiet(t, f, sub)
		})
	}
}

func TestNamesThatAreNotRuleFilesCostNothing(t *testing.T) {
	names := []string{"a.yml~", ".a.yml.swp", ".a.yml", ".#a.yml", ".ansible_tmp0a.yml", "a.new.yml", "#a.yml#", "4913", "a.yml.tmp", "a b.yml", "a.YML", ".yml", ".yaml", "ä.yml", "a.yml\n", "a.json", "yml"}
	cfg := config(t.TempDir(), brief)
	var parsed []string
	parse := cfg.Parse
	cfg.Parse = func(path string, data []byte, lists rules.Lists) *rules.File {
		parsed = append(parsed, filepath.Base(path))
		return parse(path, data, lists)
	}
	f := openStore(t, cfg)
	sub := f.Changes()
	for _, name := range names {
		if Accepts(name) {
			t.Errorf("%q is accepted", name)
		}
		must(t, os.WriteFile(f.file(name), []byte("{not yaml"), 0o600))
	}
	must(t, os.Mkdir(f.file("directory"), 0o700))
	storetest.Quiet(t, f, sub)
	f.Stop()
	if got := strings.Join(parsed, " "); got != "zz-fence.yml" {
		t.Errorf("parsed %q", got)
	}
	for _, name := range []string{"a.yml", "a.yaml", "A-b_9.yml", "-.yaml", "a" + strings.Repeat("b", 200) + ".yml"} {
		if !Accepts(name) {
			t.Errorf("%q is not accepted", name)
		}
	}
}
