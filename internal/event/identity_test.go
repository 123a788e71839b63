package event_test

import (
	"regexp"
	"slices"
	"testing"
	"time"

	"bittern/internal/event"
)

func TestNewIDIsUniqueAndSortsByTime(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	start := time.UnixMilli(1_795_000_000_000)
	seen := make(map[string]bool)
	var ids []string
	for i := range 1000 {
		at := start.Add(time.Duration(i) * time.Millisecond)
		id := event.NewID(at, "host", i)
		if !form.MatchString(id) {
			t.Fatalf("%s is no UUID of version 7", id)
		}
		if other := event.NewID(at, "host", i, "more"); other[:13] != id[:13] || event.IDKey(other) == event.IDKey(id) {
			t.Fatalf("%s and %s: want the same time and another key", id, other)
		}
		if again := event.NewID(at.Add(time.Hour), "host", i); again[:13] == id[:13] || event.IDKey(again) != event.IDKey(id) {
			t.Fatalf("%s and %s: want another time and the same key", id, again)
		}
		seen[id] = true
		ids = append(ids, id)
	}
	if len(seen) != len(ids) || !slices.IsSorted(ids) {
		t.Errorf("%d of %d ids differ, sorted: %v", len(seen), len(ids), slices.IsSorted(ids))
	}
	if got, want := event.NewID(start)[:13], "01a1ee56-5e00"; got != want {
		t.Errorf("time part: got %s, want %s", got, want)
	}
}

// Numbers of records grow beyond what is a character, and some below are none.
func TestNewIDTellsNumbersApart(t *testing.T) {
	seen := make(map[string]uint64)
	for _, n := range []uint64{0xd7ff, 0xd800, 0xd801, 0xfffd, 0x10ffff, 0x110000, 0x110001, 1 << 32, 1<<63 + 1} {
		id := event.NewID(time.Time{}, "boot", n)
		if other, ok := seen[id]; ok {
			t.Errorf("%d and %d have the same id", other, n)
		}
		seen[id] = n
	}
	if event.NewID(time.Time{}, "a", "b") == event.NewID(time.Time{}, "ab") {
		t.Error("the parts of an id run into each other")
	}
}

// The id is stored in databases, so it must never change between releases.
func TestEntityIDIsStable(t *testing.T) {
	const boot = "5b1c6a2e-55c1-4fd8-9a0e-2d7e0a1f9d11"
	got := event.EntityID(boot, 4711, 90*time.Second)
	if want := "cRFZEUDmTFflQ8FUgAvUHg"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for name, other := range map[string]string{
		"boot":  event.EntityID(boot[1:], 4711, 90*time.Second),
		"pid":   event.EntityID(boot, 4712, 90*time.Second),
		"start": event.EntityID(boot, 4711, 90*time.Second+1),
	} {
		if other == got {
			t.Errorf("another %s gives the same id", name)
		}
	}
}

func BenchmarkIdentity(b *testing.B) {
	b.Run("NewID", func(b *testing.B) {
		for b.Loop() {
			event.NewID(time.Time{})
		}
	})
	b.Run("EntityID", func(b *testing.B) {
		for b.Loop() {
			event.EntityID("5b1c6a2e-55c1-4fd8-9a0e-2d7e0a1f9d11", 4711, time.Hour)
		}
	})
}
