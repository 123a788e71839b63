package rules_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"bittern/internal/rules"
)

func TestFeedKeepsOrderForEverySubscription(t *testing.T) {
	var feed rules.Feed
	const subscribers, changes = 4, 1000
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for range subscribers {
		sub := feed.Subscribe()
		all.Go(func() {
			for i := range changes {
				c, err := sub.Next(ctx)
				if want := fmt.Sprint(i); err != nil || c.RuleID != want {
					t.Errorf("got %q, %v; want %q", c.RuleID, err, want)
					return
				}
			}
			if _, err := sub.Next(ctx); !errors.Is(err, rules.ErrClosed) {
				t.Errorf("after the last: %v", err)
			}
		})
	}
	for i := 0; i < changes; i += 2 {
		feed.Publish(rules.Change{RuleID: fmt.Sprint(i)}, rules.Change{RuleID: fmt.Sprint(i + 1)})
	}
	feed.Close()
	all.Wait()
}

func TestSubscriptionForSelect(t *testing.T) {
	var feed rules.Feed
	sub := feed.Subscribe()
	if _, ok := sub.TryNext(); ok {
		t.Error("a change from nowhere")
	}
	feed.Publish(rules.Change{RuleID: "R1"}, rules.Change{RuleID: "R2"})
	if got := sub.Depth(); got != 2 {
		t.Errorf("%d wait, want 2", got)
	}
	for _, want := range []string{"R1", "R2"} {
		<-sub.Ready()
		if c, ok := sub.TryNext(); !ok || c.RuleID != want {
			t.Errorf("got %q, %v; want %q", c.RuleID, ok, want)
		}
	}
	feed.Publish(rules.Change{RuleID: "R3"})
	feed.Close()
	<-sub.Done()
	if c, err := sub.Next(t.Context()); err != nil || c.RuleID != "R3" {
		t.Errorf("queued before the end: %q, %v", c.RuleID, err)
	}
	if _, err := sub.Next(t.Context()); !errors.Is(err, rules.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := feed.Subscribe().Next(t.Context()); !errors.Is(err, rules.ErrClosed) {
		t.Errorf("subscribed after the end: %v", err)
	}
}

func TestClosedSubscriptionDropsItsQueue(t *testing.T) {
	var feed rules.Feed
	sub := feed.Subscribe()
	feed.Publish(rules.Change{RuleID: "R1"})
	sub.Close()
	feed.Publish(rules.Change{RuleID: "R2"})
	if _, err := sub.Next(t.Context()); !errors.Is(err, rules.ErrClosed) || sub.Depth() != 0 {
		t.Errorf("got %v, %d wait", err, sub.Depth())
	}
}

func TestChangeKindNames(t *testing.T) {
	for kind, want := range map[rules.ChangeKind]string{
		rules.Definition: "definition", rules.Deleted: "deleted", rules.Rejected: "rejected", 0: "unknown",
	} {
		if got := kind.String(); got != want {
			t.Errorf("%d is %q, want %q", kind, got, want)
		}
	}
}
