package fleetstate

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"bittern/internal/rules"
)

// told is a decision in the model: with its deadline, by the uptime; 0 for none.
type told struct {
	Decision
	due time.Duration
}

// model is what a store is to be, in the plainest way: all is found out anew whenever it is asked.
type model struct {
	*fixture
	told    map[string][]told
	serial  int64 // makes each decision another one
	version int
	view    view
}

// view is a snapshot with the changes after it.
type view struct {
	rules  map[string]int
	states map[string]rules.RuleState
}

var ids = []string{"R1", "R2", "R3", "FLOOR"}

func floored(id string) bool { return id == "FLOOR" }

// counts is the state that is to count, without its ExpiresAt.
func (m *model) counts(id string) rules.RuleState {
	if local := m.host.State(id); !local.IsZero() {
		return local
	}
	for _, d := range m.told[id] {
		if m.left(d) <= 0 || d.State == rules.Disabled && floored(id) {
			continue
		}
		return rules.RuleState{State: d.State, ConfidenceMax: d.ConfidenceMax, Reason: d.Reason, SetBy: d.SetBy, SetAt: d.SetAt, Scope: d.Scope}
	}
	return rules.RuleState{}
}

// left is how long a decision still lasts.
func (m *model) left(d told) time.Duration {
	if d.due == 0 {
		return most
	}
	return d.due - m.machine.Uptime()
}

func (m *model) decision(t *rapid.T, scope string) told {
	m.serial++
	d := Decision{
		State: rapid.SampledFrom([]rules.State{rules.Disabled, rules.Clipped, rules.Enabled}).Draw(t, "state"), SetBy: "alice", Scope: scope,
		Lasts: time.Duration(rapid.IntRange(0, 20).Draw(t, "lasts")) * time.Minute, SetAt: time.Unix(m.serial, 0).UTC(),
	}
	if d.State == rules.Clipped {
		d.ConfidenceMax = rapid.SampledFrom([]float64{0, 0.25, 1}).Draw(t, "confidence")
	}
	out := told{Decision: d}
	if d.Lasts != 0 {
		out.due = m.machine.Uptime() + d.Lasts
	}
	return out
}

func (m *model) decisions(t *rapid.T) []told {
	var all []told
	for _, scope := range []string{"host", "group", "group", "fleet"} {
		if rapid.Bool().Draw(t, scope) {
			all = append(all, m.decision(t, scope))
		}
	}
	return all
}

func (m *model) someID(t *rapid.T) string { return rapid.SampledFrom(ids).Draw(t, "id") }

// tell applies the decisions of some rules; they last from a moment ago on.
func (m *model) tell(t *rapid.T, resync bool, some map[string][]told) {
	var all []RuleStates
	for id, decisions := range some {
		r := RuleStates{RuleID: id}
		for _, d := range decisions {
			r.Decisions = append(r.Decisions, d.Decision)
		}
		all = append(all, r)
	}
	must(t, m.Apply(m.update(resync, all...)))
}

// remember makes these the decisions of the model.
func (m *model) remember(resync bool, some map[string][]told) {
	if resync {
		clear(m.told)
	}
	maps.Copy(m.told, some)
}

func (m *model) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"local": func(t *rapid.T) {
			id, s := m.someID(t), rules.RuleState{State: rules.State(rapid.IntRange(0, 2).Draw(t, "state"))}
			s.Reason = rapid.SampledFrom([]string{"", "some"}).Draw(t, "reason")
			if s.State == rules.Enabled && s.Reason == "" {
				s = rules.RuleState{}
			}
			must(t, m.SetState(id, s, "dave"))
		},
		"local expiry": func(t *rapid.T) { m.host.set(m.someID(t), rules.RuleState{}, rules.ByExpiry) },
		"define": func(t *rapid.T) {
			m.version++
			m.host.define(m.version, rapid.SliceOfNDistinct(rapid.SampledFrom(ids), 1, 3, rapid.ID[string]).Draw(t, "ids")...)
		},
		"delete": func(t *rapid.T) { m.host.remove(m.someID(t)) },
		"apply": func(t *rapid.T) {
			some := map[string][]told{m.someID(t): m.decisions(t), m.someID(t): m.decisions(t)}
			_, _, known := m.Known()
			m.tell(t, false, some)
			m.remember(!known, some)
		},
		"resync": func(t *rapid.T) {
			some := map[string][]told{m.someID(t): m.decisions(t), m.someID(t): m.decisions(t)}
			m.tell(t, true, some)
			m.remember(true, some)
		},
		"the same again": func(t *rapid.T) {
			some := map[string][]told{}
			for id, decisions := range m.told {
				for _, d := range decisions {
					if m.left(d) <= 0 {
						continue
					}
					jitter := time.Duration(rapid.IntRange(-500, 500).Draw(t, "jitter")) * time.Millisecond
					if d.Lasts = 0; d.due != 0 {
						left := m.left(d) + jitter
						if d.Lasts = left; left == 0 {
							d.Lasts = -1
						}
						d.due = min(d.due, d.due+jitter)
					}
					some[id] = append(some[id], d)
				}
			}
			m.check(t)
			was := map[string]rules.RuleState{}
			for _, id := range ids {
				was[id] = m.State(id)
			}
			m.tell(t, true, some)
			m.remember(true, some)
			for _, id := range ids {
				// Only that which has expired meanwhile, since less is left of it, is another one.
				if s := m.State(id); !s.Equal(was[id]) && m.left(m.first(id, was[id])) > 0 {
					t.Fatalf("%s was %+v and is %+v", id, was[id], s)
				}
			}
		},
		"failure": func(t *rapid.T) {
			blocker := m.cfg.File + ".new"
			m.idle(t)
			must(t, os.Mkdir(blocker, 0o700))
			if err := m.Apply(m.update(rapid.Bool().Draw(t, "resync"), of(m.someID(t), off("host", 0)))); err == nil {
				t.Fatal("it is no error")
			}
			must(t, os.Remove(blocker))
		},
		"pass":  func(t *rapid.T) { m.pass(t, time.Duration(rapid.IntRange(1, 400).Draw(t, "seconds"))*time.Second) },
		"sleep": func(t *rapid.T) { m.pass(t, time.Duration(rapid.IntRange(1, 20).Draw(t, "minutes"))*time.Minute) },
		"step": func(t *rapid.T) {
			m.machine.step(time.Duration(rapid.IntRange(-3000, 3000).Draw(t, "seconds")) * time.Second)
		},
		"restart": func(t *rapid.T) {
			m.restart(t, func() { m.gap(t) })
			m.look()
		},
		"kill": func(t *rapid.T) {
			m.crash(t, func() { m.gap(t) })
			m.look()
		},
		"reboot": func(t *rapid.T) {
			again := m.restart
			if rapid.Bool().Draw(t, "without notice") {
				again = m.crash
			}
			again(t, func() { m.reboot(t) })
			m.look()
		},
		"": m.check,
	}
}

// first finds a decision again by what it says.
func (m *model) first(id string, s rules.RuleState) told {
	for _, d := range m.told[id] {
		if d.SetAt.Equal(s.SetAt) && d.Scope == s.Scope {
			return d
		}
	}
	return told{due: 1}
}

func (m *model) pass(t *rapid.T, d time.Duration) {
	m.idle(t) // what is to be written now, is written now
	m.machine.pass(d)
}

// gap is while no store runs.
func (m *model) gap(t *rapid.T) {
	m.machine.pass(time.Duration(rapid.IntRange(0, 10).Draw(t, "minutes")) * time.Minute)
	m.machine.step(time.Duration(rapid.IntRange(-3000, 3000).Draw(t, "step")) * time.Second)
}

// reboot starts the machine anew: of each decision there is left what the file says or, if that is less, the time of day.
func (m *model) reboot(t *rapid.T) {
	var written *stored
	if data, err := os.ReadFile(m.cfg.File); err == nil {
		written, err = decode(data)
		must(t, err)
		if age := m.machine.Uptime() - written.Uptime; age > writeEvery+20*time.Minute && m.expires() { // and one sleep
			t.Fatalf("the file is %v old", age)
		}
	}
	m.machine.reboot(time.Duration(rapid.IntRange(-3000, 3000).Draw(t, "seconds")) * time.Second)
	for id, decisions := range m.told {
		var left []told
		for _, d := range decisions {
			if d.due != 0 {
				then := d.due - written.Uptime
				byClock := written.Time.Add(then).Sub(m.machine.Now())
				if then <= 0 || min(then, byClock) <= 0 {
					continue
				}
				d.due = m.machine.Uptime() + min(then, byClock)
			}
			left = append(left, d)
		}
		m.told[id] = left
	}
}

func (m *model) expires() bool {
	for _, decisions := range m.told {
		if slices.ContainsFunc(decisions, func(d told) bool { return d.due != 0 && m.left(d) > 0 }) {
			return true
		}
	}
	return false
}

// look takes a new snapshot.
func (m *model) look() {
	loaded, sub := m.Subscribe()
	m.sub = sub
	m.view = view{rules: map[string]int{}, states: map[string]rules.RuleState{}}
	for _, id := range ids {
		m.view.states[id] = m.State(id)
	}
	for _, r := range loaded {
		m.view.rules[r.ID], m.view.states[r.ID] = r.Version, r.State
	}
}

// fold takes in the changes.
func (m *model) fold(t *rapid.T) {
	set := rules.ChangeSet{}
	left := 0
	for c, ok := m.sub.TryNext(); ok; c, ok = m.sub.TryNext() {
		if left > 0 && c.Set != set || left == 0 && c.Set.ID != 0 && c.Set.ID == set.ID {
			t.Fatalf("%s is between the changes of a set, or beyond them", c.Kind)
		}
		if set = c.Set; left == 0 {
			left = set.Size
		}
		left = max(left-1, 0)
		switch c.Kind {
		case rules.Definition:
			if !c.State.Equal(m.view.states[c.RuleID]) {
				t.Fatalf("the definition of %s has state %+v, and it has %+v", c.RuleID, c.State, m.view.states[c.RuleID])
			}
			m.view.rules[c.RuleID] = c.Rule.Version
		case rules.Deleted:
			delete(m.view.rules, c.RuleID)
		case rules.StateSet:
			// The host of the test announces also what is no change.
			if c.State.Scope != "" && c.State.Equal(m.view.states[c.RuleID]) {
				t.Fatalf("%s has state %+v already", c.RuleID, c.State)
			}
			if c.State.Scope != "" && c.By != "alice ("+c.State.Scope+")" && c.By != "dave" && c.By != rules.ByExpiry {
				t.Fatalf("%s has its state by %q", c.RuleID, c.By)
			}
			m.view.states[c.RuleID] = c.State
		}
	}
	if left > 0 {
		t.Fatal("a set is not whole")
	}
}

func (m *model) check(t *rapid.T) {
	loaded := m.Load()
	m.fold(t)
	live := map[string]int{}
	for _, r := range loaded {
		live[r.ID] = r.Version
		if !r.State.Equal(m.State(r.ID)) {
			t.Fatalf("%s is loaded with %+v, and has %+v", r.ID, r.State, m.State(r.ID))
		}
	}
	if !maps.Equal(live, m.view.rules) {
		t.Fatalf("live are %v, announced %v", live, m.view.rules)
	}
	remote := 0
	for _, id := range ids {
		got, want := m.State(id), m.counts(id)
		if announced := m.view.states[id]; !got.Equal(announced) {
			t.Fatalf("%s is %+v, announced was %+v", id, got, announced)
		}
		if got.ExpiresAt = (time.Time{}); !got.Equal(want) {
			t.Fatalf("%s is %+v, want %+v", id, got, want)
		}
		if slices.ContainsFunc(m.told[id], func(d told) bool { return m.left(d) > 0 }) {
			remote++
		}
	}
	if got := m.Remote(); got != remote {
		t.Fatalf("%d rules have a remote state, want %d", got, remote)
	}
	m.checkFile(t)
}

// checkFile compares what is on disk, of that which has not expired.
func (m *model) checkFile(t *rapid.T) {
	m.idle(t)
	data, err := os.ReadFile(m.cfg.File)
	if os.IsNotExist(err) {
		return
	}
	must(t, err)
	file, err := decode(data)
	must(t, err)
	var got, want []string
	for _, r := range file.Rules {
		for _, d := range r.Decisions {
			got = append(got, fmt.Sprint(r.RuleID, d.State, d.Scope, d.SetAt.Unix(), d.Due))
		}
	}
	for id, decisions := range m.told {
		for _, d := range decisions {
			if m.left(d) > 0 {
				want = append(want, fmt.Sprint(id, d.State, d.Scope, d.SetAt.Unix(), d.due))
			}
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("the file has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestModel does all that can happen, in any order.
func TestModel(t *testing.T) {
	dir, count := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		count++
		f := &fixture{host: newHost(), machine: newMachine(), log: &journal{}}
		f.cfg = Config{Under: f.host, File: filepath.Join(dir, fmt.Sprint(count)), Clock: f.machine, Floor: floored, Log: f.log.logger()}
		f.open(t)
		defer func() { must(t, f.Close()) }()
		m := &model{fixture: f, told: map[string][]told{}}
		m.look()
		t.Repeat(m.actions())
	})
}

// TestAtOnce has everything happen at once: each subscription adds up to what there is in the end, and to no
// time a set is torn apart.
func TestAtOnce(t *testing.T) {
	const rounds = 200
	f := start(t, func(c *Config) { c.Floor = floored })
	var work, looks sync.WaitGroup
	f.resync(t)
	work.Go(func() {
		for i := range rounds {
			f.host.define(i+1, "R1", "R2", "R3")
		}
	})
	work.Go(func() {
		for i := range rounds {
			f.apply(t, of(ids[i%4], off("host", time.Minute), clip("fleet", 0)), of(ids[(i+1)%4]))
		}
	})
	work.Go(func() {
		for i := range rounds {
			state := rules.RuleState{State: rules.Clipped, ConfidenceMax: float64(i) / rounds}
			if i%2 == 1 {
				state = rules.RuleState{}
			}
			must(t, f.SetState(ids[i%4], state, "dave"))
			if s := f.State(ids[i%4]); s.Scope == "" && s.ConfidenceMax != state.ConfidenceMax {
				t.Errorf("state is %+v after it was set to %+v", s, state)
			}
		}
	})
	work.Go(func() {
		for range rounds {
			f.machine.pass(time.Duration(rand.IntN(20)) * time.Second)
		}
	})
	stop := make(chan struct{})
	type look struct {
		loaded []rules.Stated
		sub    *rules.Subscription
	}
	var all []look
	looks.Go(func() {
		for len(all) < 100 {
			loaded, sub := f.Subscribe()
			all = append(all, look{loaded, sub})
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	work.Wait()
	close(stop)
	looks.Wait()
	end := f.Load()
	for _, l := range all {
		versions, states := map[string]int{}, map[string]rules.RuleState{}
		for _, r := range l.loaded {
			versions[r.ID], states[r.ID] = r.Version, r.State
		}
		var left int
		var set rules.ChangeSet
		for c, ok := l.sub.TryNext(); ok; c, ok = l.sub.TryNext() {
			if left > 0 && c.Set != set {
				t.Fatal("a set is torn apart")
			}
			if set = c.Set; left == 0 {
				left = set.Size
			}
			left = max(left-1, 0)
			if states[c.RuleID] = c.State; c.Kind == rules.Definition {
				if c.Rule.Version != versions[c.RuleID]+1 && versions[c.RuleID] != 0 {
					t.Fatalf("version %d comes after %d", c.Rule.Version, versions[c.RuleID])
				}
				versions[c.RuleID] = c.Rule.Version
			}
		}
		for _, r := range end {
			if versions[r.ID] != r.Version || !states[r.ID].Equal(r.State) {
				t.Fatalf("%s is v%d with %+v, announced v%d with %+v", r.ID, r.Version, r.State, versions[r.ID], states[r.ID])
			}
		}
	}
}
