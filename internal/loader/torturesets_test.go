package loader

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bittern/internal/rules"
)

// gang is rules that change together: in each generation, all have another version that matches
// the subject, and in one of them there are none.
type gang struct {
	ids         []string
	generations [][]*rules.Rule // by generation modulo their number; nil for none
	// A generation is live from some time after it began until some time after the next one did.
	begun, done atomic.Uint64
}

const gangGenerations = 12

func newGang(t *testing.T, name string, size int) *gang {
	t.Helper()
	g := &gang{generations: make([][]*rules.Rule, gangGenerations)}
	for i := range size {
		g.ids = append(g.ids, fmt.Sprintf("%s%d", name, i))
	}
	for n := range gangGenerations - 1 {
		for i, id := range g.ids {
			g.generations[n] = append(g.generations[n], parseRule(t, ruleText(id, n+1, hitting(curlSubject, n*size+i))))
		}
	}
	return g
}

// swaps lead to a generation.
func (g *gang) swaps(generation uint64) []Swap {
	swaps := make([]Swap, len(g.ids))
	for i, id := range g.ids {
		swaps[i].RuleID = id
		if of := g.generations[generation%gangGenerations]; of != nil {
			swaps[i].New = of[i]
		}
	}
	return swaps
}

// change leads from generation to generation, by a commit of its own for each, or as commit does.
func (g *gang) change(commit func(swaps ...Swap) error, until func() bool) error {
	for next := g.done.Load() + 1; !until(); next++ {
		g.begun.Store(next)
		if err := commit(g.swaps(next)...); err != nil {
			return err
		}
		g.done.Store(next)
	}
	return nil
}

// judged returns the generation by which an event was judged that was so between the generations
// first and last; false if that is none. Seen are the rules that it passed.
func (g *gang) judged(seen map[*rules.Rule]bool, first, last uint64) (uint64, bool) {
	for n := first; n <= last && n < first+gangGenerations; n++ {
		of := g.generations[n%gangGenerations]
		if len(of) == len(seen) && !slices.ContainsFunc(of, func(r *rules.Rule) bool { return !seen[r] }) {
			return n, true
		}
	}
	return 0, false
}

// setTorture is gangs that change as fast as they can while every CPU judges events.
type setTorture struct {
	k      *Kernel
	court  *court
	gangs  []*gang
	member map[string]*gang
	events atomic.Uint64
	mu     sync.Mutex
	wrong  []string // events that were judged by no single generation of a gang
}

func newSetTorture(t *testing.T, sizes ...int) *setTorture {
	t.Helper()
	k := loadForTest(t, Config{})
	s := &setTorture{k: k, court: newCourt(t, k), member: make(map[string]*gang)}
	for cpu := range runtime.NumCPU() {
		s.court.file(cpu, curlSubject.event())
	}
	for i, size := range sizes {
		g := newGang(t, string(rune('A'+i)), size)
		if _, err := k.Commit(g.swaps(0)...); err != nil {
			t.Fatal(err)
		}
		for _, id := range g.ids {
			s.member[id] = g
		}
		s.gangs = append(s.gangs, g)
	}
	return s
}

// run changes all gangs until enough, by commit, and judges meanwhile.
func (s *setTorture) run(t *testing.T, commit func(swaps ...Swap) error, enough func() bool) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2*runtime.NumCPU() + len(s.gangs) + 2))
	var stop atomic.Bool
	var judges, writers sync.WaitGroup
	for cpu := range runtime.NumCPU() {
		judges.Go(func() { s.judge(t, cpu, &stop) })
	}
	for _, g := range s.gangs {
		writers.Go(func() {
			if err := g.change(commit, func() bool { return enough() || t.Failed() }); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	judges.Wait()
}

func (s *setTorture) judge(t *testing.T, cpu int, stop *atomic.Bool) {
	defer pin(t, cpu)()
	first, last := make([]uint64, len(s.gangs)), make([]uint64, len(s.gangs))
	at := make([]uint64, len(s.gangs)) // of the event before
	for !stop.Load() && !t.Failed() {
		for i, g := range s.gangs {
			first[i] = max(at[i], g.done.Load())
		}
		epoch, ids := s.court.judge(t, s.court.objects.Judge, cpu)
		for i, g := range s.gangs {
			last[i] = g.begun.Load()
		}
		s.events.Add(1)
		named, unknown := s.k.versions.resolve(ids)
		seen := make(map[*gang]map[*rules.Rule]bool)
		for _, g := range s.gangs {
			seen[g] = make(map[*rules.Rule]bool)
		}
		for _, r := range named {
			seen[s.member[r.ID]][r] = true
		}
		for i, g := range s.gangs {
			n, ok := g.judged(seen[g], first[i], last[i])
			if ok && unknown == 0 {
				at[i] = n
				continue
			}
			s.mu.Lock()
			s.wrong = append(s.wrong, fmt.Sprintf("at epoch %d: %d of %d rules, between generations %d and %d", epoch, len(seen[g]), len(g.ids), first[i], last[i]))
			s.mu.Unlock()
		}
	}
}

func (s *setTorture) commit(swaps ...Swap) error {
	_, err := s.k.Commit(swaps...)
	return err
}

// oneByOne is what a set must not be.
func (s *setTorture) oneByOne(swaps ...Swap) error {
	var errs []error
	for _, swap := range swaps {
		errs = append(errs, s.commit(swap))
	}
	return errors.Join(errs...)
}

// TestTortureSets commits sets of 2 to 32 rules that go from generation to generation. Each event
// matches all of them, and must be judged by the same generation of all rules of a set,
// and by none from before that of the event before it.
func TestTortureSets(t *testing.T) {
	rounds, swaps := 4, uint64(250)
	if *tortureSwaps > 0 {
		rounds, swaps = 16, *tortureSwaps/200
	}
	events := uint64(0)
	for range rounds {
		sizes := []int{2 + rand.IntN(31)} // a record names 64 clauses, and a rule may pass by two
		if rest := 32 - sizes[0]; rest >= 2 {
			sizes = append(sizes, rest)
		}
		t.Run(fmt.Sprint(sizes), func(t *testing.T) {
			s := newSetTorture(t, sizes...)
			s.run(t, s.commit, func() bool { return s.gangs[0].done.Load() >= swaps && s.events.Load() >= 4*swaps })
			if len(s.wrong) > 0 {
				t.Errorf("%d of %d events were judged by half of a set; the first %s", len(s.wrong), s.events.Load(), s.wrong[0])
			}
			events += s.events.Load()
		})
	}
	t.Logf("%d events", events)
}

// TestTortureSetsCanFail: rules of a set that are committed one by one are found out.
func TestTortureSetsCanFail(t *testing.T) {
	deadline := time.Now().Add(2 * time.Minute)
	s := newSetTorture(t, 8)
	s.run(t, s.oneByOne, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.wrong) > 0 || time.Now().After(deadline)
	})
	if len(s.wrong) == 0 {
		t.Fatal("no event was wrong: the torture can't fail")
	}
	t.Logf("after %d events: %s", s.events.Load(), s.wrong[0])
}
