package loader

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"bittern/internal/rules"
)

func restoreForTest(t *testing.T) func([]byte) (*rules.Rule, error) {
	return func(document []byte) (*rules.Rule, error) { return parseRule(t, string(document)), nil }
}

// live names the rules of a journal that were live at an epoch.
func live(t *testing.T, v *versions, epoch uint64) string {
	t.Helper()
	found, unknown := v.liveAt(epoch)
	if unknown != 0 {
		t.Errorf("%d versions are not known", unknown)
	}
	names := make([]string, len(found))
	for i, r := range found {
		names[i] = r.ID
	}
	return strings.Join(names, " ")
}

// TestJournal reads back what was noted: with a swap that failed half-way, a last line that is
// torn, and after it was written anew.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	j, err := newJournal(dir, "one")
	if err != nil {
		t.Fatal(err)
	}
	v := newVersions()
	swap := func(epoch uint64, ids ...string) {
		t.Helper()
		var born, died []*version
		for _, id := range ids {
			if old := v.live(id); old != nil {
				died = append(died, old)
			}
			born = append(born, v.stage(parseRule(t, ruleText(id, int(epoch), "  s: {user.id: 0}"))))
		}
		v.swap(born, died, epoch)
		if err := j.swap(born, died); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		back, err := readJournal(dir, "one", restoreForTest(t))
		if err != nil {
			t.Fatal(err)
		}
		for epoch, want := range []string{0: "", 1: "A B", 2: "A B", 3: "A B C"} {
			if got := live(t, back, uint64(epoch)); got != want {
				t.Errorf("live at epoch %d: %q, want %q", epoch, got, want)
			}
		}
		for id, version := range map[uint64]int{1: 1, 2: 1, 3: 2, 4: 3} {
			if r, err := back.byID[id].made(); err != nil || r.Version != version {
				t.Errorf("version %d: %+v, %v, want rule_version %d", id, r, err, version)
			}
		}
	}
	spoil := func(text string) {
		t.Helper()
		if _, err := j.file.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	swap(1, "A", "B")
	swap(2, "A")
	spoil(`{"id":1,"died":2}` + "\n" + `{"id":2,"di`) // a write that failed, and what it has left
	j.torn = true
	swap(3, "C")
	check()
	spoil(`{"id":2,"di`) // a kill
	check()
	j.floor, j.written = 0, journalSlack
	if err := j.compact(v); err != nil {
		t.Fatal(err)
	}
	check()
	if err := j.close(); err != nil {
		t.Error(err)
	}
	if err := removeJournals(dir, []string{"two"}); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := readJournal(dir, "one", restoreForTest(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading what is not there: %v", err)
	}
}
