package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"bittern/internal/rules/fsstore"
)

// source is a publisher without a database.
type source struct {
	blobs map[string][]byte
	sent  int // bytes
	calls int
}

func newSource() *source { return &source{blobs: map[string][]byte{}} }

// publish makes a publication of files, by name.
func (s *source) publish(how How, files map[string]string) Publication {
	var list []File
	for name, text := range files {
		list = append(list, File{name, BlobOf([]byte(text))})
		s.blobs[SumOf([]byte(text))] = []byte(text)
	}
	m, pages := NewManifest(list, SumOf(nil), how, time.Unix(int64(len(s.blobs)), 0))
	for _, p := range pages {
		s.blobs[SumOf(p)] = p
	}
	return Sign(m.Bytes(), nil)
}

func (s *source) fetch(_ context.Context, sums []string) (map[string][]byte, error) {
	s.calls++
	got := map[string][]byte{}
	for _, sum := range sums {
		if data, ok := s.blobs[sum]; ok {
			got[sum] = data
			s.sent += len(data)
		}
	}
	return got, nil
}

func unsigned(dir string, d disk) Config {
	return Config{Dir: dir, Unsigned: true, Log: slog.New(slog.DiscardHandler), disk: d}
}

func open(t testing.TB, cfg Config) *Mirror {
	t.Helper()
	m, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func take(t testing.TB, m *Mirror, p Publication, s *source) {
	t.Helper()
	if err := m.Take(t.Context(), p, s.fetch); err != nil {
		t.Fatal(err)
	}
	if m.Publication() != p.ID || m.Problem() != nil {
		t.Fatalf("it has publication %q, problem %v", m.Publication(), m.Problem())
	}
}

// files are those of the rules directory.
func (m *Mirror) files(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(m.RulesDir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(m.RulesDir(), path)
		all[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (m *Mirror) wantFiles(t testing.TB, want map[string]string) {
	t.Helper()
	if got := m.files(t); !maps.Equal(got, want) {
		t.Errorf("files are %v, want %v", got, want)
	}
}

var errDead = errors.New("dead")

// mortal dies at one of its steps: that is not done, or half of it, nor any after it. What was renamed or removed and not brought to
// disk since may be lost then, the last first, as after a power failure.
type mortal struct {
	realDisk
	left    int
	undo    []undo
	dirty   map[string]bool // files whose content is not on disk
	watched func()          // called after each step
}

type undo struct {
	dirs []string
	do   func() error
}

func (d *mortal) step() error {
	if d.left--; d.left < 0 {
		return errDead
	}
	return nil
}

func (d *mortal) after() {
	if d.watched != nil {
		d.watched()
	}
}

func (d *mortal) write(path string, data []byte) error {
	if err := d.step(); err != nil {
		if d.left == -1 {
			_ = os.WriteFile(path, data[:len(data)/2], 0o600)
		}
		return err
	}
	defer d.after()
	d.undo = append(d.undo, undo{[]string{filepath.Dir(path)}, restore(path)})
	if d.dirty == nil {
		d.dirty = map[string]bool{}
	}
	d.dirty[path] = true
	return os.WriteFile(path, data, 0o600)
}

func (d *mortal) flush(_ string, paths ...string) error {
	if err := d.step(); err != nil {
		return err
	}
	for _, path := range paths {
		delete(d.dirty, path)
	}
	return nil
}

// restore returns what brings a name back to what it is.
func restore(path string) func() error {
	data, err := os.ReadFile(path)
	if err != nil {
		return func() error { return os.RemoveAll(path) }
	}
	return func() error { return os.WriteFile(path, data, 0o600) }
}

func (d *mortal) rename(from, to string) error {
	if err := d.step(); err != nil {
		return err
	}
	defer d.after()
	a, b := restore(from), restore(to)
	d.undo = append(d.undo, undo{[]string{filepath.Dir(from), filepath.Dir(to)}, func() error { return errors.Join(os.Remove(to), a(), b()) }})
	if d.dirty[from] {
		d.dirty[to] = true
	}
	return d.realDisk.rename(from, to)
}

func (d *mortal) remove(path string) error {
	if err := d.step(); err != nil {
		return err
	}
	defer d.after()
	d.undo = append(d.undo, undo{[]string{filepath.Dir(path)}, restore(path)})
	return d.realDisk.remove(path)
}

func (d *mortal) sync(dir string) error {
	if err := d.step(); err != nil {
		return err
	}
	d.undo = slices.DeleteFunc(d.undo, func(u undo) bool { return slices.Contains(u.dirs, dir) })
	return nil
}

// quick is a disk that is only asked to write.
func quick() disk { return &mortal{left: 1 << 30} }

// loseSome undoes some of the last steps.
func (d *mortal) loseSome(t *testing.T, n int) {
	t.Helper()
	for path := range d.dirty {
		if info, err := os.Stat(path); err == nil && n > 0 {
			if err := os.Truncate(path, info.Size()/2); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range min(n, len(d.undo)) {
		last := d.undo[len(d.undo)-1]
		d.undo = d.undo[:len(d.undo)-1]
		if err := last.do(); err != nil {
			t.Fatal(err)
		}
	}
}

// editions are directories of which each is made from the one before: by edits, renames, rings of them, removals, lists.
var editions = []map[string]string{
	{},
	{"a.yml": "A", "b.yml": "B", "c.yml": "C", "lists/l.yml": "L"},
	{"a.yml": "B", "b.yml": "A", "c.yml": "C2", "lists/l.yml": "L"},                      // two change places
	{"b.yml": "B", "d.yml": "A", "e.yml": "C2", "lists/m.yml": "L", "f.yml": "C2"},       // renamed, and copied
	{"b.yml": "A", "d.yml": "C2", "e.yml": "B", "lists/m.yml": "L2", "f.yml": "C2"},      // a ring of three
	{"e.yml": "B2", "lists/m.yml": "L2", "x.yml": "A", "lists/e.yml": "C2", "g.yml": ""}, // some go, and between directories
	{"x.yml": "", "g.yml": "A"},
	{"x.yml": "X"},
}

// TestKilledAtEachStep takes each edition after the one before, and dies at each step of it. What Open makes of that is one of the two.
// Then the newer one is taken to its end.
func TestKilledAtEachStep(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	deaths, olds := 0, 0
	for i := 1; i < len(editions); i++ {
		for _, how := range []How{Together, Apart} {
			for _, lost := range []int{0, 2, 1000} {
				for at := 0; ; at++ {
					s := newSource()
					dir := t.TempDir()
					m := open(t, unsigned(dir, quick()))
					was := s.publish(how, editions[i-1])
					take(t, m, was, s)
					next := s.publish(how, editions[i])
					d := &mortal{left: at}
					m = open(t, unsigned(dir, quick()))
					m.disk = d
					err := m.Take(t.Context(), next, s.fetch)
					died := d.left < 0
					if err == nil != (m.Publication() == next.ID) {
						t.Fatalf("it has %q after %v", m.Publication(), err)
					}
					d.loseSome(t, min(lost, random.IntN(lost+1)+lost/2))
					again := open(t, unsigned(dir, quick()))
					where := fmt.Sprintf("edition %d, %s, step %d, %d lost", i, how, at, lost)
					switch again.Publication() {
					case was.ID:
						again.wantFiles(t, editions[i-1])
						olds++
					case next.ID:
						again.wantFiles(t, editions[i])
					default:
						t.Errorf("%s: it is neither: %v, %v", where, again.Problem(), again.files(t))
					}
					take(t, again, next, s)
					again.wantFiles(t, editions[i])
					if t.Failed() {
						t.Fatal(where)
					}
					if !died {
						break
					}
					deaths++
				}
			}
		}
	}
	t.Logf("it died %d times, after which it was at the older one %d times", deaths, olds)
	if olds == 0 || olds == deaths {
		t.Error("the test does not kill where it should")
	}
}

// TestOpenKilledAtEachStep dies while it recovers, too.
func TestOpenKilledAtEachStep(t *testing.T) {
	for first := 0; ; first++ {
		for second := 0; ; second++ {
			s, dir := newSource(), t.TempDir()
			m := open(t, unsigned(dir, quick()))
			take(t, m, s.publish(Together, editions[3]), s)
			next := s.publish(Together, editions[4])
			d := &mortal{left: first}
			m.disk = d
			err := m.Take(t.Context(), next, s.fetch)
			recovering := &mortal{left: second}
			_, openErr := Open(unsigned(dir, recovering))
			again := open(t, unsigned(dir, quick()))
			if p := again.Publication(); p == "" {
				t.Fatalf("killed at %d and %d: %v", first, second, again.Problem())
			}
			take(t, again, next, s)
			again.wantFiles(t, editions[4])
			if err == nil {
				return
			}
			if openErr == nil && recovering.left >= 0 {
				break
			}
		}
	}
}

// TestNobodySeesHalf looks at the directory after each step: without a hold it is the older edition or the newer one, whole.
func TestNobodySeesHalf(t *testing.T) {
	for i := 1; i < len(editions); i++ {
		for _, how := range []How{Together, Single} {
			s, dir := newSource(), t.TempDir()
			m := open(t, unsigned(dir, quick()))
			take(t, m, s.publish(how, editions[i-1]), s)
			held := 0
			m.disk = &mortal{left: 1 << 20, watched: func() {
				files := m.files(t)
				if says, ok := files[fsstore.HoldName]; ok {
					held++
					if !strings.HasPrefix(says, holdMark) {
						t.Errorf("the hold says %q", says)
					}
					return
				}
				if !maps.Equal(files, editions[i-1]) && !maps.Equal(files, editions[i]) {
					t.Errorf("edition %d: there is %v", i, files)
				}
			}}
			take(t, m, s.publish(how, editions[i]), s)
			if single := how == Single && i == len(editions)-1; held == 0 && !single {
				t.Logf("edition %d, %s: without a hold", i, how)
			}
		}
	}
}

// TestFailedTakeKeepsTheHold: what can't be carried out to its end is not shown, and the next Take does.
func TestFailedTakeKeepsTheHold(t *testing.T) {
	s, dir := newSource(), t.TempDir()
	m := open(t, unsigned(dir, quick()))
	take(t, m, s.publish(Together, editions[1]), s)
	if err := os.MkdirAll(filepath.Join(m.RulesDir(), "z.yml", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	next := s.publish(Together, map[string]string{"a.yml": "new", "z.yml": "new"})
	if err := m.Take(t.Context(), next, s.fetch); err == nil || m.Publication() != "" || m.Problem() == nil {
		t.Fatalf("got %v, it has %q", err, m.Publication())
	}
	if _, ok := m.files(t)[fsstore.HoldName]; !ok {
		t.Error("the half is shown")
	}
	if err := os.RemoveAll(filepath.Join(m.RulesDir(), "z.yml")); err != nil {
		t.Fatal(err)
	}
	take(t, m, next, s)
	m.wantFiles(t, map[string]string{"a.yml": "new", "z.yml": "new"})
}

func TestOthersHold(t *testing.T) {
	s, dir := newSource(), t.TempDir()
	m := open(t, unsigned(dir, quick()))
	first := s.publish(Together, editions[1])
	take(t, m, first, s)
	held, err := fsstore.Hold(m.RulesDir(), "somebody")
	if err != nil {
		t.Fatal(err)
	}
	calls := s.calls
	next := s.publish(Together, editions[2])
	if err := m.Take(t.Context(), next, s.fetch); err == nil || !strings.Contains(err.Error(), "is held by somebody else") {
		t.Errorf("got %v", err)
	}
	if m.Publication() != first.ID || s.calls > calls+1 {
		t.Errorf("it has %q", m.Publication())
	}
	if again := open(t, unsigned(dir, quick())); len(again.files(t)) != len(editions[1])+1 {
		t.Error("the hold of somebody else is gone")
	}
	if err := held.Release(); err != nil {
		t.Fatal(err)
	}
	take(t, m, next, s)
}
