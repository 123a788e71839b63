package agent

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bittern/internal/control"
	"bittern/internal/rules"
	"bittern/internal/rules/fsstore"
)

// settable is an agent with one rule, whose committer is at work on a small kernel, and nothing else is.
func settable(t *testing.T) (controlled, *smallKernel, *committer) {
	t.Helper()
	return settableOver(t, func(s *fsstore.Store) Store { return s })
}

// settableOver is settable with a store that lies over that of the files.
func settableOver(t *testing.T, lay func(*fsstore.Store) Store) (controlled, *smallKernel, *committer) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.yml"), rule(t, "A", 1).Document(), 0o600); err != nil {
		t.Fatal(err)
	}
	log := (&logbook{}).logger()
	files, err := fsstore.New(fsstore.Config{Dir: dir, States: t.TempDir(), Parse: Parser(catalogue(t)), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	if err := files.Start(); err != nil {
		t.Fatal(err)
	}
	store := lay(files)
	a, err := New(Config{Rules: func() (string, error) { return dir, nil }, Output: new(bytes.Buffer), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	k := newSmallKernel(10)
	c := newCommitter(k, none, log)
	c.announce = a.control.Changes.Publish
	all, changes := store.Subscribe()
	if err := c.begin(all); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go c.run(ctx, changes)
	a.running.Store(&running{store: store, committer: c, pipeline: &pipeline{tally: new(tally)}})
	t.Cleanup(func() {
		cancel()
		<-c.ended
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return controlled{a}, k, c
}

// TestSetStateWaits: a state that the committer has not got to does not count yet, and who sets it waits.
func TestSetStateWaits(t *testing.T) {
	a, k, c := settable(t)
	busy, free := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	t.Cleanup(release) // also if the test fails
	go func() { _ = c.ask(t.Context(), func() { close(busy); <-free }) }()
	<-busy
	type answer struct {
		state rules.RuleState
		err   error
	}
	answered := make(chan answer, 1)
	go func() {
		state, err := a.SetState(t.Context(), "A", rules.RuleState{State: rules.Disabled, Reason: "noisy"}, "me")
		answered <- answer{state, err}
	}()
	up, err := a.up()
	if err != nil {
		t.Fatal(err)
	}
	for up.store.State("A").State != rules.Disabled {
		time.Sleep(time.Millisecond)
	}
	select {
	case got := <-answered:
		t.Fatalf("answered before the kernel knows: %+v", got)
	case <-time.After(100 * time.Millisecond):
	}
	release()
	got := <-answered
	if got.err != nil || got.state.State != rules.Disabled || got.state.SetBy != "me" || got.state.Reason != "noisy" {
		t.Errorf("got %+v", got)
	}
	var live map[string]int
	if err := c.ask(t.Context(), func() { live = k.live }); err != nil || live["A"] != 0 {
		t.Errorf("after that the kernel judges by version %d of it, %v", live["A"], err)
	}
}

// TestSetStateSaysWhatFailed: a rule that the kernel can't be rid of detects on, and who disables it has to know.
func TestSetStateSaysWhatFailed(t *testing.T) {
	a, k, c := settable(t)
	if err := c.ask(t.Context(), func() { k.broken = context.DeadlineExceeded }); err != nil {
		t.Fatal(err)
	}
	if _, err := a.SetState(t.Context(), "A", rules.RuleState{State: rules.Disabled}, "me"); err == nil || !strings.Contains(err.Error(), "the rule stays live") {
		t.Errorf("got %v", err)
	}
	if _, err := a.SetState(t.Context(), "A", rules.RuleState{State: rules.Clipped, ConfidenceMax: 2}, "me"); err == nil || !strings.Contains(err.Error(), "confidence_max is 2") {
		t.Errorf("got %v", err)
	}
}

// TestBeforeTheStart: a status is there at once, and all else says why it is not.
func TestBeforeTheStart(t *testing.T) {
	a, err := New(Config{Rules: func() (string, error) { return "", nil }, Output: new(bytes.Buffer), Log: (&logbook{}).logger()})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := (controlled{a}).Status(t.Context()); err != nil || s.Ready || s.PID != os.Getpid() || s.Health == nil {
		t.Errorf("got %+v, %v", s, err)
	}
	if _, err := (controlled{a}).Rules(t.Context()); !errors.Is(err, control.ErrStarting) {
		t.Errorf("got %v", err)
	}
	if _, err := (controlled{a}).SetState(t.Context(), "A", rules.RuleState{}, "me"); !errors.Is(err, control.ErrStarting) {
		t.Errorf("got %v", err)
	}
}
