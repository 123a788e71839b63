package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"bittern/internal/rules"
)

// step is one thing that an author does, and what the store makes of it.
type step struct {
	put, text string // set a source
	remove    string
	from, to  string // rename

	changes []string // announced, all and in order
	live    string   // afterwards
	source  string   // whose problems are looked at
	problem string   // part of them; "" for none
	stale   []string
}

type scenario struct {
	name  string
	steps []step
}

func scenarios() []scenario {
	r1, r1v2, r2, r3 := Text("R1", 1), Text("R1", 2), Text("R2", 1), Text("R3", 1)
	return []scenario{
		{"life of a rule", []step{
			{put: "a.yml", text: r1, changes: []string{"definition R1 v1"}, live: "R1v1"},
			{put: "a.yml", text: r1v2, changes: []string{"definition R1 v2"}, live: "R1v2"},
			{remove: "a.yml", changes: []string{"deleted R1"}},
			{put: "a.yml", text: r1, changes: []string{"definition R1 v1"}, live: "R1v1"},
		}},
		{"the same content is no change", []step{
			{put: "a.yml", text: r1, changes: []string{"definition R1 v1"}, live: "R1v1"},
			{put: "a.yml", text: r1, live: "R1v1"},
			{put: "a.yml", text: "# a comment\n" + r1, live: "R1v1"},
		}},
		{"several rules in one source, in their order", []step{
			{put: "a.yml", text: Join(r2, r1), changes: []string{"definition R2 v1", "definition R1 v1"}, live: "R1v1 R2v1"},
			{put: "a.yml", text: Join(r3, r1v2, r2), changes: []string{"definition R3 v1", "definition R1 v2"}, live: "R1v2 R2v1 R3v1"},
			{put: "a.yml", text: r2, changes: []string{"deleted R1", "deleted R3"}, live: "R2v1"},
		}},
		{"removing a source deletes its rules in id order", []step{
			{put: "a.yml", text: Join(r3, r1, r2), changes: []string{"definition R3 v1", "definition R1 v1", "definition R2 v1"}, live: "R1v1 R2v1 R3v1"},
			{remove: "a.yml", changes: []string{"deleted R1", "deleted R2", "deleted R3"}},
		}},
		{"the last good version stays", []step{
			{put: "a.yml", text: r1, changes: []string{"definition R1 v1"}, live: "R1v1"},
			{put: "a.yml", text: BadText("R1"), changes: []string{"rejected R1"}, live: "R1v1", source: "a.yml", problem: "needle-(99", stale: []string{"R1"}},
			{put: "a.yml", text: BadText("R1"), live: "R1v1", source: "a.yml", problem: "needle-(99", stale: []string{"R1"}},
			{put: "a.yml", text: r1, live: "R1v1", source: "a.yml"},
			{put: "a.yml", text: BadText("R1"), changes: []string{"rejected R1"}, live: "R1v1", source: "a.yml", problem: "needle-(99", stale: []string{"R1"}},
			{put: "a.yml", text: r1v2, changes: []string{"definition R1 v2"}, live: "R1v2", source: "a.yml"},
		}},
		{"a bad document does not disturb the others", []step{
			{put: "a.yml", text: Join(r1, r2), changes: []string{"definition R1 v1", "definition R2 v1"}, live: "R1v1 R2v1"},
			{put: "a.yml", text: Join(r1v2, BadText("R2"), r3), changes: []string{"definition R1 v2", "definition R3 v1", "rejected R2"},
				live: "R1v2 R2v1 R3v1", source: "a.yml", problem: "needle-(99", stale: []string{"R2"}},
			{put: "a.yml", text: Join(r1v2, r3), changes: []string{"deleted R2"}, live: "R1v2 R3v1", source: "a.yml"},
		}},
		{"text that is cut keeps what it had", []step{
			{put: "a.yml", text: Join(r1, r2), changes: []string{"definition R1 v1", "definition R2 v1"}, live: "R1v1 R2v1"},
			{put: "a.yml", text: Join(r1v2, CutText), changes: []string{"definition R1 v2", "rejected"}, live: "R1v2 R2v1", source: "a.yml", problem: "a.yml", stale: []string{"R2"}},
			{remove: "a.yml", changes: []string{"deleted R1", "deleted R2"}},
		}},
		{"an empty source is ignored, and keeps what it had", []step{
			{put: "a.yml", text: "", source: "a.yml"},
			{put: "b.yml", text: "# nothing yet\n", source: "b.yml"},
			{put: "a.yml", text: r1, changes: []string{"definition R1 v1"}, live: "R1v1"},
			{put: "a.yml", text: "", live: "R1v1", source: "a.yml", problem: "file is empty", stale: []string{"R1"}},
			{put: "a.yml", text: r1v2, changes: []string{"definition R1 v2"}, live: "R1v2", source: "a.yml"},
		}},
		{"a renamed source is no change", []step{
			{put: "a.yml", text: Join(r1, r2), changes: []string{"definition R1 v1", "definition R2 v1"}, live: "R1v1 R2v1"},
			{from: "a.yml", to: "b.yml", live: "R1v1 R2v1"},
			{put: "b.yml", text: Join(r1v2, r2), changes: []string{"definition R1 v2"}, live: "R1v2 R2v1"},
			{remove: "b.yml", changes: []string{"deleted R1", "deleted R2"}},
		}},
		{"a renamed source keeps what it holds", []step{
			{put: "a.yml", text: r1, changes: []string{"definition R1 v1"}, live: "R1v1"},
			{put: "a.yml", text: BadText("R1"), changes: []string{"rejected R1"}, live: "R1v1", source: "a.yml", problem: "needle-(99", stale: []string{"R1"}},
			{from: "a.yml", to: "b.yml", live: "R1v1", source: "b.yml", problem: "needle-(99", stale: []string{"R1"}},
		}},
		{"a source renamed over another", []step{
			{put: "a.yml", text: r1, changes: []string{"definition R1 v1"}, live: "R1v1"},
			{put: "b.yml", text: r2, changes: []string{"definition R2 v1"}, live: "R1v1 R2v1"},
			{from: "a.yml", to: "b.yml", changes: []string{"deleted R2"}, live: "R1v1"},
		}},
		{"of two sources with one id the live one stays", []step{
			{put: "b.yml", text: r1, changes: []string{"definition R1 v1"}, live: "R1v1"},
			{put: "a.yml", text: Join(r1v2, r2), changes: []string{"definition R2 v1", "rejected R1"}, live: "R1v1 R2v1", source: "a.yml", problem: "already defined in"},
			{put: "b.yml", text: BadText("R1"), changes: []string{"rejected R1"}, live: "R1v1 R2v1", source: "b.yml", problem: "needle-(99", stale: []string{"R1"}},
			{remove: "b.yml", changes: []string{"definition R1 v2"}, live: "R1v2 R2v1", source: "a.yml"},
		}},
		{"a twin that takes over is no change", []step{
			{put: "a.yml", text: r1, changes: []string{"definition R1 v1"}, live: "R1v1"},
			{put: "b.yml", text: r1, changes: []string{"rejected R1"}, live: "R1v1", source: "b.yml", problem: "a.yml:1"},
			{remove: "a.yml", live: "R1v1", source: "b.yml"},
			{put: "b.yml", text: r1v2, changes: []string{"definition R1 v2"}, live: "R1v2"},
		}},
		{"one id twice in one source", []step{
			{put: "a.yml", text: Join(r1, r1v2), changes: []string{"definition R1 v1", "rejected R1"}, live: "R1v1", source: "a.yml", problem: "R1"},
		}},
		{"a rule that moves between sources", []step{
			{put: "a.yml", text: Join(r1, r2), changes: []string{"definition R1 v1", "definition R2 v1"}, live: "R1v1 R2v1"},
			{put: "b.yml", text: r2, changes: []string{"rejected R2"}, live: "R1v1 R2v1", source: "b.yml", problem: "already defined"},
			{put: "a.yml", text: r1, live: "R1v1 R2v1", source: "b.yml"},
		}},
	}
}

// Run runs the suite. newBackend returns a backend that has no rules, goes by a clock, and
// cleans up at the end of the test.
func Run(t *testing.T, newStore func(t *testing.T, clock *Clock) Backend) {
	newBackend := func(t *testing.T) Backend { return newStore(t, NewClock()) }
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) { sc.run(t, newBackend(t)) })
	}
	t.Run("fifty edits are fifty changes", func(t *testing.T) { fifty(t, newBackend(t)) })
	t.Run("snapshot and changes fit", func(t *testing.T) { snapshots(t, newBackend(t)) })
	t.Run("subscriptions are apart", func(t *testing.T) { subscriptions(t, newBackend(t)) })
	for name, check := range setChecks {
		t.Run("sets: "+name, func(t *testing.T) { check(t, newBackend(t)) })
	}
	for name, check := range listChecks {
		t.Run("lists: "+name, func(t *testing.T) { check(t, newBackend(t)) })
	}
	for name, check := range stateChecks {
		t.Run("states: "+name, func(t *testing.T) {
			clock := NewClock()
			check(t, newStore(t, clock), clock)
		})
	}
}

func (sc scenario) run(t *testing.T, b Backend) {
	sub := b.Changes()
	defer sub.Close()
	for i, st := range sc.steps {
		switch {
		case st.put != "":
			b.Put(t, st.put, st.text)
		case st.remove != "":
			b.Remove(t, st.remove)
		default:
			b.Rename(t, st.from, st.to)
		}
		Expect(t, sub, st.changes...)
		Quiet(t, b, sub)
		WantLive(t, b, st.live)
		if st.source != "" {
			WantProblem(t, b, st.source, st.problem, st.stale...)
		}
		if t.Failed() {
			t.Fatalf("at step %d", i+1)
		}
	}
}

// fifty edits many sources without waiting between them.
func fifty(t *testing.T, b Backend) {
	const sources = 50
	sub := b.Changes()
	defer sub.Close()
	for version := 1; version <= 2; version++ {
		var want []string
		for i := range sources {
			id := fmt.Sprintf("R%02d", i)
			b.Put(t, id+".yml", Text(id, version))
			want = append(want, fmt.Sprintf("definition %s v%d", id, version))
		}
		Expect(t, sub, want...)
		Quiet(t, b, sub)
	}
	if got := len(b.Load()); got != sources {
		t.Errorf("%d rules are live, want %d", got, sources)
	}
}

// snapshots subscribes again and again while a rule is edited: the first change
// of each subscription is the one after its snapshot, none lost and none twice.
func snapshots(t *testing.T, b Backend) {
	const edits = 100
	type start struct {
		version int
		sub     *rules.Subscription
	}
	var starts []start
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		kept := map[int]int{}
		for {
			rs, sub := b.Subscribe()
			// A few of each version will do; each costs the store at every change.
			if len(rs) == 0 || kept[rs[0].Version] == 3 {
				sub.Close()
			} else {
				kept[rs[0].Version]++
				starts = append(starts, start{rs[0].Version, sub})
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	own := b.Changes()
	defer own.Close()
	for i := range edits {
		b.Put(t, "a.yml", Text("R1", i+1))
		Expect(t, own, fmt.Sprintf("definition R1 v%d", i+1))
	}
	close(stop)
	<-stopped
	for _, st := range starts {
		if st.version < edits {
			if c := Next(t, st.sub); c.Rule == nil || c.Rule.Version != st.version+1 {
				t.Fatalf("after a snapshot with v%d comes %s", st.version, Show(c))
			}
		} else if c, ok := st.sub.TryNext(); ok {
			t.Fatalf("after a snapshot with the last version comes %s", Show(c))
		}
		st.sub.Close()
	}
}

// subscriptions checks that one which nobody reads holds up nobody, and that an
// end is an end.
func subscriptions(t *testing.T, b Backend) {
	slow, quick := b.Changes(), b.Changes()
	const edits = 20
	for i := range edits {
		b.Put(t, "a.yml", Text("R1", i+1))
		Expect(t, quick, fmt.Sprintf("definition R1 v%d", i+1))
	}
	if got := slow.Depth(); got != edits {
		t.Errorf("%d changes wait, want %d", got, edits)
	}
	for i := range edits {
		Expect(t, slow, fmt.Sprintf("definition R1 v%d", i+1))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := slow.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting with a context that ended: %v", err)
	}
	slow.Close()
	slow.Close()
	b.Put(t, "a.yml", Text("R1", edits+1))
	Expect(t, quick, fmt.Sprintf("definition R1 v%d", edits+1))
	if _, err := slow.Next(context.Background()); !errors.Is(err, rules.ErrClosed) {
		t.Errorf("waiting for a closed subscription: %v", err)
	}
	quick.Close()
}
