package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stateOf runs "bittern state" for the agent of a state directory.
func stateOf(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command(called(t, self(t), "bittern"), append(append([]string{"state"}, args...), "--state", dir)...)
	cmd.Env = append(os.Environ(), rootVariable+"="+t.TempDir(), "SUDO_USER=tester")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("bittern state %q: %v: %s", args, err, out)
	}
}

// TestStates disables a rule under a stream of executions, enables it and clips it, by the
// command and by hand. After the log says that a state counts, it does, for each execution.
func TestStates(t *testing.T) {
	cg, dir, state := newCgroup(t), t.TempDir(), t.TempDir()
	file, states := filepath.Join(dir, "numbered.yml"), filepath.Join(state, "states", "states.yaml")
	write(t, file, numberedRule("STATED", 1))
	write(t, filepath.Join(dir, "other.yml"), strings.ReplaceAll(numberedRule("OTHER", 1), `" numbered-"`, `" other-"`))
	p := start(t, "--rules", dir, "--state", state, "--cgroup", cg.path)

	type expectation struct {
		version    int // 0: not reported
		confidence float64
	}
	want := map[int]expectation{}
	next := 0
	execute := func(version int, confidence float64) {
		for range 5 {
			next++
			want[next] = expectation{version, confidence}
			cg.execute(t, next)
		}
	}
	execute(1, 0.85)
	stateOf(t, state, "set", "STATED", "disabled", "--reason", "noisy")
	p.logged(t, "rule state set", "rule_id", "STATED", "state", "disabled", "by", "tester", "reason", "noisy")
	execute(0, 0)
	write(t, file, numberedRule("STATED", 2)) // kept, and not live
	p.logged(t, "rule kept, it is disabled", "rule_id", "STATED", "rule_version", 2.0)
	execute(0, 0)
	stateOf(t, state, "clear", "STATED")
	p.logged(t, "rule state set", "rule_id", "STATED", "state", "enabled", "by", "file")
	p.logged(t, "rule live", "rule_id", "STATED", "rule_version", 2.0)
	execute(2, 0.85)
	stateOf(t, state, "set", "STATED", "clipped", "--confidence-max", "0.25")
	p.logged(t, "rule state set", "rule_id", "STATED", "state", "clipped", "confidence_max", 0.25)
	execute(2, 0.25)
	write(t, states, "STATED: {state: disabeld}\n")
	rejected := p.logged(t, "rule states rejected", "rule_id", "STATED", "stays", "clipped")
	if problem := fmt.Sprint(rejected["problem"]); !strings.HasPrefix(problem, states+":1:17: ") {
		t.Errorf("the problem does not say where: %q", problem)
	}
	execute(2, 0.25)
	write(t, states, "STATED: {state: disabled}\nTYPO: {state: disabled}\n")
	p.logged(t, "rule state set", "state", "disabled", "by", "file")
	p.logged(t, "rule state set, but there is no such rule", "rule_id", "TYPO")
	execute(0, 0)
	if err := os.Remove(states); err != nil {
		t.Fatal(err)
	}
	enabled := 0
	p.log.wait(t, "version 2 again", func(line string) bool {
		if strings.Contains(line, `"rule live"`) && strings.Contains(line, `"STATED"`) {
			enabled++
		}
		return enabled == 2
	})
	execute(2, 0.85)

	code, output := p.stop(t, syscall.SIGTERM)
	if code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	found := collect(t, output)
	for n := 1; n <= next; n++ {
		want := want[n]
		if want.version == 0 {
			if len(found[n]) > 0 {
				t.Errorf("execution %d: reported although the rule was disabled", n)
			}
			continue
		}
		if len(found[n]) != 1 {
			t.Errorf("execution %d: reported %d times, want once", n, len(found[n]))
			continue
		}
		r, said := found[n][0], ""
		if want.confidence < 0.85 {
			said = "clipped"
		}
		if r.version(t) != want.version || r.Bittern.Confidence != want.confidence || r.Bittern.State != said {
			t.Errorf("execution %d: version %d, confidence %v, state %q; want %+v", n, r.version(t), r.Bittern.Confidence, r.Bittern.State, want)
		}
	}
}

// TestDisableUnderLoad disables and enables a rule again and again while programs are executed:
// those before the command, and those after the log, are reported as they should be. In
// between there is one moment from which on it counts.
func TestDisableUnderLoad(t *testing.T) {
	const rounds, between = 6, 20
	cg, dir, state := newCgroup(t), t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "numbered.yml"), numberedRule("LOAD", 1))
	p := start(t, "--rules", dir, "--state", state, "--cgroup", cg.path)

	type span struct {
		from, to int // executions during which the state changed to on
		on       bool
	}
	var spans []span
	ask, answer, stop := make(chan struct{}), make(chan int), make(chan struct{})
	executed := make(chan int)
	go func() {
		for n := 1; ; n++ {
			cg.execute(t, n)
			select {
			case <-ask:
				answer <- n // has ended
			case <-stop:
				executed <- n
				return
			default:
			}
		}
	}()
	at := func() int { ask <- struct{}{}; return <-answer }
	pass := func() {
		for from := at(); at() < from+between; {
		}
	}
	seen := 0
	logged := func(message string) {
		count := 0
		p.log.wait(t, message, func(line string) bool {
			if strings.Contains(line, message) {
				count++
			}
			return count > seen
		})
	}
	for range rounds {
		pass()
		off := span{from: at()}
		stateOf(t, state, "set", "LOAD", "disabled", "--reason", "load")
		logged(`"state":"disabled"`)
		off.to = at()
		pass()
		on := span{from: at(), on: true}
		stateOf(t, state, "clear", "LOAD")
		logged(`"msg":"rule live"`)
		on.to = at()
		spans = append(spans, off, on)
		seen++
	}
	pass()
	close(stop)
	last := <-executed
	code, output := p.stop(t, syscall.SIGTERM)
	if code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	found := collect(t, output)
	on, n := true, 1
	check := func(until int) {
		for ; n <= until; n++ {
			if got := len(found[n]); got > 1 || (got == 1) != on {
				t.Errorf("execution %d: reported %d times, and the rule was on: %v", n, got, on)
			}
		}
	}
	for _, s := range append(spans, span{from: last, to: last, on: true}) {
		check(s.from)
		// Each execution that ends here is before the moment or after it, and they are in order.
		for ; n <= s.to && (len(found[n]) == 1) == on; n++ {
		}
		on = s.on
		check(s.to)
	}
	t.Logf("%d executions, %d of them reported, %d changes of the state", last, len(found), len(spans))
}

// TestStateExpires by itself, and across a restart; what was disabled at the start is never live.
func TestStateExpires(t *testing.T) {
	cg, dir, state := newCgroup(t), t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "numbered.yml"), numberedRule("EXPIRES", 1))
	stateOf(t, state, "set", "EXPIRES", "disabled")
	p := start(t, "--rules", dir, "--state", state, "--cgroup", cg.path)
	p.logged(t, "rules loaded", "disabled", 1.0)
	cg.execute(t, 1)
	at := time.Now().Add(300 * time.Millisecond)
	stateOf(t, state, "set", "EXPIRES", "disabled", "--for", "300ms")
	p.logged(t, "rule state set", "state", "disabled")
	p.logged(t, "rule state expired", "rule_id", "EXPIRES", "state", "enabled", "by", "expiry")
	p.logged(t, "rule live", "rule_id", "EXPIRES")
	if time.Now().Before(at) {
		t.Error("it expired early")
	}
	cg.execute(t, 2)
	stateOf(t, state, "set", "EXPIRES", "disabled", "--for", "10ms")
	code, output := p.stop(t, syscall.SIGTERM)
	if found := collect(t, output); code != 0 || len(found[1]) != 0 || len(found[2]) != 1 {
		t.Errorf("exit code %d, reported: %v", code, found)
	}
	stateOf(t, state, "set", "EXPIRES", "disabled", "--for", "1ms")
	for until := time.Now().Add(time.Millisecond); time.Now().Before(until); {
	}
	p = start(t, "--rules", dir, "--state", state, "--cgroup", cg.path)
	p.logged(t, "rule state expired", "rule_id", "EXPIRES", "by", "expiry")
	cg.execute(t, 3)
	if code, output := p.stop(t, syscall.SIGTERM); code != 0 || len(collect(t, output)[3]) != 1 {
		t.Errorf("exit code %d, output %q", code, output)
	}
}

// TestDamagedStates does not stop the agent.
func TestDamagedStates(t *testing.T) {
	cg, dir, state := newCgroup(t), t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "numbered.yml"), numberedRule("DAMAGED", 1))
	if err := os.Mkdir(filepath.Join(state, "states"), 0o755); err != nil {
		t.Fatal(err)
	}
	states := filepath.Join(state, "states", "states.yaml")
	write(t, states, strings.Repeat("\x00", 100))
	p := start(t, "--rules", dir, "--state", state, "--cgroup", cg.path)
	p.log.wait(t, "that it was set aside", func(line string) bool {
		return strings.Contains(line, "rule states rejected") && strings.Contains(line, "it is now "+states+".damaged")
	})
	cg.execute(t, 1)
	stateOf(t, state, "set", "DAMAGED", "disabled")
	p.logged(t, "rule state set", "rule_id", "DAMAGED", "state", "disabled")
	cg.execute(t, 2)
	if code, output := p.stop(t, syscall.SIGTERM); code != 0 || len(output) != 1 {
		t.Errorf("exit code %d, output %q", code, output)
	}
}
