package repeat

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"bittern/internal/rules"
)

// killed is what ends an agent in these tests.
type killed struct{}

// happening is one record of the kernel: an event that some rules match.
type happening struct {
	at    Moment
	rules []*rules.Rule
	user  uint32
}

// line is a line of the output.
type line struct {
	id    string // of what it says, for good
	seq   uint64 // of a detection
	rule  rules.Hash
	user  uint32
	began time.Duration // of a count
	count uint64
	text  string
}

// world is what outlives an agent: the ring, the output, and the journal's directory.
type world struct {
	t         *testing.T
	dir       string
	ring      []happening
	read      int // records that were given back
	output    []line
	untilKill int // steps
	rnd       *rand.Rand
	limits    Config
	retired   map[rules.Hash]int // by version: read from which on it is not live
	deaths    int
	unlimited int
	noJournal bool
}

func ruleOf(t testing.TB, id string, version, most int, window time.Duration) *rules.Rule {
	t.Helper()
	text := fmt.Sprintf(`rule_id: %s
rule_version: %d
name: n
applies_to: [process_exec]
match: {field: command_text, pattern: x}
emits: [{tactic: TA0002, technique_id: T1059, confidence: 1}]
limit: {per: user, max: %d, window: %ds}
`, id, version, most, int(window/time.Second))
	r, err := parseRule([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func parseRule(text []byte) (*rules.Rule, error) {
	f := rules.Parse("r.yml", text, rules.Options{})
	if problems := f.AllProblems(); len(problems) > 0 {
		return nil, problems
	}
	return f.Documents[0].Rule, nil
}

// step is something that an agent does and that others see. It may die before or after it.
func (w *world) step(do func()) {
	w.mayDie()
	do()
	w.mayDie()
}

func (w *world) mayDie() {
	if w.untilKill--; w.untilKill == 0 {
		panic(killed{})
	}
}

// dyingWriter writes to the journal, and may die before, after or amid it.
type dyingWriter struct {
	w   *world
	out io.WriterAt
}

func (d dyingWriter) WriteAt(p []byte, at int64) (n int, err error) {
	d.w.mayDie()
	if d.w.untilKill == 1 {
		if n, err = d.out.WriteAt(p[:d.w.rnd.IntN(len(p))], at); err != nil {
			d.w.t.Error(err)
		}
	} else {
		n, err = d.out.WriteAt(p, at)
	}
	d.w.mayDie()
	return n, err
}

// tail is how much of the output the next agent knows again: no more than one record of the kernel gives.
const tail = 4

// live runs an agent until it is killed or has read all, and reports which.
func (w *world) live() (whole bool) {
	cfg := w.limits
	var found []*Window
	if !w.noJournal {
		j, before, damage, err := OpenJournal(w.dir, parseRule)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, err := range damage {
			if !strings.Contains(err.Error(), "damaged") { // by a write that was cut short
				w.t.Error(err)
			}
		}
		j.out = dyingWriter{w, j.file}
		found, cfg.Journal = before, j
		defer func() {
			if err := j.file.Close(); whole == (err == nil) { // Close has closed it
				w.t.Errorf("closing: %v", err)
			}
		}()
	}
	defer func() {
		if cause := recover(); cause != nil {
			if _, ok := cause.(killed); !ok {
				panic(cause)
			}
			w.deaths++
		}
	}()
	before := make(map[string]bool)
	for _, l := range w.output[max(0, len(w.output)-tail):] {
		before[l.id] = true
	}
	write := func(l line) {
		if !before[l.id] {
			w.step(func() { w.output = append(w.output, l) })
		}
	}
	cfg.Boot = "boot"
	cfg.Broken = func(err error) { w.t.Error(err) }
	cfg.Tell = func(told Told) error {
		write(line{id: fmt.Sprint(told.ID()), rule: told.Rule.Hash, user: told.Source.User, began: told.Opened, count: told.Count,
			text: fmt.Sprintf("%s held %d of %d until %s", told.Rule.ID, told.Count, told.Announced, told.Last)})
		return nil
	}
	windows, err := New(cfg, found)
	if err != nil {
		w.t.Fatal(err)
	}
	var seen time.Duration
	for first := true; w.read < len(w.ring); first = false {
		h := w.ring[w.read]
		for _, r := range h.rules {
			verdict, err := windows.Judge(r, Source{Per: rules.PerUser, User: h.user}, "", h.at)
			if err != nil {
				w.t.Fatal(err)
			}
			if verdict == Hold || verdict == HoldFirst {
				continue
			}
			if verdict == Unlimited {
				w.unlimited++
			}
			l := line{id: fmt.Sprint("detection ", h.at.Record.Sequence, r.ID, r.Version), seq: h.at.Record.Sequence, rule: r.Hash, user: h.user}
			if first {
				write(l)
			} else {
				w.step(func() { w.output = append(w.output, l) })
			}
		}
		w.step(func() { w.read++ })
		seen = max(seen, h.at.Uptime)
		if w.rnd.IntN(3) == 0 {
			live := func(version rules.Hash) bool {
				from, ok := w.retired[version]
				return !ok || w.read < from
			}
			if err := windows.Tick(seen, seen, live); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if err := windows.Close(); err != nil {
		w.t.Fatal(err)
	}
	if windows.Open() != 0 {
		w.t.Errorf("%d windows are open after the end", windows.Open())
	}
	if err := cfg.Journal.Close(); err != nil {
		w.t.Error(err)
	}
	return true
}

// run runs agents until one has read all.
func (w *world) run(meanSteps int) {
	for {
		w.untilKill = 0 // never
		if meanSteps > 0 {
			w.untilKill = 1 + w.rnd.IntN(2*meanSteps)
		}
		if w.live() {
			return
		}
	}
}

// sums checks that no detection is written twice, and adds up what the output says of each rule and user: written and counted.
func (w *world) sums() (written, counted map[key]uint64) {
	w.t.Helper()
	written, counted = make(map[key]uint64), make(map[key]uint64)
	seen := make(map[string]bool)
	for _, l := range w.output {
		if seen[l.id] {
			w.t.Errorf("written twice: %s %s", l.id, l.text)
		}
		seen[l.id] = true
		of := key{l.rule, Source{Per: rules.PerUser, User: l.user}}
		if l.seq != 0 {
			written[of]++
		} else {
			counted[of] += l.count
		}
	}
	return written, counted
}

// happened are the detections of each rule and user.
func (w *world) happened() map[key]uint64 {
	all := make(map[key]uint64)
	for _, h := range w.ring {
		for _, r := range h.rules {
			all[key{r.Hash, Source{Per: rules.PerUser, User: h.user}}]++
		}
	}
	return all
}

// checkSums checks that each detection was written or counted, and none both.
func (w *world) checkSums() {
	w.t.Helper()
	written, counted := w.sums()
	for of, n := range w.happened() {
		if written[of]+counted[of] != n {
			w.t.Errorf("rule %s user %d: %d written and %d counted of %d", of.rule, of.source.User, written[of], counted[of], n)
		}
	}
}

// fill makes events at rising times, or at times that jump back now and then.
func (w *world) fill(n int, all []*rules.Rule, users int, jumps bool) {
	at := time.Hour
	for i := range n {
		at += time.Duration(w.rnd.ExpFloat64() * float64(300*time.Millisecond))
		h := happening{user: uint32(w.rnd.IntN(users))}
		h.at = Moment{Record: Record{Instance: "i", CPU: 1, Sequence: uint64(i + 1)}, Uptime: at}
		if jumps && w.rnd.IntN(4) == 0 {
			h.at.Uptime -= time.Duration(w.rnd.Int64N(int64(5 * time.Second)))
		}
		h.at.Time = time.Unix(1e9, 0).Add(h.at.Uptime)
		for _, r := range all {
			if w.rnd.IntN(2) == 0 {
				h.rules = append(h.rules, r)
			}
		}
		w.ring = append(w.ring, h)
	}
}

func newWorld(t *testing.T, seed uint64) *world {
	return &world{t: t, dir: t.TempDir(), rnd: rand.New(rand.NewPCG(seed, 1)), retired: make(map[rules.Hash]int)}
}

// modelled is what a limit means, without restarts, journals or bounds: which detections are written, and how many each
// window counts.
func modelled(ring []happening) (written map[string]bool, counted map[string]uint64) {
	type open struct {
		from    time.Duration
		written int
	}
	written, counted = make(map[string]bool), make(map[string]uint64)
	windows := make(map[key]*open)
	for _, h := range ring {
		for _, r := range h.rules {
			k := key{r.Hash, Source{Per: rules.PerUser, User: h.user}}
			win := windows[k]
			if win == nil || h.at.Uptime >= win.from+r.Limit.Window {
				win = &open{from: h.at.Uptime}
				windows[k] = win
			}
			if win.written < r.Limit.Max {
				win.written++
				written[fmt.Sprint("detection ", h.at.Record.Sequence, r.ID, r.Version)] = true
			} else {
				counted[fmt.Sprint(r.ID, h.user, win.from)]++
			}
		}
	}
	return written, counted
}

// TestModel compares agents that die at any step with the model.
func TestModel(t *testing.T) {
	deaths, held := 0, 0
	for seed := range uint64(60) {
		w := newWorld(t, seed)
		all := []*rules.Rule{ruleOf(t, "A", 1, 1, 2*time.Second), ruleOf(t, "B", 1, 3, 5*time.Second), ruleOf(t, "C", 1, 2, time.Hour)}
		w.noJournal = seed%10 == 9
		w.fill(150, all, 3, false)
		mean := 40
		if w.noJournal {
			mean = 0
		}
		w.run(mean)
		deaths += w.deaths
		w.checkSums()

		want, counts := modelled(w.ring)
		got, gotCounts := make(map[string]bool), make(map[string]uint64)
		for _, l := range w.output {
			if l.seq != 0 {
				got[l.id] = true
				continue
			}
			held += int(l.count)
			id := strings.Fields(l.text)[0]
			gotCounts[fmt.Sprint(id, l.user, l.began)] += l.count
		}
		if !maps.Equal(got, want) || !maps.Equal(gotCounts, counts) {
			t.Errorf("seed %d: written %v, want %v; counted %v, want %v", seed, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)), gotCounts, counts)
		}
		if t.Failed() {
			break
		}
	}
	t.Logf("%d deaths, %d detections held", deaths, held)
	if deaths < 100 || held < 100 {
		t.Errorf("%d deaths and %d detections held: too little has happened", deaths, held)
	}
}

// TestSums has times jump back, more sources than there is room for, and versions that end; agents die at any step.
func TestSums(t *testing.T) {
	deaths, unlimited := 0, 0
	for seed := range uint64(80) {
		w := newWorld(t, 1000+seed)
		all := []*rules.Rule{ruleOf(t, "A", 1, 1, 2*time.Second), ruleOf(t, "A", 2, 2, 3*time.Second), ruleOf(t, "B", 1, 1, time.Minute)}
		w.fill(150, all, 6, true)
		w.limits = Config{Most: 1 + w.rnd.IntN(12), MostOfRule: 1 + w.rnd.IntN(4)}
		w.retired[all[0].Hash] = w.rnd.IntN(150)
		w.run(1 + w.rnd.IntN(60))
		deaths += w.deaths
		unlimited += w.unlimited
		w.checkSums()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d deaths, %d detections without room", deaths, unlimited)
	if deaths < 100 || unlimited < 100 {
		t.Errorf("%d deaths, %d detections without room: too little has happened", deaths, unlimited)
	}
}
