package agent

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/control"
	"bittern/internal/event"
	"bittern/internal/outbox"
)

// box keeps what is appended, and may fail.
type box struct {
	all []outbox.Record
	err error
}

func (b *box) Append(records ...outbox.Record) error {
	for _, r := range records {
		r.JSON, r.Text = append([]byte(nil), r.JSON...), append([]byte(nil), r.Text...) // they are used again
		b.all = append(b.all, r)
	}
	return b.err
}

// TestRecorder looks at what the outbox is told of each kind of record.
func TestRecorder(t *testing.T) {
	const id = "019ab1c2-0000-7000-8000-00000000000"
	at, host := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), &event.Host{BootID: "boot"}
	ev := execution("/bin/A")
	ev.Time = at
	b, published := &box{}, []Record(nil)
	w := &recorder{box: b, publish: func(r Record) { published = append(published, r) }}
	records := []Record{
		&event.Detection{ID: id + "1", Event: ev, Rule: event.Rule{ID: "A", Severity: "high"}},
		&event.Repeats{ID: id + "2", Last: at, Rule: event.Rule{ID: "B", Severity: "informational"}},
		&event.Gap{ID: id + "3", Last: at},
		&event.Change{ID: id + "4", Time: at, RuleID: strings.Repeat("C", 300)},
		&event.Change{ID: id + "5", Time: at, RuleID: "D", State: &event.State{State: "disabled"}},
		&event.Detection{ID: id + "6", Event: ev, Rule: event.Rule{ID: "E"}},
		&event.Detection{ID: id + "7", Event: ev, Rule: event.Rule{ID: "F", Severity: "critical"}},
	}
	for _, r := range records {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	type about struct {
		Kind outbox.Kind
		Tier outbox.Tier
		Rule string
	}
	want := []about{
		{outbox.Detection, outbox.High, "A"}, {outbox.Repeats, outbox.Low, "B"}, {outbox.Gap, outbox.System, ""},
		{outbox.RuleReport, outbox.System, strings.Repeat("C", 255)}, {outbox.StateChange, outbox.System, "D"},
		{outbox.Detection, outbox.Medium, "E"}, {outbox.Detection, outbox.Critical, "F"},
	}
	var got []about
	for i, r := range b.all {
		got = append(got, about{r.Kind, r.Tier, r.Rule})
		if !r.Time.Equal(at) || r.ID[15] != byte(i+1) || !json.Valid(r.JSON) || (r.Group != 0) != (r.Kind == outbox.Detection) {
			t.Errorf("record %d: %+v", i, r)
		}
		if text := string(records[i].AppendText(nil, true)); string(r.Text) != text {
			t.Errorf("record %d: text %q, want %q", i, r.Text, text)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(published) != len(records) {
		t.Errorf("%d were published, want %d", len(published), len(records))
	}
	b.err = errors.New("closed")
	if err := w.Write(&event.Gap{ID: id + "8", Host: host}); !errors.Is(err, b.err) || len(published) != len(records) {
		t.Errorf("got %v, and %d were published", err, len(published))
	}
	if err := w.Write(&event.Gap{ID: "none"}); err == nil {
		t.Error("a record without an id was kept")
	}
}

// TestGroups says which detections may be put together when there is no room.
func TestGroups(t *testing.T) {
	first := func() *event.Detection {
		d := &event.Detection{Event: execution("/bin/A"), Rule: event.Rule{ID: "A", Hash: "one"}}
		d.Event.Process.CommandLine = "a b"
		return d
	}
	of := func(change func(d *event.Detection)) uint64 {
		d := first()
		change(d)
		return groupOf(d)
	}
	group := groupOf(first())
	for name, same := range map[string]func(*event.Detection){
		"time":    func(d *event.Detection) { d.Event.Time = time.Unix(1, 0) },
		"process": func(d *event.Detection) { d.Event.Process.PID, d.Event.Process.StartRel = 8, time.Hour },
		"epoch":   func(d *event.Detection) { d.Event.Epoch = 9 },
		"id":      func(d *event.Detection) { d.ID = "x" },
	} {
		if of(same) != group {
			t.Errorf("%s makes another group", name)
		}
	}
	seen := map[uint64]string{group: "nothing"}
	for name, other := range map[string]func(*event.Detection){
		"version":    func(d *event.Detection) { d.Rule.Hash = "two" },
		"executable": func(d *event.Detection) { d.Event.Process.Executable = "/bin/B" },
		"arguments":  func(d *event.Detection) { d.Event.Process.CommandLine = "a c" },
		"directory":  func(d *event.Detection) { d.Event.Process.WorkingDirectory = "/" },
		"user":       func(d *event.Detection) { d.Event.User.ID = 0 },
		"parent":     func(d *event.Detection) { d.Event.Parent.Executable = "/bin/sh" },
		"container":  func(d *event.Detection) { d.Event.ContainerID = "c" },
		"file":       func(d *event.Detection) { d.Event.Class, d.Event.File.Path = event.FileOpen, "/etc/shadow" },
		"other file": func(d *event.Detection) { d.Event.Class, d.Event.File.Path = event.FileOpen, "/etc/passwd" },
		"port":       func(d *event.Detection) { d.Event.Class, d.Event.Network.Port = event.NetworkConnect, 443 },
		"other port": func(d *event.Detection) { d.Event.Class, d.Event.Network.Port = event.NetworkConnect, 80 },
		"exit code":  func(d *event.Detection) { d.Event.Class, d.Event.Exit.Code = event.ProcessExit, 3 },
		"target": func(d *event.Detection) {
			d.Event.Class, d.Event.Privilege.TargetExecutable = event.PrivilegeChange, "x"
		},
	} {
		got := of(other)
		if as, known := seen[got]; known {
			t.Errorf("%s makes the same group as %s", name, as)
		}
		seen[got] = name
	}
	pid := func(n uint32) func(*event.Detection) {
		return func(d *event.Detection) { d.Event.Class, d.Event.Privilege.TargetPID = event.PrivilegeChange, n }
	}
	if of(pid(1)) != of(pid(2)) {
		t.Error("the target's pid makes another group")
	}
}

// TestChanged turns changes into records.
func TestChanged(t *testing.T) {
	at, most := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), 0.5
	host := &event.Host{BootID: "boot"}
	change := control.Change{
		Topic: control.TopicState + "A", Time: at, RuleID: "A", Result: control.WasSet, Version: 2, Hash: "h", Epoch: 3, By: "alice",
		State: &control.State{State: "clipped", ConfidenceMax: &most, ExpiresAt: &at, Reason: "r", Scope: "group"},
	}
	got := changed(change, host)
	want := &event.Change{
		ID: got.ID, Time: at, RuleID: "A", Version: 2, Hash: "h", Result: "set", Epoch: 3, By: "alice", Host: host,
		State: &event.State{State: "clipped", ConfidenceMax: &most, ExpiresAt: at, Reason: "r", Scope: "group"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	change.Time = at.Add(1)
	if other := changed(change, host); other.ID == got.ID {
		t.Error("two changes have one id")
	}
}
