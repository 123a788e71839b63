package loader

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// The long run of "make torture" sets these.
var (
	tortureSwaps  = flag.Uint64("torture.swaps", 0, "commits of TestTorture; 0 is a short run")
	tortureEvents = flag.Uint64("torture.events", 0, "events that TestTorture judges at least")
)

// scenario is one torture: rules that change as fast as they can while every CPU judges events.
type scenario struct {
	name     string
	cfg      Config
	rules    int // that are there, those that change included
	versions int // of each rule that changes
	writers  int
	program  func(*court) *ebpf.Program
	spoil    func(*ledger)              // what is done to the kernel before; nil is nothing
	enough   func(*progress) bool       // ends it
	real     *executions                // nil if all events come from BPF_PROG_RUN
	fence    func(*Kernel) func() error // that the kernel gets; nil is its own
}

// progress is how far a torture has come.
type progress struct {
	swaps, refused atomic.Uint64
	refusal        atomic.Value // the last error of a commit that was refused
	judged         func() uint64
	wrong          func() bool
}

func fast(c *court) *ebpf.Program { return c.objects.TortureFast }
func slow(c *court) *ebpf.Program { return c.objects.TortureSlow }
func late(c *court) *ebpf.Program { return c.objects.TortureLate }

// until ends a torture after so many swaps and so many events.
func until(swaps, judged uint64) func(*progress) bool {
	return func(p *progress) bool { return p.swaps.Load() >= swaps && p.judged() >= judged }
}

func (s scenario) run(t *testing.T) outcome {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	// Those who judge are in the kernel all the time, and must not keep the writers waiting.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2*runtime.NumCPU() + s.writers + 2))
	var k *Kernel
	about := curlSubject
	if s.real != nil {
		var cgroup *os.File
		k, cgroup = openForTest(t, s.cfg)
		about = s.real.prepare(t, cgroup)
	} else {
		k = loadForTest(t, s.cfg)
	}
	if s.fence != nil {
		k.fence = s.fence(k)
	}
	c := newCourt(t, k)
	st := newStock(t, seed, about, s.versions)
	l := newLedger(t, k, c, st)
	if s.real != nil {
		l.live = make([]epochRules, tortureEpochs)
	}
	if _, err := k.Commit(append(st.begin(), st.bystanders(t, s.rules-tortureRules)...)...); err != nil {
		t.Fatal(err)
	}
	if s.spoil != nil {
		s.spoil(l)
	}
	o := outcome{scenario: s}
	before := k.Usage()
	begun := time.Now()
	var stop atomic.Bool
	var judges, writers sync.WaitGroup
	for cpu := range runtime.NumCPU() {
		judges.Go(func() { judgeUntil(t, s.program(c), cpu, &stop) })
	}
	p := &progress{judged: l.judged, wrong: func() bool { v, _ := l.verdicts(); return v.wrong() > 0 }}
	if s.real != nil {
		s.real.start(t, l, p)
	}
	for w := range s.writers {
		writers.Go(func() {
			turn := &turn{stock: st, rnd: rand.New(rand.NewPCG(seed, uint64(w)))}
			for i := w * tortureRules / s.writers; i < (w+1)*tortureRules/s.writers; i++ {
				turn.own = append(turn.own, i)
			}
			if timed := s.change(t, l, turn, p); s.writers == 1 {
				o.latency = timed
			}
		})
	}
	writers.Wait()
	o.took = time.Since(begun)
	after := k.Usage()
	stop.Store(true)
	judges.Wait()
	o.swaps, o.refused, o.graces = after.Epoch-before.Epoch, p.refused.Load(), after.GracePeriods-before.GracePeriods
	o.verdicts, o.first = l.verdicts()
	if s.real != nil {
		s.real.finish(t, &o)
	}
	t.Logf("%d swaps, %d refused (%v), %+v, %+v", o.swaps, o.refused, p.refusal.Load(), o.verdicts, after)
	return o
}

// judgeUntil judges events on one CPU until stop is set. One run of the program is one event; a
// call makes many, and those of one call may be judged by different epochs.
func judgeUntil(t *testing.T, prog *ebpf.Program, cpu int, stop *atomic.Bool) {
	defer pin(t, cpu)()
	var packet [64]byte
	for !stop.Load() && !t.Failed() {
		if _, err := prog.Run(&ebpf.RunOptions{Data: packet[:], Repeat: 100}); err != nil {
			t.Error(err)
			return
		}
	}
}

// change commits one swap after the other until it is enough. Tables that are full are part of
// the torture: a commit that is refused changes nothing.
func (s scenario) change(t *testing.T, l *ledger, w *turn, p *progress) (timed []latency) {
	for refusals := 0; !s.enough(p) && !t.Failed(); {
		if s.real != nil && s.real.behind(l.k.epoch()) {
			runtime.Gosched()
			continue
		}
		swaps := w.next()
		begun := time.Now()
		_, err := l.k.Commit(swaps...)
		ended := time.Now()
		switch {
		case errors.Is(err, ErrFull):
			p.refused.Add(1)
			p.refusal.Store(err.Error())
			if refusals++; refusals > 10_000 {
				t.Errorf("%d commits in a row were refused: %v", refusals, err)
			}
			continue
		case err != nil:
			t.Error(err)
			return timed
		}
		refusals = 0
		p.swaps.Add(1)
		if s.writers == 1 {
			timed = append(timed, latency{l.staged.Sub(begun), ended.Sub(l.staged)})
		}
	}
	return timed
}

// scenarios are the tortures of a run: of the swaps and events that are asked for, each has a
// share.
func scenarios(swaps, events uint64, many, versions int) []scenario {
	return []scenario{
		{
			name: "16 rules", rules: 16, versions: versions, writers: 1, program: fast,
			enough: until(swaps*55/100, events*5/100),
			cfg:    Config{Keys: 4096}, // fewer than the versions have: they come and go
		},
		{
			name: fmt.Sprintf("%d rules", many), rules: many, versions: versions, writers: 1, program: fast,
			enough: until(swaps*20/100, events*5/100),
		},
		{
			// With few slots, commits wait for grace periods, and those who judge have the time.
			name: "many events", rules: 16, versions: versions, writers: 1, program: fast,
			enough: until(swaps*10/100, events*25/100),
			cfg:    Config{Slots: 256, Keys: 4096},
		},
		{
			name: "full tables", rules: tortureRules, versions: 64, writers: 2, program: fast,
			enough: until(swaps*1/100, events*60/100),
			cfg:    Config{Slots: 64, Keys: 256, Cells: 2048},
		},
		{
			name: "slow programs", rules: 16, versions: 32, writers: 1, program: slow,
			enough: until(swaps*1/100, 100),
			cfg:    Config{Slots: 512, Keys: 1024, Cells: 8192},
		},
		{
			name: "real executions", rules: 16, versions: 32, writers: 1, program: fast,
			enough: until(swaps*10/100, events*1/100),
			cfg:    Config{RingBytes: 16 << 20}, real: &executions{least: events / 1000},
		},
		{
			// As on machines on which loads change places.
			name: "with a fence", rules: 16, versions: 16, writers: 1, program: fast,
			enough: until(min(swaps/100, 50), events*2/100),
			cfg:    Config{Slots: 512}, fence: func(k *Kernel) func() error { return k.grace.wait },
		},
	}
}

// TestTorture changes rules as fast as it can, in all ways, while every CPU judges events: each
// event must be judged by exactly one version of each rule, the one of its epoch, and none by
// an older one than the event before it.
func TestTorture(t *testing.T) {
	swaps, events, many, versions := *tortureSwaps, *tortureEvents, 4096, 256
	if swaps == 0 {
		swaps, many, versions = 5000, 512, 64
		if testing.Short() {
			swaps, versions = 1000, 32
		}
		events = 20 * swaps
	}
	var all []outcome
	for _, s := range scenarios(swaps, events, many, versions) {
		t.Run(s.name, func(t *testing.T) {
			o := s.run(t)
			if o.wrong() > 0 {
				t.Errorf("events were not judged by exactly one version of each rule: %+v\n%s", o.verdicts, strings.Join(o.first, "\n"))
			}
			all = append(all, o)
		})
	}
	t.Logf("%d CPUs\n%s", runtime.NumCPU(), tortureTable(all))
}

// TestTortureCanFail shows that what TestTorture looks for is seen. A program that loads the
// epoch after its look-ups, not before, loses events; so does a writer that does not wait for
// grace periods.
func TestTortureCanFail(t *testing.T) {
	if runtime.NumCPU() == 1 {
		// Most kernels let nothing in between while a program runs.
		t.Log("with one CPU, no writer is at work beside a program: there is nothing to see")
		return
	}
	deadline := time.Now().Add(2 * time.Minute)
	base := scenario{
		rules: tortureRules, versions: 16, writers: 1, program: slow, cfg: Config{Slots: 512, Keys: 1024, Cells: 8192},
		enough: func(p *progress) bool { return p.wrong() || time.Now().After(deadline) },
	}
	lateEpoch, noGrace := base, base
	lateEpoch.program = late
	noGrace.spoil = (*ledger).hasty
	for name, s := range map[string]scenario{"late epoch": lateEpoch, "no grace period": noGrace} {
		t.Run(name, func(t *testing.T) {
			o := s.run(t)
			if o.missed+o.doubled+o.mixed == 0 {
				t.Error("no event was wrong: the torture can't fail")
			}
			t.Logf("after %d swaps: %s", o.swaps, strings.Join(o.first, "\n"))
		})
	}
}
