package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/event"
	"bittern/internal/loader"
	"bittern/internal/outbox"
	"bittern/internal/rules"
)

// limited returns a rule that matches executions of /bin/A.
func limited(t testing.TB, limit string) *rules.Rule {
	t.Helper()
	r, err := Restore([]byte("rule_id: A\nrule_version: 2\nname: n\nseverity: high\napplies_to: [process_exec]\n" +
		"match: {s: {process.executable: /bin/A}, condition: s}\nemits: [{tactic: TA0011, technique_id: T1105, confidence: 0.5}]\nlimit: " + limit + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// executions are matches of a rule, one a second from a time since boot on, numbered from 1.
func executions(r *rules.Rule, n int, from time.Duration) (all []loader.Match) {
	for i := range n {
		ev := execution("/bin/A")
		ev.Sequence, ev.Uptime = uint64(i+1), from+time.Duration(i)*time.Second
		ev.Time = time.Unix(1e9, 0).Add(ev.Uptime)
		all = append(all, loader.Match{Event: ev, Rules: []*rules.Rule{r}, Instance: "one"})
	}
	return all
}

// told are the records of repeats among others.
func told(all []Record) (repeats []*event.Repeats, detections int) {
	for _, r := range all {
		if r, ok := r.(*event.Repeats); ok {
			repeats = append(repeats, r)
		} else {
			detections++
		}
	}
	return repeats, detections
}

// TestRepeats looks at what a limit makes of a stream of detections: what is written, told and logged.
func TestRepeats(t *testing.T) {
	for limit, want := range map[string]event.Source{
		"{per: process, max: 2, window: 1h}": {Process: event.Process{PID: 1, StartRel: time.Millisecond, EntityID: event.EntityID("boot", 1, time.Millisecond)}},
		"{per: user, max: 2, window: 1h}":    {User: event.User{ID: 1000, EffectiveID: 1000, Name: "alice"}},
		"{per: rule, max: 2, window: 1h}":    {},
	} {
		t.Run(limit, func(t *testing.T) {
			r := limited(t, limit)
			source := steps{}
			for _, m := range executions(r, 5, time.Hour) {
				source = append(source, step{match: m})
			}
			source = append(source, step{err: os.ErrClosed})
			out, log := &records{}, &logbook{}
			p := newPipeline(t, &source, out, log)
			if err := p.run(); err != nil {
				t.Fatal(err)
			}
			if err := p.repeats.stop(false); err != nil {
				t.Fatal(err)
			}
			repeats, detections := told(out.all)
			if detections != 2 || len(repeats) != 1 {
				t.Fatalf("%d detections, %d records of repeats", detections, len(repeats))
			}
			got := *repeats[0]
			if got.ID == "" {
				t.Error("it has no id")
			}
			got.ID = ""
			at := func(second int) time.Time {
				return time.Unix(1e9, 0).Add(time.Hour + time.Duration(second)*time.Second)
			}
			if diff := cmp.Diff(event.Repeats{
				Count: 3, Total: 3, First: at(2), Last: at(4), Began: at(0), Over: true,
				Rule: event.Rule{ID: "A", Version: 2, Name: "n", Severity: "high", Hash: r.Hash.String()},
				Tags: []event.Tag{{
					Tactic: event.Ref{ID: "TA0011", Name: "Command and Control"}, Technique: event.Ref{ID: "T1105", Name: "Ingress Tool Transfer"}, Confidence: 0.5,
				}},
				Limit:  event.Limit{Per: r.Limit.Per.String(), Max: 2, Window: time.Hour},
				Source: want, Host: p.host,
			}, got); diff != "" {
				t.Error(diff)
			}
			if s := p.stats(); s != (pipelineStats{Detections: 2, Repeats: 3}) {
				t.Errorf("stats: %+v", s)
			}
			lines := log.lines(t)
			if n := slices.Index(lines, "INFO a limit was reached: detections are counted, not written rule_id=A rule_version=2"); n < 0 || strings.Count(strings.Join(lines, "\n"), "a limit was reached") != 1 {
				t.Errorf("log: %q", lines)
			}
		})
	}
}

// repeatsIn are those of an agent with a journal.
func repeatsIn(t *testing.T, dir string, out *records, idle *bool) (*pipeline, *logbook) {
	t.Helper()
	log := &logbook{}
	p := newPipeline(t, &steps{}, out, log)
	p.repeats.idle = func() bool { return *idle }
	p.repeats.uptime = func() time.Duration { return 10 * time.Hour }
	p.repeats.windows = nil
	if err := p.repeats.start(dir, "boot"); err != nil {
		t.Fatal(err)
	}
	return p, log
}

// die leaves a journal as a death does.
func die(t *testing.T, p *pipeline) {
	t.Helper()
	p.repeats.settled = false // so that nothing is told
	if err := p.repeats.stop(false); err != nil {
		t.Fatal(err)
	}
}

// TestRecordInFlight is about a record that an agent has judged and not given back when it died, of a window that is over. Its successor
// must not end the window before it has read that record once more, or else it would write what the other one has counted.
func TestRecordInFlight(t *testing.T) {
	dir, r, idle := t.TempDir(), limited(t, "{per: rule, max: 1, window: 1m}"), false
	all := executions(r, 2, time.Hour)
	out := &records{}
	p, _ := repeatsIn(t, dir, out, &idle)
	for _, m := range all {
		if err := p.handle(m); err != nil {
			t.Fatal(err)
		}
	}
	die(t, p)

	p, _ = repeatsIn(t, dir, out, &idle)
	live := map[rules.Hash]bool{r.Hash: true}
	if err := p.repeats.look(live); err != nil {
		t.Fatal(err)
	}
	again := all[1]
	again.Inherited = true
	if err := p.handle(again); err != nil {
		t.Fatal(err)
	}
	if repeats, detections := told(out.all); detections != 1 || len(repeats) != 0 {
		t.Fatalf("%d detections, %d records of repeats", detections, len(repeats))
	}
	idle = true
	if err := p.repeats.look(live); err != nil {
		t.Fatal(err)
	}
	if repeats, detections := told(out.all); detections != 1 || len(repeats) != 1 || repeats[0].Count != 1 || !repeats[0].Over {
		t.Fatalf("%d detections, records of repeats: %+v", detections, repeats)
	}
	if err := p.repeats.stop(false); err != nil {
		t.Fatal(err)
	}
}

// TestKeptWindows tells what is held back when an agent stops, and goes on with its window in the next one.
func TestKeptWindows(t *testing.T) {
	dir, r, idle := t.TempDir(), limited(t, "{per: rule, max: 1, window: 24h}"), false
	all := executions(r, 4, time.Hour)
	out := &records{}
	for _, part := range [][]loader.Match{all[:3], all[3:]} {
		p, _ := repeatsIn(t, dir, out, &idle)
		for _, m := range part {
			if err := p.handle(m); err != nil {
				t.Fatal(err)
			}
		}
		p.repeats.drained()
		if err := p.repeats.stop(true); err != nil {
			t.Fatal(err)
		}
	}
	repeats, detections := told(out.all)
	if detections != 1 || len(repeats) != 2 || repeats[0].Count != 2 || repeats[1].Count != 1 || repeats[1].Total != 3 || repeats[1].Over {
		t.Errorf("%d detections, records of repeats: %+v", detections, repeats)
	}
}

// TestJournalCannotBeUsed writes everything, and says why.
func TestJournalCannotBeUsed(t *testing.T) {
	dir, r, idle := filepath.Join(t.TempDir(), "file"), limited(t, "{per: rule, max: 1, window: 1h}"), false
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out := &records{}
	p, log := repeatsIn(t, dir, out, &idle)
	for _, m := range executions(r, 3, time.Hour) {
		if err := p.handle(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.repeats.look(nil); err != nil {
		t.Fatal(err)
	}
	if err := p.repeats.stop(false); err != nil {
		t.Fatal(err)
	}
	if _, detections := told(out.all); detections != 3 {
		t.Errorf("%d detections, want all 3", detections)
	}
	if lines := strings.Join(log.lines(t), "\n"); !strings.Contains(lines, "ERROR limits of rules are not in force, each detection is written error=opening the journal of repeats: ") {
		t.Errorf("log: %s", lines)
	}
}

// TestDamagedJournal says so, and goes on with a limit.
func TestDamagedJournal(t *testing.T) {
	dir, r, idle := t.TempDir(), limited(t, "{per: rule, max: 1, window: 1h}"), false
	if err := os.WriteFile(filepath.Join(dir, "windows"), []byte("not a window"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := &records{}
	p, log := repeatsIn(t, dir, out, &idle)
	for _, m := range executions(r, 3, time.Hour) {
		if err := p.handle(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.repeats.stop(false); err != nil {
		t.Fatal(err)
	}
	if repeats, detections := told(out.all); detections != 1 || len(repeats) != 1 || repeats[0].Count != 2 {
		t.Errorf("%d detections, %+v", detections, repeats)
	}
	if lines := strings.Join(log.lines(t), "\n"); !strings.Contains(lines, "ERROR repeats that an agent before has counted may not all be told error=place 0 of ") {
		t.Errorf("log: %s", lines)
	}
}

// BenchmarkHeldBack compares what a detection costs that is kept in the outbox with one that is held back.
func BenchmarkHeldBack(b *testing.B) {
	for name, limit := range map[string]string{"written": "", "held": "{per: rule, max: 1, window: 24h}"} {
		b.Run(name, func(b *testing.B) {
			benchmarkHandle(b, limit)
		})
	}
}

func benchmarkHandle(b *testing.B, limit string) {
	r := limited(b, "{per: rule, max: 1, window: 24h}")
	if limit == "" {
		r.Limit = nil
	}
	host := &event.Host{BootID: "boot"}
	describe := &describer{users: newUsers(passwdFile), host: host, catalogue: catalogue(b)}
	log := (&logbook{}).logger()
	box, err := outbox.Open(outbox.Config{Dir: b.TempDir(), Log: log})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := errors.Join(box.Close(), box.Release()); err != nil {
			b.Error(err)
		}
	}()
	out := &recorder{box: box, publish: func(Record) {}}
	held := &repeats{sink: out, describe: describe, idle: func() bool { return false }, uptime: loader.Uptime, log: log}
	if err := held.start(b.TempDir(), "boot"); err != nil {
		b.Fatal(err)
	}
	p := &pipeline{describer: describe, source: &steps{}, sink: out, repeats: held, log: log}
	match := executions(r, 1, time.Hour)[0]
	b.ReportAllocs()
	for b.Loop() {
		match.Event.Sequence++
		if err := p.handle(match); err != nil {
			b.Fatal(err)
		}
	}
	if err := held.stop(false); err != nil {
		b.Fatal(err)
	}
}
