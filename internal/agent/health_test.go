package agent

import (
	"errors"
	"slices"
	"testing"
	"time"

	"bittern/internal/rules/fsstore"
)

// TestHealthIsLoggedOnce asks something whose health changes from tick to tick.
func TestHealthIsLoggedOnce(t *testing.T) {
	dead, worse := errors.New("it is dead"), errors.New("it is worse")
	answers := []error{nil, dead, dead, worse, worse, nil, nil, dead, fsstore.ErrStopped}
	ticks := make(chan time.Time)
	var book logbook
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watchHealth(func() error {
			err := answers[0]
			answers = answers[1:]
			return err
		}, book.logger(), ticks, nil)
	}()
	for range len(answers) {
		ticks <- time.Time{}
	}
	<-ended
	want := []string{
		"ERROR edits of rules have no effect error=it is dead",
		"ERROR edits of rules have no effect error=it is worse",
		"INFO rules are watched again",
		"ERROR edits of rules have no effect error=it is dead",
	}
	if got := book.lines(t); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestHealthEndsWithTheAgent(t *testing.T) {
	quit := make(chan struct{})
	close(quit)
	watchHealth(func() error { return nil }, (&logbook{}).logger(), nil, quit)
}
