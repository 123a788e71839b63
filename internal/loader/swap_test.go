package loader

import (
	"errors"
	"testing"

	"bittern/internal/event"
)

func curl() *event.Event { return curlSubject.event() }

// TestCommitIsUndone lets the fence of a commit fail: the old version stays, and the
// next commit works.
func TestCommitIsUndone(t *testing.T) {
	k := loadForTest(t, Config{})
	c := newCourt(t, k)
	commit := func(version int) error {
		r := parseRule(t, ruleText("R", version, hitting(curlSubject, version)))
		_, err := k.Commit(Swap{"R", r})
		return err
	}
	if err := commit(1); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken fence")
	k.fence = func() error { return broken }
	if err := commit(2); !errors.Is(err, broken) {
		t.Fatalf("a commit without its fence: %v, want %v", err, broken)
	}
	if got := onlyNames(t, k, c); got != "R.1 " {
		t.Errorf("after a commit that failed %q judge the event, want R.1", got)
	}
	k.fence = nil
	if err := commit(3); err != nil {
		t.Fatal(err)
	}
	if got := onlyNames(t, k, c); got != "R.3 " {
		t.Errorf("%q judge the event, want R.3", got)
	}
}
