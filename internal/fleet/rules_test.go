package fleet

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bittern/internal/db"
	"bittern/internal/rules"
	"bittern/internal/rules/mirror"
	"bittern/internal/rules/storetest"
)

// TestRules has rules published: with the key that the host trusts, and with another one.
func TestRules(t *testing.T) {
	s := newStore(t)
	trusted, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	copies, err := mirror.Open(mirror.Config{Dir: t.TempDir(), Keys: []ed25519.PublicKey{trusted}, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	publish := func(version int, key ed25519.PrivateKey) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "a.yml"), []byte(storetest.Text("R1", version)), 0o600); err != nil {
			t.Fatal(err)
		}
		done, err := db.Publish(t.Context(), s.ops, db.PublishConfig{
			Dir: dir, Key: key, Scope: "fleet", Log: quiet(),
			Parse: func(path string, data []byte, lists rules.Lists) *rules.File {
				return rules.Parse(path, data, rules.Options{Lists: lists})
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return done.Publication
	}
	content := func() string {
		data, _ := os.ReadFile(filepath.Join(copies.RulesDir(), "a.yml")) // "" before the first time
		return string(data)
	}
	a := s.link(t, "a", func(c *Config) { c.Rules = copies })
	first := publish(1, key)
	eventually(t, "the first publication", func() bool { return copies.Publication() == first })
	eventually(t, "the database to know", func() bool {
		return one[int](t, s, "SELECT count(*)::int FROM fleet.host_heartbeat WHERE publication = $1", first) == 1
	})

	foreign := publish(2, other)
	eventually(t, "the other key's to be refused", func() bool {
		err := a.Health()
		return err != nil && strings.Contains(err.Error(), mirror.ErrKey.Error())
	})
	if st := a.Status(); st.Wanted != foreign || st.Publication != first || content() != storetest.Text("R1", 1) {
		t.Errorf("status %+v, and the rule is %s", st, content())
	}
	eventually(t, "the database to know why", func() bool {
		return one[int](t, s, "SELECT count(*)::int FROM fleet.host_heartbeat WHERE publication = $1 AND problem <> ''", first) == 1
	})

	letIn := s.lockedOut(t, a)
	last := publish(3, key)
	letIn()
	eventually(t, "what was published meanwhile", func() bool { return copies.Publication() == last && content() == storetest.Text("R1", 3) })
	eventually(t, "the link to be well", func() bool { return a.Health() == nil })
}
