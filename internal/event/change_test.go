package event_test

import (
	"testing"
	"time"

	"bittern/internal/event"
)

func sampleLive() *event.Change {
	return &event.Change{
		ID: "019ab1c2-0000-7000-8000-000000000003", Time: time.Date(2026, 11, 23, 16, 29, 1, 0, time.UTC), RuleID: "BT0004", Version: 4, Hash: "cd34",
		Result: "live", Epoch: 8, Host: sampleHost(),
	}
}

func sampleRejected() *event.Change {
	return &event.Change{
		ID: "019ab1c2-0000-7000-8000-000000000004", Time: time.Date(2026, 11, 23, 16, 30, 1, 0, time.UTC), RuleID: "BT0004", Version: 4, Hash: "cd34",
		Result: "rejected", Error: "rules/a.yml:4:1: unknown key \"\x1b[2J\"\nand more", Host: sampleHost(),
	}
}

func sampleState() *event.Change {
	most := 0.3
	return &event.Change{
		ID: "019ab1c2-0000-7000-8000-000000000005", Time: time.Date(2026, 11, 23, 16, 31, 1, 0, time.UTC), RuleID: "BT0004", Version: 4, Hash: "cd34",
		Result: "set", Epoch: 9, By: "alice", Host: sampleHost(),
		State: &event.State{State: "clipped", ConfidenceMax: &most, ExpiresAt: time.Date(2026, 11, 23, 17, 31, 1, 0, time.UTC), Reason: "backup is running"},
	}
}

func TestChangeJSON(t *testing.T) {
	golden(t, "change-live.json", indented(t, sampleLive().AppendJSON(nil)))
	golden(t, "change-rejected.json", indented(t, sampleRejected().AppendJSON(nil)))
	golden(t, "change-state.json", indented(t, sampleState().AppendJSON(nil)))
	golden(t, "change-nameless.json", indented(t, (&event.Change{Result: "deleted"}).AppendJSON(nil)))
}
