package loader

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// versionsOfOneRule all match the event below, each in another way: another key, a
// prefix above or below one that is there, a suffix, a gram, a number, a negative,
// nothing at all, or several clauses.
var versionsOfOneRule = []string{
	"  s: {process.executable: /usr/bin/curl}",
	"  s: {process.executable|startswith: /usr/}",
	"  s: {process.executable|startswith: /usr/bin/}",
	"  s: {process.executable|startswith: /usr/bin/cu}",
	"  s: {process.executable|endswith: /curl}",
	"  s: {process.executable|endswith|nocase: /CURL}",
	"  s: {process.command_line|contains: 'http'}",
	"  s: {process.command_line|contains: '198.51.100.7'}",
	"  s: {user.id: 1000}",
	"  s: {user.id: 1000}\n  n: {process.executable|endswith: /wget}\n  condition: s and not n",
	"  n: {process.executable|endswith: /wget}\n  condition: not n",
	"  s: {process.args|contains: q}",
	"  s: {process.executable|endswith: /curl, process.command_line|contains: http}\n  u: {user.id: 1000, process.working_directory: /root}\n  condition: s or u",
}

func curl() *event.Event {
	ev := &event.Event{Class: event.ProcessExec, User: event.User{ID: 1000}}
	for f, v := range map[event.Field]string{
		event.ProcessExecutable:       "/usr/bin/curl",
		event.ProcessWorkingDirectory: "/root",
		event.ProcessCommandLine:      "curl -q http://198.51.100.7/x",
	} {
		if err := ev.Set(f, v); err != nil {
			panic(err)
		}
	}
	return ev
}

// verdicts is what a judge saw that should not be.
type verdicts struct {
	judged, missed, doubled, mixed, backwards atomic.Uint64
}

func (v *verdicts) wrong() uint64 {
	return v.missed.Load() + v.doubled.Load() + v.mixed.Load() + v.backwards.Load()
}

func (v *verdicts) String() string {
	return fmt.Sprintf("%d judged, %d missed, %d doubled, %d mixed, %d backwards",
		v.judged.Load(), v.missed.Load(), v.doubled.Load(), v.mixed.Load(), v.backwards.Load())
}

// judgeAll judges the same event on every CPU until stop is closed. Two rules, A and
// B, are always committed together, A first: each event must be judged by exactly
// one version of each, both of the same commit, never an older one than before.
func judgeAll(t *testing.T, k *Kernel, c *court, prog *ebpf.Program, stop <-chan struct{}) (*verdicts, *sync.WaitGroup) {
	t.Helper()
	v, wg := &verdicts{}, &sync.WaitGroup{}
	for cpu := range runtime.NumCPU() {
		c.file(cpu, curl())
		wg.Go(func() {
			defer pin(t, cpu)()
			var last uint64
			for {
				select {
				case <-stop:
					return
				default:
				}
				epoch, ids := c.judge(t, prog, cpu)
				v.judged.Add(1)
				slices.Sort(ids)
				ids = slices.Compact(ids) // clauses of one version
				switch {
				case len(ids) < 2:
					v.missed.Add(1)
				case len(ids) > 2:
					v.doubled.Add(1)
				case ids[1] != ids[0]+1:
					v.mixed.Add(1)
				case ids[0] < last:
					v.backwards.Add(1)
				case epoch == 0:
					t.Error("judged by epoch 0")
				default:
					last = ids[0]
				}
			}
		})
	}
	return v, wg
}

// swapUntil commits versions one after the other until enough says so.
func swapUntil(t *testing.T, k *Kernel, enough func(swaps int) bool) {
	t.Helper()
	as, bs := make([]*rules.Rule, len(versionsOfOneRule)), make([]*rules.Rule, len(versionsOfOneRule))
	for i, match := range versionsOfOneRule {
		as[i], bs[i] = parseRule(t, ruleText("A", 1, match)), parseRule(t, ruleText("B", 1, match))
	}
	for n := 0; !enough(n); n++ {
		a, b := as[n%len(as)], bs[(n*5+2)%len(bs)]
		if _, err := k.Commit(Swap{"A", a}, Swap{"B", b}); err != nil {
			t.Error(err)
			return
		}
	}
}

// TestSwapIsAtomic changes two rules as fast as it can while all CPUs judge events:
// at full speed, by programs slow enough to meet a writer that reuses too early, and
// with the fence of machines on which loads change places.
func TestSwapIsAtomic(t *testing.T) {
	for _, c := range []struct {
		name        string
		slow, fence bool
		swaps       int
	}{{"fast", false, false, 20_000}, {"slow", true, false, 20_000}, {"fence", false, true, 50}} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() {
				c.swaps /= 10
			}
			k := loadForTest(t, Config{Slots: 512, Keys: 64, Cells: 2048})
			if c.fence {
				k.fence = k.grace.wait
			}
			court := newCourt(t, k)
			prog := court.objects.Judge
			if c.slow {
				prog = court.objects.JudgeSlow
			}
			swapUntil(t, k, func(n int) bool { return n == 1 })
			stop := make(chan struct{})
			v, wg := judgeAll(t, k, court, prog, stop)
			swapUntil(t, k, func(n int) bool { return n >= c.swaps && v.judged.Load() > 1000 })
			close(stop)
			wg.Wait()
			t.Logf("%d swaps, %s, %+v", c.swaps, v, k.Usage())
			if v.wrong() > 0 {
				t.Errorf("events were not judged by exactly one version: %s", v)
			}
		})
	}
}

// TestCommitIsUndone lets the fence of a commit fail: the old version stays, and the
// next commit works.
func TestCommitIsUndone(t *testing.T) {
	k := loadForTest(t, Config{})
	c := newCourt(t, k)
	commit := func(version int) error {
		r := parseRule(t, ruleText("R", version, versionsOfOneRule[version]))
		_, err := k.Commit(Swap{"R", r})
		return err
	}
	if err := commit(1); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken fence")
	k.fence = func() error { return broken }
	if err := commit(2); !errors.Is(err, broken) {
		t.Fatalf("a commit without its fence: %v, want %v", err, broken)
	}
	if got := onlyNames(t, k, c); got != "R.1 " {
		t.Errorf("after a commit that failed %q judge the event, want R.1", got)
	}
	k.fence = nil
	if err := commit(3); err != nil {
		t.Fatal(err)
	}
	if got := onlyNames(t, k, c); got != "R.3 " {
		t.Errorf("%q judge the event, want R.3", got)
	}
}

// TestLateEpochIsCaught shows that the test above can fail: a program that looks up
// hits first and loads the epoch after them loses events.
func TestLateEpochIsCaught(t *testing.T) {
	k := loadForTest(t, Config{Slots: 512, Keys: 64, Cells: 2048})
	c := newCourt(t, k)
	swapUntil(t, k, func(n int) bool { return n == 1 })
	stop := make(chan struct{})
	v, wg := judgeAll(t, k, c, c.objects.JudgeLate, stop)
	deadline := time.Now().Add(time.Minute)
	swapUntil(t, k, func(int) bool { return v.missed.Load() > 0 || time.Now().After(deadline) })
	close(stop)
	wg.Wait()
	t.Logf("%d swaps, %s", k.epoch(), v)
	if v.missed.Load() == 0 {
		t.Error("the late epoch lost no event: the test of atomicity can't fail")
	}
}
