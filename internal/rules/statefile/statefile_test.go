package statefile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/require"
	"bittern/internal/rules"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, f *File) string {
	t.Helper()
	c, err := f.Read()
	must(t, err)
	return string(c.Data)
}

func to(text string) func([]byte) ([]byte, error) {
	return func([]byte) ([]byte, error) { return []byte(text), nil }
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestEdit(t *testing.T) {
	f := In(filepath.Join(t.TempDir(), "a/b"))
	if c, err := f.Read(); err != nil || c.Exist {
		t.Fatalf("%+v, %v", c, err)
	}
	must(t, f.Edit(to("one")))
	must(t, os.Chmod(f.Path(), 0o600))
	must(t, f.Edit(func(old []byte) ([]byte, error) { return append(old, " two"...), nil }))
	if got := content(t, f); got != "one two" {
		t.Errorf("content is %q", got)
	}
	if info, err := os.Stat(f.Path()); err != nil || info.Mode() != 0o600 {
		t.Errorf("its mode was lost: %v, %v", info.Mode(), err)
	}
	before, err := os.Stat(f.Path())
	must(t, err)
	must(t, f.Edit(to("one two")))
	if after, err := os.Stat(f.Path()); err != nil || !os.SameFile(before, after) {
		t.Errorf("the same content was written again: %v", err)
	}
	if got := names(t, f.dir); got != Name {
		t.Errorf("left behind: %s", got)
	}
}

// TestFaults fails each step, and finds what was there before.
func TestFaults(t *testing.T) {
	broken := errors.New("broken")
	for name, breaks := range map[string]func(o *ops){
		"write":                 func(o *ops) { o.write = func(*os.File, []byte) error { return broken } },
		"torn write":            func(o *ops) { o.write = func(f *os.File, d []byte) error { _, _ = f.Write(d[:1]); return broken } },
		"sync":                  func(o *ops) { o.sync = func(*os.File) error { return broken } },
		"rename":                func(o *ops) { o.rename = func(string, string) error { return broken } },
		"sync of the directory": func(o *ops) { o.syncDir = func(*os.File) error { return broken } },
	} {
		t.Run(name, func(t *testing.T) {
			f := In(t.TempDir())
			good := f.ops
			breaks(&f.ops)
			if err := f.Edit(to("new")); !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
			if got := names(t, f.dir); got != "" {
				t.Errorf("left behind: %s", got)
			}
			f.ops = good
			must(t, f.Edit(to("old")))
			breaks(&f.ops)
			if err := f.Edit(to("new")); !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
			if got := content(t, f); got != "old" {
				t.Errorf("content is %q", got)
			}
			if got := names(t, f.dir); got != Name {
				t.Errorf("left behind: %s", got)
			}
		})
	}
	f := In(t.TempDir())
	must(t, f.Edit(to("old")))
	if err := f.Edit(func([]byte) ([]byte, error) { return nil, broken }); !errors.Is(err, broken) || content(t, f) != "old" {
		t.Errorf("got %v", err)
	}
}

// TestDurable looks at the order of the steps: content before name, name before the end.
func TestDurable(t *testing.T) {
	f := In(t.TempDir())
	var steps []string
	step := func(name string) { steps = append(steps, name) }
	o := f.ops
	f.ops = ops{
		write:   func(f *os.File, d []byte) error { step("write"); return o.write(f, d) },
		sync:    func(f *os.File) error { step("sync"); return o.sync(f) },
		rename:  func(a, b string) error { step("rename"); return o.rename(a, b) },
		syncDir: func(d *os.File) error { step("sync directory"); return o.syncDir(d) },
	}
	must(t, f.Edit(to("x")))
	if got := strings.Join(steps, ", "); got != "write, sync, rename, sync directory" {
		t.Errorf("steps: %s", got)
	}
}

// TestConcurrentEdits loses none, of several of what could be processes.
func TestConcurrentEdits(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 10 {
				id := fmt.Sprintf("R%d_%d", i, j)
				if _, err := In(dir).Set(map[string]rules.RuleState{id: {State: rules.Disabled, SetBy: "x"}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	parsed := rules.ParseStates(Name, []byte(content(t, In(dir))))
	if len(parsed.States) != 40 || len(parsed.Problems) > 0 {
		t.Errorf("%d states, problems %v", len(parsed.States), parsed.Problems)
	}
}

// TestWhatOthersWrote is in what is parsed next, and an edit is one of that.
func TestWhatOthersWrote(t *testing.T) {
	f := In(t.TempDir())
	parse := func() *rules.StateFile { return f.Parse([]byte(content(t, f))) }
	for i := range 5 {
		id := fmt.Sprint("R", i)
		written, err := f.Set(map[string]rules.RuleState{id: {State: rules.Disabled, SetBy: "x"}})
		must(t, err)
		if parse() != written {
			t.Error("what was written is parsed again")
		}
		must(t, os.WriteFile(f.Path(), append(written.Text, fmt.Sprintf("# theirs\nO%d: {state: disabled}\n", i)...), 0o600))
		if got := len(parse().States); got != 2*i+2 {
			t.Errorf("%d states, want %d", got, 2*i+2)
		}
	}
	broken := errors.New("broken")
	f.ops.syncDir = func(*os.File) error { return broken }
	before := parse()
	if _, err := f.Set(map[string]rules.RuleState{"R0": {}}); !errors.Is(err, broken) || parse() != before {
		t.Errorf("got %v", err)
	}
}

// TestSavedInPlace: who saves in place has emptied the file, and not written it yet.
func TestSavedInPlace(t *testing.T) {
	f := In(t.TempDir())
	must(t, f.Edit(to("old")))
	editor, err := os.Create(f.Path())
	must(t, err)
	if c, err := f.Read(); err != nil || f.Settled(c) {
		t.Errorf("%q is taken for all there is: %v", c.Data, err)
	}
	began, done := make(chan struct{}), make(chan error)
	go func() {
		close(began)
		done <- f.Edit(func(old []byte) ([]byte, error) { return append(old, " and ours"...), nil })
	}()
	<-began
	_, err = editor.WriteString("theirs")
	must(t, errors.Join(err, editor.Close()))
	must(t, <-done)
	if got := content(t, f); got != "theirs and ours" {
		t.Errorf("content is %q", got)
	}
	editor, err = os.OpenFile(f.Path(), os.O_WRONLY, 0)
	must(t, err)
	defer editor.Close()
	if err := f.Edit(to("ours")); err == nil || !strings.Contains(err.Error(), "another program is writing it") {
		t.Errorf("got %v", err)
	}
}

func TestUnusable(t *testing.T) {
	for want, prepare := range map[string]func(path string) error{
		"not a symbolic link": func(p string) error { return os.Symlink("elsewhere", p) },
		"it is not a file":    func(p string) error { return unix.Mkfifo(p, 0o600) },
	} {
		f := In(t.TempDir())
		must(t, prepare(f.Path()))
		if _, err := f.Read(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), f.Path()) {
			t.Errorf("reading: got %v, want %q", err, want)
		}
		if err := f.Edit(to("x")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("editing: got %v, want %q", err, want)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if err := In(filepath.Join(file, "states")).Edit(to("x")); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("got %v", err)
	}
}

func TestSetAside(t *testing.T) {
	f := In(t.TempDir())
	for _, want := range []string{".damaged", ".damaged-2", ".damaged-3"} {
		must(t, os.WriteFile(f.Path(), []byte(want), 0o600))
		got, err := f.SetAside()
		if err != nil || got != f.Path()+want {
			t.Errorf("got %s, %v; want %s", got, err, want)
		}
		if data, err := os.ReadFile(got); err != nil || string(data) != want {
			t.Errorf("it has %q, %v", data, err)
		}
	}
	if _, err := f.SetAside(); err == nil {
		t.Error("nothing was set aside")
	}
	must(t, os.WriteFile(f.Path(), nil, 0o600))
	broken := errors.New("broken")
	f.ops.syncDir = func(*os.File) error { return broken }
	if _, err := f.SetAside(); !errors.Is(err, broken) {
		t.Errorf("got %v, without knowing that it lasts", err)
	}
}

func TestTimeIsThatOfTheFile(t *testing.T) {
	f := In(t.TempDir())
	must(t, f.Edit(to("x")))
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	must(t, os.Chtimes(f.Path(), at, at))
	if c, err := f.Read(); err != nil || !c.Time.Equal(at) {
		t.Errorf("got %v, %v", c.Time, err)
	}
}

// TestOwner: what root makes in somebody's directory is theirs, and stays theirs.
func TestOwner(t *testing.T) {
	require.Root(t)
	home := t.TempDir()
	must(t, os.Chown(home, 4711, 4712))
	f := In(filepath.Join(home, "state", "states"))
	for _, text := range []string{"one", "two"} {
		must(t, f.Edit(to(text)))
		for path := f.Path(); path != home; path = filepath.Dir(path) {
			var st unix.Stat_t
			must(t, unix.Stat(path, &st))
			if st.Uid != 4711 || st.Gid != 4712 {
				t.Errorf("%s belongs to %d:%d", path, st.Uid, st.Gid)
			}
		}
		must(t, os.Chown(home, 0, 0))
	}
}
