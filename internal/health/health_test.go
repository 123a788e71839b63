package health

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestBoard(t *testing.T) {
	var b Board
	var rules, output error
	b.Add("rules", func() error { return rules })
	b.Add("output", func() error { return output })
	rules = errors.New("not begun")
	if err := b.Ready(); !errors.Is(err, ErrStarting) {
		t.Errorf("before the start it is ready: %v", err)
	}
	if err := b.Healthy(); err != nil {
		t.Errorf("before the start it is ill: %v", err)
	}
	b.Started()
	rules = nil
	if err := errors.Join(b.Healthy(), b.Ready()); err != nil {
		t.Errorf("after the start: %v", err)
	}
	rules, output = errors.New("no watch left"), errors.New("disk full")
	for _, ask := range []func() error{b.Healthy, b.Ready} {
		if err := ask(); err == nil || err.Error() != "rules: no watch left\noutput: disk full" {
			t.Errorf("got %v", err)
		}
	}
	rules = nil
	if got := b.Reports(); got[0].Err != nil || got[1].Part != "output" || got[1].Err == nil {
		t.Errorf("got reports %v", got)
	}
	output = nil
	if err := b.Ready(); err != nil {
		t.Errorf("after both recovered: %v", err)
	}
}

func TestWork(t *testing.T) {
	var w Work
	if err := w.Within(0); err != nil {
		t.Errorf("at rest: %v", err)
	}
	before := time.Now()
	w.Begin()
	if err := w.Within(time.Hour); err != nil {
		t.Errorf("just begun: %v", err)
	}
	if err := w.Within(0); err == nil || !strings.Contains(err.Error(), "which should take less than 0s") {
		t.Errorf("when it may take no time: %v", err)
	}
	if since, _ := w.Longer(0); since.Before(before) || since.After(time.Now()) {
		t.Errorf("it is at it since %v", since)
	}
	w.End()
	if err := w.Within(0); err != nil {
		t.Errorf("when it is done: %v", err)
	}
}
