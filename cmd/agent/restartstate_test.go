package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// window are executions that began and ended while the same states were in force.
type window struct {
	from, to int
	off      bool    // TOGGLED is disabled
	most     float64 // confidence of CLIPPED, which goes down only
}

// statedRestarts are agents that are killed while states are set, under a stream of executions.
type statedRestarts struct {
	*restarts
	p       *process
	log     []string // of agents that have ended
	ended   atomic.Int64
	rnd     *rand.Rand
	kills   int
	windows []window
}

func (s *statedRestarts) start(t *testing.T) {
	t.Helper()
	s.p = s.restarts.start(t, "--state", s.root, "--log-level", "debug")
}

func (s *statedRestarts) kill(t *testing.T) {
	t.Helper()
	if err := s.p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	s.p.end(t)
	s.kills++
	all, _, _ := s.p.log.snapshot()
	s.log = append(s.log, all...)
	s.start(t)
}

// sleep is no longer than d, and decides when something happens, not whether it has.
func (s *statedRestarts) sleep(d time.Duration) { time.Sleep(time.Duration(s.rnd.Int64N(int64(d)))) }

// state begins to run "bittern state".
func (s *statedRestarts) state(t *testing.T, args ...string) (wait func()) {
	t.Helper()
	cmd := exec.Command(called(t, self(t), "bittern"), append(append([]string{"state"}, args...), "--state", s.root)...)
	cmd.Env = append(os.Environ(), rootVariable+"="+s.root)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := cmd.Wait(); err != nil {
			t.Fatalf("bittern state %q: %v: %s", args, err, out.String())
		}
	}
}

// inForce waits until the states that have a reason are: an agent has taken them in, or has
// started with them.
func (s *statedRestarts) inForce(t *testing.T, reason string, ids ...string) {
	t.Helper()
	const start, live = "start", "live"
	open := make(map[string]bool)
	for _, id := range ids {
		open[id] = true
	}
	last := func(line string) bool {
		said := func(what string) bool { return strings.Contains(line, what) }
		switch {
		case said(`"bittern is running"`):
			delete(open, start)
		case said(`"rule live"`) && said(`"TOGGLED"`):
			delete(open, live)
		case said(`"reason":"` + reason + `"`):
			for _, id := range ids {
				if !said(`"rule_id":"` + id + `"`) {
					continue
				}
				delete(open, id)
				if said(`"rule state in force"`) {
					open[start] = true
					delete(open, live)
				} else if id == "TOGGLED" && said(`"state":"enabled"`) {
					open[live] = true // not before that is said
				}
			}
		}
		return len(open) == 0
	}
	if !slices.ContainsFunc(s.log, last) {
		s.p.log.wait(t, reason, last)
	}
}

// pass lets some executions pass.
func (s *statedRestarts) pass(executions int) {
	for until := s.ended.Load() + int64(executions); s.ended.Load() < until; {
		time.Sleep(time.Millisecond)
	}
}

// open begins a window: the execution that runs now may have begun before.
func (s *statedRestarts) open(off bool, most float64) {
	s.windows = append(s.windows, window{from: int(s.ended.Load()) + 2, off: off, most: most})
}

func (s *statedRestarts) close() { s.windows[len(s.windows)-1].to = int(s.ended.Load()) }

// TestKilledWhileStatesAreSet kills the agent at any moment while "bittern state" sets states, and
// while nothing happens. Once a state was taken in, or an agent has started with it, it is in force for each
// execution: also for those between two agents, and those that only the next one reports.
func TestKilledWhileStatesAreSet(t *testing.T) {
	s := &statedRestarts{restarts: newRestarts(t), rnd: rand.New(rand.NewPCG(3, 4))}
	for _, id := range []string{"STEADY", "TOGGLED", "CLIPPED", "NEVER"} {
		write(t, filepath.Join(s.rules, strings.ToLower(id)+".yml"), numberedRule(id, 1))
	}
	s.state(t, "set", "NEVER", "disabled")()
	s.state(t, "set", "CLIPPED", "clipped", "--confidence-max", "0.5")()
	s.start(t)
	s.p.logged(t, "bittern is running", "rules", 3.0)

	stop := s.cgroup.stream(t, func(n int) { s.ended.Store(int64(n)) })
	s.open(false, 0.5)
	off := false
	for round := range *kills {
		s.pass(30)
		if round%2 == 1 {
			s.kill(t)
			s.pass(30) // whether it has started or not
		}
		s.close()
		if off && round%4 == 3 {
			clearing := s.state(t, "clear", "TOGGLED")
			s.sleep(100 * time.Millisecond)
			s.kill(t)
			clearing()
			off = false
		}
		off = !off
		reason, most := fmt.Sprint("round ", round), 0.5/float64(round+2)
		toggled := "enabled"
		if off {
			toggled = "disabled"
		}
		first := s.state(t, "set", "TOGGLED", toggled, "--reason", reason)
		second := s.state(t, "set", "CLIPPED", "clipped", "--confidence-max", fmt.Sprint(most), "--reason", reason)
		for range s.rnd.IntN(3) {
			s.sleep(600 * time.Millisecond)
			s.kill(t)
		}
		first()
		second()
		s.inForce(t, reason, "TOGGLED", "CLIPPED")
		s.open(off, most)
	}
	s.pass(10)
	s.close()
	s.p.logged(t, "bittern is running")
	last := stop()
	if code, _ := s.p.stop(t, syscall.SIGTERM); code != 0 {
		all, _, _ := s.p.log.snapshot()
		t.Errorf("exit code %d, want 0:\n%s", code, strings.Join(all, "\n"))
	}
	s.check(t, last)
}

// check holds what was reported against the windows.
func (s *statedRestarts) check(t *testing.T, last int) {
	t.Helper()
	found := make(map[string]detected)
	for n, all := range collect(t, s.lines(t)) {
		for _, r := range all {
			if found[r.Rule.ID] == nil {
				found[r.Rule.ID] = make(detected)
			}
			found[r.Rule.ID][n] = append(found[r.Rule.ID][n], r)
		}
	}
	if n := len(found["NEVER"]); n > 0 {
		t.Errorf("the rule that was disabled before the first start detected %d executions", n)
	}
	most, next, checked := 0.5, 0, 0
	for n := 1; n <= last; n++ {
		for next < len(s.windows) && n >= s.windows[next].from {
			most = s.windows[next].most
			next++
		}
		for _, id := range []string{"STEADY", "CLIPPED"} {
			if got := len(found[id][n]); got != 1 {
				t.Errorf("execution %d of %d: reported %d times by %s, want once", n, last, got, id)
			}
		}
		for _, r := range found["CLIPPED"][n] {
			if r.Bittern.Confidence > most || r.Bittern.State != "clipped" {
				t.Errorf("execution %d: state %q, confidence %v, want at most %v", n, r.Bittern.State, r.Bittern.Confidence, most)
			}
		}
		got := len(found["TOGGLED"][n])
		if got > 1 {
			t.Errorf("execution %d: reported %d times by the rule that is toggled", n, got)
		}
		if next > 0 && n <= s.windows[next-1].to {
			checked++
			if off := s.windows[next-1].off; off == (got == 1) {
				t.Errorf("execution %d: reported %d times, and disabled is %v", n, got, off)
			}
		}
	}
	t.Logf("%d executions, %d of them while all states were certain; %d kills, %d windows", last, checked, s.kills, len(s.windows))
}
