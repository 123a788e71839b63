package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/event"
	"bittern/internal/loader"
	"bittern/internal/rules"
)

// step is what a source returns once.
type step struct {
	match loader.Match
	err   error
}

type steps []step

func (s *steps) Release() {}

func (s *steps) Next() (loader.Match, error) {
	next := (*s)[0]
	*s = (*s)[1:]
	return next.match, next.err
}

// records keeps what is written, and may fail.
type records struct {
	all []Record
	err error
}

func (r *records) Write(rec Record) error {
	if r.err == nil {
		r.all = append(r.all, rec)
	}
	return r.err
}

func execution(program string) *event.Event {
	return &event.Event{
		Class: event.ProcessExec, Time: time.Now(),
		Process: event.Process{PID: 7, StartRel: time.Second, Executable: program},
		Parent:  event.Process{PID: 1, StartRel: time.Millisecond},
		User:    event.User{ID: 1000},
	}
}

func newPipeline(t *testing.T, source matchSource, sink recordWriter, log *logbook) *pipeline {
	t.Helper()
	passwd := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(passwd, []byte("alice:x:1000:1000::/home/alice:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	describe := &describer{users: newUsers(passwd), host: &event.Host{BootID: "boot"}, catalogue: catalogue(t)}
	held := &repeats{sink: sink, describe: describe, idle: func() bool { return false }, uptime: func() time.Duration { return 0 }, log: log.logger()}
	if err := held.start("", "boot"); err != nil {
		t.Fatal(err)
	}
	return &pipeline{describer: describe, source: source, sink: sink, repeats: held, log: log.logger()}
}

func TestPipeline(t *testing.T) {
	a, b := rule(t, "A", 3), rule(t, "B", 1)
	both := ruleOf(t, "rule_id: USER\nrule_version: 1\nname: u\napplies_to: [process_exec]\nmatch: {u: {user.name: alice}, condition: u}\n"+
		"emits: [{tactic: TA0002, technique_id: T1059, confidence: 1}]\n")
	source := steps{
		{match: loader.Match{Event: execution("/bin/A"), Rules: []*rules.Rule{a, b, both}}},
		{err: &loader.DecodeError{Reason: "made up"}},
		{match: loader.Match{Event: execution("/bin/B"), Rules: []*rules.Rule{a}}},
		{err: os.ErrClosed},
	}
	out, log := &records{}, &logbook{}
	p := newPipeline(t, &source, out, log)
	if err := p.run(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range out.all {
		got = append(got, r.(*event.Detection).Rule.ID)
	}
	if diff := cmp.Diff([]string{"A", "USER"}, got); diff != "" {
		t.Fatal(diff)
	}
	if s := p.stats(); s != (pipelineStats{Detections: 2, Prefiltered: 2, Undecodable: 1}) {
		t.Errorf("stats: %+v", s)
	}
	if want := "ERROR kernel record dropped error=decoding a kernel record: made up"; !slices.Contains(log.lines(t), want) {
		t.Errorf("not logged: %s", want)
	}
	d := out.all[0].(*event.Detection)
	want := event.Tag{
		Tactic:       event.Ref{ID: "TA0011", Name: "Command and Control"},
		Technique:    event.Ref{ID: "T1105", Name: "Ingress Tool Transfer"},
		SubTechnique: event.Ref{ID: "T1059.004", Name: "Unix Shell"},
		Confidence:   0.5,
	}
	if diff := cmp.Diff([]event.Tag{want}, d.Tags); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(event.Rule{ID: "A", Version: 3, Name: "test", Description: "For tests.", Severity: "high", Hash: a.Hash.String()}, d.Rule); diff != "" {
		t.Error(diff)
	}
	if d.Event.User.Name != "alice" || d.ID == "" || d.ID == out.all[1].(*event.Detection).ID {
		t.Errorf("user %q, id %q", d.Event.User.Name, d.ID)
	}
	if d.Event.Process.EntityID != event.EntityID("boot", 7, time.Second) || d.Event.Parent.EntityID != event.EntityID("boot", 1, time.Millisecond) {
		t.Errorf("entity ids: %q, %q", d.Event.Process.EntityID, d.Event.Parent.EntityID)
	}
}

func TestPipelineEndsWithItsParts(t *testing.T) {
	broken := errors.New("broken")
	if err := newPipeline(t, &steps{{err: broken}}, &records{}, &logbook{}).run(); !errors.Is(err, broken) {
		t.Errorf("source: got %v", err)
	}
	source := steps{{match: loader.Match{Event: execution("/bin/A"), Rules: []*rules.Rule{rule(t, "A", 1)}}}}
	p := newPipeline(t, &source, &records{err: broken}, &logbook{})
	if err := p.run(); !errors.Is(err, broken) || p.stats().Detections != 0 {
		t.Errorf("sink: got %v, %+v", err, p.stats())
	}
}

func TestGaps(t *testing.T) {
	out, log := &records{}, &logbook{}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	var ring, undecodable uint64
	var failure error
	reported := make(map[event.Class]uint64)
	losses := func() (all []loss, err error) {
		for class, total := range map[event.Class]uint64{event.ProcessExec: ring, event.FileOpen: 2 * ring, event.ClassUnknown: undecodable} {
			reason := "ring_full"
			if class == event.ClassUnknown {
				reason = "record_undecodable"
			}
			if n := total - reported[class]; n > 0 {
				all = append(all, loss{reason: reason, class: class, count: n, id: []any{class, total}, reported: func(*event.Gap) error { reported[class] = total; return nil }})
			}
		}
		// The class that is not known comes last.
		slices.SortFunc(all, func(a, b loss) int { return int(uint8(a.class)-1) - int(uint8(b.class)-1) })
		return all, failure
	}
	host := &event.Host{Hostname: "h"}
	done := 0
	g := newGapReporter(losses, func() error { done++; return nil }, out, nil, host, log.logger(), func() time.Time { return now })
	start := now
	poll := func() {
		t.Helper()
		now = now.Add(time.Second)
		if err := g.poll(); err != nil {
			t.Fatal(err)
		}
	}
	poll()
	ring = 5
	poll()
	poll()
	ring, undecodable = 7, 1
	poll()
	var got []event.Gap
	for _, r := range out.all {
		gap := *r.(*event.Gap)
		if gap.ID == "" {
			t.Error("a gap has no id")
		}
		gap.ID = ""
		got = append(got, gap)
	}
	second := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
	want := []event.Gap{
		{Class: event.ProcessExec, Count: 5, Reason: "ring_full", First: second(1), Last: second(2), Host: host},
		{Class: event.FileOpen, Count: 10, Reason: "ring_full", First: second(1), Last: second(2), Host: host},
		{Class: event.ProcessExec, Count: 2, Reason: "ring_full", First: second(3), Last: second(4), Host: host},
		{Class: event.FileOpen, Count: 4, Reason: "ring_full", First: second(3), Last: second(4), Host: host},
		{Count: 1, Reason: "record_undecodable", First: second(3), Last: second(4), Host: host},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// A gap that could not be written is not forgotten.
	out.err, ring = errors.New("broken"), 9
	if err := g.poll(); !errors.Is(err, out.err) {
		t.Errorf("got %v", err)
	}
	out.err = nil
	poll()
	if last := out.all[len(out.all)-1].(*event.Gap); last.Count != 4 {
		t.Errorf("count %d, want 4", last.Count)
	}
	// It is polled when the last agents' records have been read, without a tick.
	caughtUp, quit := make(chan struct{}), make(chan struct{})
	close(caughtUp)
	polled := done
	g.done = func() error { done++; close(quit); return nil }
	if err := g.run(nil, caughtUp, quit); err != nil || done != polled+1 {
		t.Errorf("polled %d times, %v", done-polled, err)
	}
	failure = errors.New("no counters")
	ticks := make(chan time.Time, 1)
	ticks <- now
	if err := g.run(ticks, nil, nil); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
}

func TestUsersFollowTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	u := newUsers(path)
	if got := u.name(0); got != "" {
		t.Errorf("without a file: %q", got)
	}
	write := func(content string) {
		if err := os.WriteFile(path+".new", []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/bin/sh\n# comment\n+::::::\nbad:x:-1:0::/:\nmallory:x:4294967295:0::/:\n")
	for id, want := range map[uint32]string{0: "root", 1: "", 1<<32 - 1: "mallory"} {
		if got := u.name(id); got != want {
			t.Errorf("%d: %q, want %q", id, got, want)
		}
	}
	write("admin:x:0:0:root:/root:/bin/sh\n")
	if got := u.name(0); got != "admin" {
		t.Errorf("after a change: %q", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := u.name(0); got != "admin" {
		t.Errorf("after the file went: %q", got)
	}
}

func TestHost(t *testing.T) {
	root := fstest.MapFS{
		"proc/sys/kernel/random/boot_id": {Data: []byte("5b1c\n")},
		"etc/machine-id":                 {Data: []byte("4c4c\n")},
		"usr/lib/os-release": {Data: []byte("# comment\nID=ubuntu\nID_LIKE=\"debian other\"\nNAME='U bun'\n" +
			"PRETTY_NAME=\"U \\\"bun\\\" \\$1\"\nVERSION_ID=\"24.04\"\n")},
	}
	h, err := readHost(root)
	if err != nil {
		t.Fatal(err)
	}
	if h.BootID != "5b1c" || h.ID != "4c4c" || h.Hostname == "" || h.Architecture == "" || h.OS.Kernel == "" {
		t.Errorf("%+v", h)
	}
	h.OS.Kernel = ""
	if diff := cmp.Diff(event.OS{Platform: "ubuntu", Family: "debian", Name: "U bun", Full: `U "bun" $1`, Version: "24.04"}, h.OS); diff != "" {
		t.Error(diff)
	}
	if _, err := readHost(fstest.MapFS{}); err == nil || !strings.Contains(err.Error(), "is /proc mounted?") {
		t.Errorf("got %v", err)
	}
	if h, err := readHost(rootFS()); err != nil || h.OS.Platform == "" {
		t.Errorf("this machine: %+v, %v", h, err)
	}
}
