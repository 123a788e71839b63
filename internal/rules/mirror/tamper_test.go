package mirror

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

func TestSignatures(t *testing.T) {
	key, other := newKey(t), newKey(t)
	s := newSource()
	manifest := s.publish(Together, editions[1]).Manifest
	good := Sign(manifest, key)
	changed := slices.Clone(manifest)
	changed[len(changed)-2] ^= 1
	forged := Sign(manifest, other)
	forged.KeyID = good.KeyID
	for name, c := range map[string]struct {
		p        Publication
		unsigned bool
		want     error
	}{
		"good":                       {good, false, nil},
		"another key":                {Sign(manifest, other), false, ErrKey},
		"another key, by its name":   {forged, false, ErrSignature},
		"none":                       {Sign(manifest, nil), false, ErrUnsigned},
		"none, which is allowed":     {Sign(manifest, nil), true, nil},
		"unknown, which is allowed":  {Sign(manifest, other), true, nil},
		"wrong, though none will do": {forged, true, ErrSignature},
		"a changed manifest":         {Publication{SumOf(changed), good.KeyID, changed, good.Signature}, false, ErrSignature},
		"of no length":               {Publication{good.ID, good.KeyID, manifest, nil}, false, ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := unsigned(t.TempDir(), quick())
			cfg.Keys, cfg.Unsigned = []ed25519.PublicKey{public(newKey(t)), public(key)}, c.unsigned
			m := open(t, cfg)
			asked := 0
			err := m.Take(t.Context(), c.p, func(ctx context.Context, sums []string) (map[string][]byte, error) {
				asked++
				return s.fetch(ctx, sums)
			})
			if !errors.Is(err, c.want) || c.want != nil && asked > 0 {
				t.Errorf("got %v after %d fetches, want %v", err, asked, c.want)
			}
			if c.want != nil && (m.Publication() != "" || m.Problem() == nil || len(m.files(t)) > 0) {
				t.Errorf("it has %q, problem %v, files %v", m.Publication(), m.Problem(), m.files(t))
			}
		})
	}
	id := good
	id.ID = SumOf(nil)
	m := open(t, unsigned(t.TempDir(), quick()))
	if err := m.Take(t.Context(), id, s.fetch); err == nil {
		t.Error("a manifest is taken that is not the one of its id")
	}
}

// TestWhatIsSentIsChecked: a signed manifest, and a database that sends other things than it names.
func TestWhatIsSentIsChecked(t *testing.T) {
	big := strings.Repeat("x", 100)
	for name, spoil := range map[string]func(s *source, page, file string){
		"a changed page":   func(s *source, page, _ string) { s.blobs[page] = append(slices.Clone(s.blobs[page]), '\n') },
		"a changed file":   func(s *source, _, file string) { s.blobs[file] = []byte(strings.Replace(big, "x", "y", 1)) },
		"a longer file":    func(s *source, _, file string) { s.blobs[file] = []byte(big + "x") },
		"an empty file":    func(s *source, _, file string) { s.blobs[file] = nil },
		"a page missing":   func(s *source, page, _ string) { delete(s.blobs, page) },
		"a file missing":   func(s *source, _, file string) { delete(s.blobs, file) },
		"another's file":   func(s *source, page, file string) { s.blobs[file] = s.blobs[page] },
		"a page for files": func(s *source, page, file string) { s.blobs[page] = s.blobs[file] },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSource()
			m := open(t, unsigned(t.TempDir(), quick()))
			before := s.publish(Together, editions[1])
			take(t, m, before, s)
			p := s.publish(Together, map[string]string{"a.yml": "A", "b.yml": big})
			parsed, err := ParseManifest(p.Manifest)
			if err != nil {
				t.Fatal(err)
			}
			good := maps.Clone(s.blobs)
			spoil(s, parsed.Pages[0].Sum, SumOf([]byte(big)))
			if err := m.Take(t.Context(), p, s.fetch); err == nil || m.Publication() != before.ID {
				t.Errorf("got %v", err)
			}
			m.wantFiles(t, editions[1])
			s.blobs = good
			take(t, m, p, s)
		})
	}
}

// TestManifestsThatAreRefused are signed well, and wrong.
func TestManifestsThatAreRefused(t *testing.T) {
	line := func(name string) string { return fmt.Sprintf("%s 3 %s\n", SumOf([]byte("one")), name) }
	many := make([]File, MaxFiles+1)
	for i := range many {
		many[i] = File{fmt.Sprintf("f%d.yml", i), BlobOf([]byte("one"))}
	}
	m, _ := NewManifest(many, SumOf(nil), Together, time.Now())
	tooMany := string(m.Bytes())
	for _, c := range []struct{ name, page, manifest, want string }{
		{"path up", line("../a.yml"), "", "is no name of a rule file"},
		{"absolute path", line("/etc/a.yml"), "", "is no name of a rule file"},
		{"path below", line("x/a.yml"), "", "is no name of a rule file"},
		{"up from lists", line("lists/../a.yml"), "", "is no name of a rule file"},
		{"lists twice", line("lists/lists/a.yml"), "", "is no name of a rule file"},
		{"the hold", line(".hold"), "", "is no name of a rule file"},
		{"no rule file", line("a.txt"), "", "is no name of a rule file"},
		{"zero byte", line("a\x00.yml"), "", "is no name of a rule file"},
		{"long name", line(strings.Repeat("a", 252) + ".yml"), "", "is no name of a rule file"},
		{"twice", line("a.yml") + line("a.yml"), "", "out of order, or there twice"},
		{"order", line("b.yml") + line("a.yml"), "", "out of order, or there twice"},
		{"count", line("a.yml") + line("b.yml") + line("c.yml"), "", "they have 3 files, the manifest says 2"},
		{"oversize", fmt.Sprintf("%s %d a.yml\n", SumOf(nil), MaxFile+1), "", "the limit is 1048576"},
		{"negative", fmt.Sprintf("%s -1 a.yml\n", SumOf(nil)), "", "the limit is 1048576"},
		{"a size that lies", line("a.yml") + fmt.Sprintf("%s 2 b.yml\n", SumOf([]byte("one"))), "", "is something else"},
		{"no number", fmt.Sprintf("%s 03 a.yml\n", SumOf(nil)), "", ErrFormat.Error()},
		{"no sum", "xyz 3 a.yml\n", "", ErrFormat.Error()},
		{"cut", strings.TrimSuffix(line("a.yml"), "\n"), "", ErrFormat.Error()},
		{"too many", "", tooMany, "it has 20001 files, the limit is 20000"},
		{"another format", "", strings.Replace(tooMany, "rules 1", "rules 2", 1), "its first line is"},
		{"a line more", "", strings.Replace(tooMany, "files 20001", "files 1\nmore 1", 1), ErrFormat.Error()},
		{"many pages", "", strings.Replace(tooMany, "files 20001", "files 1", 1) + "page " + SumOf(nil) + " 0\n", ErrFormat.Error()},
		{"a negative count", "", strings.Replace(tooMany, "files 20001", "files -1", 1), ErrFormat.Error()},
		{"a space more", "", strings.Replace(tooMany, "files 20001", "files 1 ", 1), ErrFormat.Error()},
		{"nothing", "", "\n", "its first line is"},
		{"megabytes", "", tooMany + strings.Repeat("\n", 1<<20), "the limit is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSource()
			manifest := []byte(c.manifest)
			if c.page != "" {
				s.blobs[SumOf([]byte(c.page))] = []byte(c.page)
				manifest = Manifest{Ruleset: SumOf(nil), How: Together, Files: 2, Pages: []Blob{BlobOf([]byte(c.page))}}.Bytes()
			}
			s.blobs[SumOf([]byte("one"))] = []byte("one")
			dir := filepath.Join(t.TempDir(), "below")
			m := open(t, unsigned(dir, quick()))
			err := m.Take(t.Context(), Sign(manifest, nil), s.fetch)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if entries, _ := os.ReadDir(filepath.Dir(dir)); len(entries) != 1 || len(m.files(t)) > 0 {
				t.Errorf("there is %v beside it, and in it %v", entries, m.files(t))
			}
		})
	}
	// A page that has a name of another.
	s := newSource()
	files := map[string]string{}
	for i := range 200 {
		files[fmt.Sprintf("f%d.yml", i)] = "one"
	}
	p, err := ParseManifest(s.publish(Together, files).Manifest)
	if err != nil || len(p.Pages) != 4 {
		t.Fatalf("%d pages, %v", len(p.Pages), err)
	}
	p.Pages[0], p.Pages[1] = p.Pages[1], p.Pages[0]
	if err := open(t, unsigned(t.TempDir(), quick())).Take(t.Context(), Sign(p.Bytes(), nil), s.fetch); err == nil || !strings.Contains(err.Error(), "belongs on another page") {
		t.Errorf("got %v", err)
	}
}

// TestDamage: what is wrong with what was taken is found by Open, and is fetched again, and nothing else is.
func TestDamage(t *testing.T) {
	s := newSource()
	p := s.publish(Together, editions[1])
	for name, c := range map[string]struct {
		damage func(m *Mirror) error
		whole  bool // it needs nothing to be right
		sent   int  // bytes at most that are fetched again
	}{
		"nothing":         {func(*Mirror) error { return nil }, true, 0},
		"a changed file":  {func(m *Mirror) error { return os.WriteFile(m.in(rulesName, "a.yml"), []byte("evil"), 0o600) }, false, 1},
		"a file gone":     {func(m *Mirror) error { return os.Remove(m.in(rulesName, "lists/l.yml")) }, false, 1},
		"a file too many": {func(m *Mirror) error { return os.WriteFile(m.in(rulesName, "z.yml"), []byte("evil"), 0o600) }, true, 0},
		"a link for a file": {func(m *Mirror) error {
			return errors.Join(os.Remove(m.in(rulesName, "a.yml")), os.Symlink("b.yml", m.in(rulesName, "a.yml")))
		}, false, 1},
		"renamed":         {func(m *Mirror) error { return os.Rename(m.in(rulesName, "a.yml"), m.in(rulesName, "z.yml")) }, true, 0},
		"no pages":        {func(m *Mirror) error { return os.RemoveAll(m.in(pagesName)) }, false, 400},
		"no record":       {func(m *Mirror) error { return os.Remove(m.in(recordName)) }, false, 0},
		"half a record":   {func(m *Mirror) error { return os.Truncate(m.in(recordName), 40) }, false, 400},
		"an empty record": {func(m *Mirror) error { return os.Truncate(m.in(recordName), 0) }, false, 400},
		"all gone":        {func(m *Mirror) error { return os.RemoveAll(m.cfg.Dir) }, false, 1000},
		"a hold of ours":  {func(m *Mirror) error { return os.WriteFile(m.in(rulesName, ".hold"), []byte(holdMark+"x"), 0o600) }, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m := open(t, unsigned(dir, quick()))
			take(t, m, p, s)
			if err := c.damage(m); err != nil {
				t.Fatal(err)
			}
			again := open(t, unsigned(dir, quick()))
			if whole := again.Publication() == p.ID; whole != c.whole || whole != (again.Problem() == nil) && name != "no record" && name != "all gone" {
				t.Errorf("it has %q, problem %v", again.Publication(), again.Problem())
			}
			s.sent = 0
			take(t, again, p, s)
			if again.wantFiles(t, editions[1]); s.sent > c.sent && name != "no record" {
				t.Errorf("%d bytes were sent", s.sent)
			}
		})
	}
}

// TestKeyThatIsTrustedNoMore: what was taken stays, and is reported.
func TestKeyThatIsTrustedNoMore(t *testing.T) {
	key, s, dir := newKey(t), newSource(), t.TempDir()
	p := Sign(s.publish(Together, editions[1]).Manifest, key)
	cfg := Config{Dir: dir, Keys: []ed25519.PublicKey{public(key)}, Log: slog.New(slog.DiscardHandler), disk: quick()}
	take(t, open(t, cfg), p, s)
	cfg.Keys = []ed25519.PublicKey{public(newKey(t))}
	m := open(t, cfg)
	if m.Publication() != p.ID || !errors.Is(m.Problem(), ErrKey) {
		t.Errorf("it has %q, problem %v", m.Publication(), m.Problem())
	}
	m.wantFiles(t, editions[1])
}

// TestDatabaseAway: nothing changes, and what was fetched is not fetched again.
func TestDatabaseAway(t *testing.T) {
	s := newSource()
	m := open(t, unsigned(t.TempDir(), quick()))
	before := s.publish(Together, editions[1])
	take(t, m, before, s)
	files := map[string]string{}
	for i := range 1200 {
		files[fmt.Sprintf("f%d.yml", i)] = fmt.Sprint("text ", i)
	}
	p := s.publish(Together, files)
	away := errors.New("away")
	for calls := range 4 {
		n := 0
		err := m.Take(t.Context(), p, func(ctx context.Context, sums []string) (map[string][]byte, error) {
			if n++; n > calls {
				return nil, away
			}
			return s.fetch(ctx, sums)
		})
		if calls < 3 && (!errors.Is(err, away) || m.Publication() != before.ID || !errors.Is(m.Problem(), away)) {
			t.Fatalf("after %d calls: %v", calls, err)
		}
		if calls < 3 {
			m.wantFiles(t, editions[1])
		}
	}
	if m.Publication() != p.ID {
		t.Errorf("it has %q: %v", m.Publication(), m.Problem())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := m.Take(ctx, before, s.fetch); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestReadKeys(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, blocks ...*pem.Block) string {
		path := filepath.Join(dir, name)
		var data []byte
		for _, b := range blocks {
			data = append(data, pem.EncodeToMemory(b)...)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	block := func(key ed25519.PrivateKey) *pem.Block {
		der, err := x509.MarshalPKIXPublicKey(public(key))
		if err != nil {
			t.Fatal(err)
		}
		return &pem.Block{Type: "PUBLIC KEY", Bytes: der}
	}
	a, b, c := newKey(t), newKey(t), newKey(t)
	keys, err := ReadKeys(write("two", block(a), block(b)), write("one", block(c)))
	if err != nil || len(keys) != 3 || !keys[1].Equal(public(b)) {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	for name, path := range map[string]string{
		"no public key in PEM": write("none"), "want a PUBLIC KEY": write("private", &pem.Block{Type: "PRIVATE KEY"}),
		"asn1": write("bad", &pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}), "no such file": filepath.Join(dir, "nowhere"),
	} {
		if _, err := ReadKeys(path); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
	}
	if _, err := Open(Config{Dir: dir, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("a mirror without keys that takes what is not signed")
	}
}
