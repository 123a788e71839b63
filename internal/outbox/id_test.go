package outbox

import (
	"os"
	"path/filepath"
	"testing"
)

// TestLogID: an outbox keeps its id, and gets another one when it loses count of what was lost.
func TestLogID(t *testing.T) {
	cfg := Config{Dir: t.TempDir()}
	id := func() ID {
		t.Helper()
		l := open(t, cfg)
		defer closeLog(t, l)
		return l.ID()
	}
	first := id()
	if first == (ID{}) || id() != first {
		t.Errorf("the id %v does not stay", first)
	}
	if err := os.Remove(filepath.Join(cfg.Dir, ledgerFile)); err != nil {
		t.Fatal(err)
	}
	second := id()
	if second == first {
		t.Error("an outbox without its ledger has the same id")
	}
	if err := os.WriteFile(filepath.Join(cfg.Dir, ledgerFile), make([]byte, 2*ledgerCopy), 0o600); err != nil {
		t.Fatal(err)
	}
	third := id()
	if third == second || third == (ID{}) || id() != third {
		t.Errorf("with a damaged ledger the id is %v, after %v", third, second)
	}
	if one, other := open(t, Config{}), open(t, Config{}); one.ID() == other.ID() {
		t.Error("two in memory have one id")
	} else {
		closeLog(t, one)
		closeLog(t, other)
	}
}

func TestIDText(t *testing.T) {
	const text = "01a21352-0b2f-7ab8-8ea5-2287a7ce33da"
	id, err := ParseID(text)
	if err != nil || id.String() != text {
		t.Errorf("%s is %s, %v", text, id, err)
	}
	for _, bad := range []string{"", text[1:], text + "0", "01a21352x0b2f-7ab8-8ea5-2287a7ce33da", "01a21352-0b2f-7ab8-8ea5-2287a7ce33dg"} {
		if id, err := ParseID(bad); err == nil {
			t.Errorf("%q is %s", bad, id)
		}
	}
}
