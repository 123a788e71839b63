package pathwatch

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for something that should come at once.
const patience = 30 * time.Second

const gone = "<gone>"

// followed is a file that is followed, and what was handed out of it.
type followed struct {
	path string
	seen chan string // without what is the same as before
}

func follow(t *testing.T, path string) *followed {
	t.Helper()
	f := &followed{path: path, seen: make(chan string, 1000)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	last := ""
	running.Go(func() {
		File{Path: path, Most: 1 << 16, Edited: func(data []byte, err error) {
			now := string(data)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				now = gone
			case err != nil:
				now = err.Error()
			}
			if now != last {
				last = now
				f.seen <- now
			}
		}, Unwatched: func(err error) { t.Errorf("not watched: %v", err) }}.Follow(ctx)
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return f
}

// expect waits for exactly this content.
func (f *followed) expect(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-f.seen:
		if got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("nothing came, want %q", want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

func shell(t *testing.T, dir, script string) {
	t.Helper()
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}

// TestEdits edits a file in the ways that editors and deployers have. Each edit is seen once, and nothing
// that is between two of them.
func TestEdits(t *testing.T) {
	dir := t.TempDir()
	f := follow(t, filepath.Join(dir, "file"))
	f.expect(t, gone)
	for _, edit := range []struct{ what, script, want string }{
		{"made", "printf one > file", "one"},
		{"in place", "printf two > file", "two"},
		{"in pieces", "{ printf th; sleep 0.3; printf ree; } > file", "three"},
		{"renamed over", "printf four > .tmp; mv .tmp file", "four"},
		{"sed", "sed -i s/four/five/ file", "five"},
		{"backup", "mv file file~; printf six > file", "six"},
		{"removed and made anew", "rm file; printf seven > file", "seven"},
		{"removed", "rm file", gone},
		{"linked", "printf eight > target; ln -s target file", "eight"},
		{"target written", "printf nine > target", "nine"},
		{"target renamed over", "printf ten > .tmp; mv .tmp target", "ten"},
		{"link switched", "printf eleven > other; ln -s other .link; mv -T .link file", "eleven"},
		{"as a ConfigMap", "mkdir ..1 ..2; printf 12 > ..1/file; printf 13 > ..2/file; ln -s ..1 ..data; ln -sf ..data/file file", "12"},
		{"as a ConfigMap, switched", "ln -s ..2 ..tmp; mv -T ..tmp ..data", "13"},
		{"file in the place of the link", "printf 14 > .tmp; mv -T .tmp file", "14"},
	} {
		shell(t, dir, edit.script)
		t.Log(edit.what)
		f.expect(t, edit.want)
	}
}

// TestDirectoryComesAndGoes makes, removes and exchanges directories on the way.
func TestDirectoryComesAndGoes(t *testing.T) {
	top := t.TempDir()
	f := follow(t, filepath.Join(top, "a", "b", "file"))
	f.expect(t, gone)
	shell(t, top, "mkdir -p a/b; printf one > a/b/file")
	f.expect(t, "one")
	shell(t, top, "rm -r a")
	f.expect(t, gone)
	shell(t, top, "mkdir -p x/b; printf two > x/b/file; mv x a")
	f.expect(t, "two")
	shell(t, top, "mkdir -p y/b; printf three > y/b/file; mv a old; ln -s y a")
	f.expect(t, "three")
	shell(t, top, "printf four > y/b/file; printf wrong > old/b/file")
	f.expect(t, "four")
}

// TestNothingIsReadWhileItIsWritten writes for longer than what is waited for.
func TestNothingIsReadWhileItIsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	put(t, path, "old")
	f := follow(t, path)
	f.expect(t, "old")
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	must(t, err)
	must(t, os.Chmod(path, 0o600)) // has the file looked at
	if _, err := Read(path, 10); !errors.Is(err, ErrUnsettled) {
		t.Errorf("got %v, want %v", err, ErrUnsettled)
	}
	_, err = file.WriteString("new")
	must(t, err)
	must(t, file.Close())
	f.expect(t, "new")
}

func TestUnfitFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "long"), strings.Repeat("x", 11))
	for name, want := range map[string]string{"": "is not a file", "long": "the limit is 10", "nowhere": "no such file"} {
		if _, err := Read(filepath.Join(dir, name), 10); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", name, err, want)
		}
	}
}
