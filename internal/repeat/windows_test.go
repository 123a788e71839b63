package repeat

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/event"
	"bittern/internal/rules"
)

func TestSourceOf(t *testing.T) {
	process := event.Process{PID: 7, StartRel: time.Second, Executable: "/bin/own"}
	parent := event.Process{PID: 3, StartRel: time.Millisecond, Executable: "/bin/parent"}
	for _, tt := range []struct {
		per    rules.Per
		class  event.Class
		parent event.Process
		want   Source
		runs   string
	}{
		{rules.PerProcess, event.ProcessExec, parent, Source{Per: rules.PerProcess, PID: 3, Start: time.Millisecond}, "/bin/parent"},
		{rules.PerProcess, event.ProcessExit, parent, Source{Per: rules.PerProcess, PID: 3, Start: time.Millisecond}, "/bin/parent"},
		{rules.PerProcess, event.ProcessExec, event.Process{}, Source{Per: rules.PerProcess, PID: 7, Start: time.Second}, "/bin/own"},
		{rules.PerProcess, event.FileOpen, parent, Source{Per: rules.PerProcess, PID: 7, Start: time.Second}, "/bin/own"},
		{rules.PerUser, event.ProcessExec, parent, Source{Per: rules.PerUser, User: 1000}, ""},
		{rules.PerRule, event.ProcessExec, parent, Source{Per: rules.PerRule}, ""},
	} {
		from, runs := SourceOf(tt.per, &event.Event{Class: tt.class, Process: process, Parent: tt.parent, User: event.User{ID: 1000}})
		if from != tt.want || runs != tt.runs {
			t.Errorf("per %s of %s: %+v %s, want %+v %s", tt.per, tt.class, from, runs, tt.want, tt.runs)
		}
	}
}

// bench are windows that note what they tell.
type bench struct {
	*Windows
	t    *testing.T
	told []string
	n    uint64
	fail error
}

func newBench(t *testing.T, cfg Config, before ...*Window) *bench {
	t.Helper()
	b := &bench{t: t}
	cfg.Boot = "boot"
	cfg.Tell = func(told Told) error {
		b.told = append(b.told, fmt.Sprintf("%s user %d: %d of %d over=%v", told.Rule.ID, told.Source.User, told.Count, told.Announced, told.Over))
		return b.fail
	}
	if cfg.Broken == nil {
		cfg.Broken = func(err error) { t.Error(err) }
	}
	var err error
	if b.Windows, err = New(cfg, before); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) judge(r *rules.Rule, user uint32, at time.Duration) Verdict {
	b.t.Helper()
	b.n++
	v, err := b.Judge(r, Source{Per: rules.PerUser, User: user}, "", Moment{Record: Record{Sequence: b.n}, Uptime: at, Time: time.Unix(1e9, 0).Add(at)})
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

func (b *bench) expect(told ...string) {
	b.t.Helper()
	if diff := cmp.Diff(told, b.told); diff != "" {
		b.t.Error(diff)
	}
	b.told = nil
}

func live(rules.Hash) bool { return true }

// TestLongWindow is told of once a minute while something is held back, and at its end.
func TestLongWindow(t *testing.T) {
	b, r := newBench(t, Config{}), ruleOf(t, "A", 1, 1, time.Hour)
	tick := func(at time.Duration) {
		t.Helper()
		if err := b.Tick(at, at, live); err != nil {
			t.Fatal(err)
		}
	}
	if v := b.judge(r, 1, time.Hour); v != Write {
		t.Error(v)
	}
	tick(time.Hour + 10*time.Minute)
	b.expect()
	if v := b.judge(r, 1, time.Hour+10*time.Minute); v != HoldFirst {
		t.Error(v)
	}
	tick(time.Hour + 10*time.Minute + 59*time.Second)
	b.expect()
	if v := b.judge(r, 1, time.Hour+10*time.Minute+59*time.Second); v != Hold {
		t.Error(v)
	}
	tick(time.Hour + 11*time.Minute)
	b.expect("A user 1: 2 of 2 over=false")
	tick(time.Hour + 30*time.Minute)
	b.expect()
	b.judge(r, 1, time.Hour+40*time.Minute)
	tick(time.Hour + 41*time.Minute)
	b.expect("A user 1: 1 of 3 over=false")
	b.judge(r, 1, time.Hour+41*time.Minute+time.Second)
	tick(time.Hour + 41*time.Minute + 30*time.Second)
	b.expect() // a minute has not passed
	tick(2 * time.Hour)
	b.expect("A user 1: 1 of 4 over=true")
	if b.Open() != 0 {
		t.Errorf("%d windows are open", b.Open())
	}
	b.judge(r, 1, 2*time.Hour)
	b.judge(r, 1, 2*time.Hour)
	if v := b.judge(r, 1, 3*time.Hour); v != Write {
		t.Error("a new window begins with ", v)
	}
	b.expect("A user 1: 1 of 1 over=true")
}

// TestNewVersion ends the windows of the version before.
func TestNewVersion(t *testing.T) {
	b, one, two := newBench(t, Config{}), ruleOf(t, "A", 1, 1, time.Hour), ruleOf(t, "A", 2, 1, time.Hour)
	b.judge(one, 1, time.Hour)
	b.judge(one, 1, time.Hour)
	if v := b.judge(two, 1, time.Hour); v != Write {
		t.Errorf("the new version begins with %v", v)
	}
	second := func(version rules.Hash) bool { return version == two.Hash }
	// What was on its way when the version ended may still come.
	if err := b.Tick(time.Hour+time.Second, time.Hour, second); err != nil {
		t.Fatal(err)
	}
	b.expect()
	if err := b.Tick(time.Hour+2*time.Second, time.Hour+time.Second, second); err != nil {
		t.Fatal(err)
	}
	b.expect("A user 1: 1 of 1 over=true")
	if all := b.Rules(); len(all) != 1 || all[0] != two {
		t.Errorf("rules with windows: %v", all)
	}
}

// TestAnotherBoot ends windows that were open when the machine went down.
func TestAnotherBoot(t *testing.T) {
	r := ruleOf(t, "A", 1, 1, time.Hour)
	old := &Window{Rule: r, Source: Source{Per: rules.PerUser, User: 1}, Boot: "another", Opened: time.Hour, Written: 1, Held: 3, Announced: 2, Told: 1}
	b := newBench(t, Config{}, old)
	b.expect("A user 1: 1 of 2 over=false") // it was about to be told
	if err := b.Tick(time.Minute, 0, live); err != nil {
		t.Fatal(err)
	}
	b.expect("A user 1: 1 of 3 over=true")
}

// TestRoom gives up windows that hold nothing, the one first that has waited longest, and nothing else.
func TestRoom(t *testing.T) {
	b, r := newBench(t, Config{Most: 10, MostOfRule: 3}), ruleOf(t, "A", 1, 1, time.Hour)
	for user, want := range []Verdict{Write, Write, Write} {
		if v := b.judge(r, uint32(user), time.Hour); v != want {
			t.Errorf("user %d: %v", user, v)
		}
	}
	b.judge(r, 0, time.Hour) // holds
	if v := b.judge(r, 3, time.Hour); v != Write || b.Forgotten() != 1 || b.Open() != 3 {
		t.Errorf("%v, %d forgotten, %d open", v, b.Forgotten(), b.Open())
	}
	if v := b.judge(r, 2, time.Hour); v != HoldFirst {
		t.Error("the wrong window was given up: ", v)
	}
	b.judge(r, 3, time.Hour)
	if v := b.judge(r, 4, time.Hour); v != Unlimited || b.Open() != 3 {
		t.Errorf("%v, %d open", v, b.Open())
	}
	if v := b.judge(ruleOf(t, "B", 1, 1, time.Hour), 4, time.Hour); v != Write {
		t.Error("another rule has no room: ", v)
	}
}

// failing is a journal's file that fails after some writes.
type failing struct {
	out  io.WriterAt
	left int
}

func (f *failing) WriteAt(p []byte, at int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, os.ErrPermission
	}
	return f.out.WriteAt(p, at)
}

// TestUnwritableJournal tells all that is held, and holds nothing back any more.
func TestUnwritableJournal(t *testing.T) {
	r := ruleOf(t, "A", 1, 1, time.Minute)
	for writes := range 8 {
		dir := t.TempDir()
		j, _, _, err := OpenJournal(dir, parseRule)
		if err != nil {
			t.Fatal(err)
		}
		j.out = &failing{j.file, writes}
		broken := 0
		b := newBench(t, Config{Journal: j, Broken: func(err error) {
			if broken++; !errors.Is(err, os.ErrPermission) {
				t.Error(err)
			}
		}})
		written, judged := 0, 0
		for at := range 4 {
			for user := range uint32(2) {
				judged++
				if v := b.judge(r, user, time.Duration(at)*25*time.Second+time.Hour); v == Write || v == Unlimited {
					written++
				}
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		counted := 0
		for _, told := range b.told {
			var user, count int
			if _, err := fmt.Sscanf(told, "A user %d: %d", &user, &count); err != nil {
				t.Fatal(err)
			}
			counted += count
		}
		if broken != 1 || written+counted != judged {
			t.Errorf("after %d writes: broken %d times, %d written and %d counted of %d: %q", writes, broken, written, counted, judged, b.told)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		if found, damage := reopen(t, dir); len(found)+len(damage) > 0 {
			t.Errorf("it would be told again: %v %v", found, damage)
		}
	}
}

// An output that fails is an error, and nothing is forgotten.
func TestTellingFails(t *testing.T) {
	b, r := newBench(t, Config{}), ruleOf(t, "A", 1, 1, time.Minute)
	b.judge(r, 1, time.Hour)
	b.judge(r, 1, time.Hour)
	b.fail = errors.New("broken pipe")
	for _, err := range []error{b.Tick(2*time.Hour, 2*time.Hour, live), b.Flush(), b.Close()} {
		if !errors.Is(err, b.fail) {
			t.Errorf("got %v", err)
		}
	}
	b.fail, b.told = nil, nil
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b.expect("A user 1: 1 of 1 over=true")
}
