package health

import (
	"errors"
	"strings"
	"testing"
)

func TestBoard(t *testing.T) {
	var b Board
	rules, output := b.Add("rules"), b.Add("output")
	if err := b.Ready(); !errors.Is(err, ErrStarting) {
		t.Errorf("before the start: %v", err)
	}
	b.Started()
	if err := errors.Join(b.Healthy(), b.Ready()); err != nil {
		t.Errorf("after the start: %v", err)
	}
	output.Set(errors.New("disk full"))
	since := b.Reports()[1].Since
	output.Set(errors.New("disk full"))
	if got := b.Reports()[1].Since; !got.Equal(since) {
		t.Errorf("the same error again is since %v, was %v", got, since)
	}
	rules.Set(errors.New("no watch left"))
	for _, ask := range []func() error{b.Healthy, b.Ready} {
		if err := ask(); err == nil || !strings.Contains(err.Error(), "rules since ") ||
			!strings.Contains(err.Error(), ": no watch left; output since ") || !strings.HasSuffix(err.Error(), ": disk full") {
			t.Errorf("got %v", err)
		}
	}
	output.Set(nil)
	rules.Set(nil)
	if err := b.Ready(); err != nil {
		t.Errorf("after both recovered: %v", err)
	}
	if got := b.Reports(); got[0].Part != "rules" || got[1].Part != "output" {
		t.Errorf("got reports %v", got)
	}
}
