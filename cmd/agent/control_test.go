package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bittern/internal/control"
)

// asker runs commands that ask one agent.
type asker struct {
	bittern string
	env     []string
}

// askable starts an agent with a control socket, and returns what asks it.
func askable(t *testing.T, args ...string) (*process, *asker) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent.sock")
	p := start(t, append([]string{"--socket", socket, "--output", "json"}, args...)...)
	env := append(os.Environ(), rootVariable+"="+t.TempDir(), "SUDO_USER=tester", "BITTERN_SOCKET="+socket)
	return p, &asker{called(t, self(t), "bittern"), env}
}

func (a *asker) command(args ...string) *exec.Cmd {
	cmd := exec.Command(a.bittern, args...)
	cmd.Env = a.env
	return cmd
}

// ask runs a command and returns what it prints. The exit code must be the given one.
func (a *asker) ask(t *testing.T, code int, args ...string) string {
	t.Helper()
	out, err := a.command(args...).Output()
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
		if len(out) == 0 {
			out = exit.Stderr
		}
	} else if err != nil {
		t.Fatal(err)
	}
	if got != code {
		t.Fatalf("bittern %q: exit code %d, want %d: %s", args, got, code, out)
	}
	return string(out)
}

// says fails unless a command's output has all of these in it, in this order.
func (a *asker) says(t *testing.T, code int, command string, want ...string) {
	t.Helper()
	out := a.ask(t, code, strings.Fields(command)...)
	rest := out
	for _, w := range want {
		_, after, ok := strings.Cut(rest, w)
		if !ok {
			t.Fatalf("bittern %s does not say %q, after what comes before it:\n%s", command, w, out)
		}
		rest = after
	}
}

// rule asks for one rule.
func (a *asker) rule(t *testing.T, id string) (r control.RuleDetail) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.ask(t, 0, "rules", "show", id, "--output", "json")), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestCommandsAskTheAgent has rules in all conditions, and looks at them through each of the commands.
func TestCommandsAskTheAgent(t *testing.T) {
	cg, dir := newCgroup(t), t.TempDir()
	write(t, filepath.Join(dir, "a.yml"), numberedRule("SHOWN", 1))
	write(t, filepath.Join(dir, "b.yml"), strings.ReplaceAll(numberedRule("SILENT", 1), `" numbered-"`, `" other-"`))
	write(t, filepath.Join(dir, "c.yml"), strings.ReplaceAll(numberedRule("WRONG", 1), "condition:", "conditoin:"))
	p, bittern := askable(t, "--rules", dir, "--cgroup", cg.path)
	for n := range 3 {
		cg.execute(t, n)
	}
	p.out.wait(t, "the last execution", func(line string) bool { return strings.Contains(line, "numbered-2") })

	bittern.says(t, 0, "status", "health      rules ok, commits ok, outbox ok, sink stdout ok\n", "2 live, 1 rejected, in "+dir, "detections  3,",
		"outbox      5 records, ", "sink        stdout: ", "watching    processes of cgroup "+cg.path, "process_exec ", "c.yml:8:3: ")
	bittern.says(t, 0, "status --output json", `"ready": true`)
	bittern.says(t, 0, "rules list", "RULE ", "SHOWN   1        live ", " 3       3     ", "SILENT  1        live ", " 0       0     -", "WRONG   -        rejected ")
	if out := bittern.ask(t, 0, "rules", "list", "--only", "rejected,stale"); strings.Contains(out, "SHOWN") || !strings.Contains(out, "WRONG") {
		t.Errorf("rules list --only says:\n%s", out)
	}
	if r := bittern.rule(t, "SHOWN"); r.Hits != 3 || r.LastHit == nil || r.Condition != control.Live || r.Document != numberedRule("SHOWN", 1) || !strings.Contains(r.Plan, "process_exec: 1 clause") {
		t.Errorf("SHOWN is %+v", r)
	}
	bittern.says(t, 1, "rules show NONE", "rule NONE: there is no such rule")
	bittern.says(t, 0, "doctor --output json", `"class": "file_open"`)

	bittern.says(t, 0, "rules why SHOWN", "SHOWN v1 is live\n", "- only processes of cgroup ", "- process_exec: ", "- it has detected 3 times since ")
	bittern.says(t, 0, "rules why SILENT", "SILENT v1 is live\n", "- the kernel has let no event pass", "process_exec, clause 1: events have hit process.executable: ends with \"/true\", and none has hit process.command_line: contains")
	bittern.says(t, 0, "rules why WRONG", "WRONG v0 is rejected\n", "! its file is wrong", "c.yml:8:3: ")
	bittern.says(t, 1, "rules why NONE", "rule NONE: there is no such rule")

	bittern.says(t, 1, "rules diff", "WRONG: only in files, rejected: ", "c.yml:8:3")
	if err := os.Remove(filepath.Join(dir, "c.yml")); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); strings.Contains(bittern.ask(t, 0, "rules", "list"), "WRONG"); {
		if time.Now().After(deadline) {
			t.Fatal("a rule is listed whose file is gone")
		}
	}
	write(t, filepath.Join(dir, "a.yml"), strings.ReplaceAll(numberedRule("SHOWN", 2), "condition:", "conditoin:"))
	p.logged(t, "rule file rejected", "rule_id", "SHOWN")
	bittern.says(t, 0, "rules why SHOWN", "SHOWN v1 is stale\n", "- it is live in version 1, since its newest one can't be: ", "a.yml:8:3: ")
	bittern.says(t, 1, "rules diff", "SHOWN: only live: ", "a.yml:8:3: ")
	bittern.says(t, 0, "status", "1 live, 1 stale, in ", "live in an older version: SHOWN")
	write(t, filepath.Join(dir, "a.yml"), numberedRule("SHOWN", 3))
	p.logged(t, "rule live", "rule_id", "SHOWN", "rule_version", 3.0)
	bittern.says(t, 0, "rules diff", "no difference")
	other := t.TempDir()
	write(t, filepath.Join(other, "a.yml"), numberedRule("SHOWN", 4))
	write(t, filepath.Join(other, "n.yml"), numberedRule("NEW", 1))
	bittern.says(t, 1, "rules diff --rules "+other, "NEW: only in files: the agent does not know it", "SHOWN: differs, live is version 3, in the file 4",
		"-rule_version: 3\n", "+rule_version: 4\n", "SILENT: only live: no file has it")

	bittern.says(t, 0, "changes --topic rule.reloaded.SHOWN --output json", `"result":"rejected"`, `"result":"live"`, `"version":3`)
	if code, _ := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	bittern.says(t, 1, "status", "no agent is running")
}

// TestNearMissIsExplained has a rule of which the kernel decides only a part.
func TestNearMissIsExplained(t *testing.T) {
	cg, dir := newCgroup(t), t.TempDir()
	write(t, filepath.Join(dir, "a.yml"), strings.ReplaceAll(numberedRule("NEAR", 1), "  condition:", `  odd: {process.command_line|re: 'numbered-[0-9]*[13579]( |$)'}
  condition: odd and`))
	p, bittern := askable(t, "--rules", dir, "--cgroup", cg.path)
	cg.execute(t, 1)
	pid := cg.execute(t, 2)
	cg.execute(t, 3)
	p.out.wait(t, "the last execution", func(line string) bool { return strings.Contains(line, "numbered-3") })
	bittern.says(t, 0, "rules why NEAR", "it has detected 2 times", "the kernel has let 3 events pass, and the exact matcher 2 of them",
		"was of /usr/bin/true (pid "+strconv.Itoa(pid)+")", "a.yml:", "process.command_line|re: numbered-", "does not hold")
}

// TestStateCountsWhenTheCommandEnds sets states through the socket: each execution after that is judged by
// the state.
func TestStateCountsWhenTheCommandEnds(t *testing.T) {
	cg, dir := newCgroup(t), t.TempDir()
	write(t, filepath.Join(dir, "a.yml"), numberedRule("STATED", 1))
	p, bittern := askable(t, "--rules", dir, "--cgroup", cg.path)
	want, next := make(map[int]bool), 0
	for range 10 {
		bittern.says(t, 0, "state set STATED disabled --for 1h --reason noisy", "STATED is disabled, until ")
		cg.execute(t, next)
		bittern.says(t, 0, "state clear STATED")
		cg.execute(t, next+1)
		want[next+1] = true
		next += 2
	}
	bittern.says(t, 0, "state set STATED clipped --confidence-max 0.25", "STATED is clipped to 0.25")
	bittern.says(t, 0, "state list", "STATED  clipped to 0.25  for good  by tester as root")
	bittern.says(t, 0, "rules list", "live, clipped to 0.25 ")
	bittern.says(t, 0, "status", "1 live, 1 clipped, in ")
	bittern.says(t, 0, "state set STATED disabled --for 1s")
	p.logged(t, "rule state expired", "rule_id", "STATED")
	bittern.says(t, 0, "changes --topic rule.state.", "rule.state.STATED set", ": disabled", " by tester as root", "rule.state.STATED expired", "by expiry")
	bittern.says(t, 0, "state list", "no rule has a state")
	bittern.says(t, 2, "state set STATED disabled --reason "+strings.Repeat("x", 2000), "reason has 2000 bytes")
	_, output := p.stop(t, syscall.SIGTERM)
	found := collect(t, output)
	for n := range next {
		if reported := len(found[n]) == 1; reported != want[n] {
			t.Errorf("execution %d: reported %d times, want it %v", n, len(found[n]), want[n])
		}
	}
}

// TestEventsAreFollowed follows an agent by several filters at once, until it stops.
func TestEventsAreFollowed(t *testing.T) {
	cg, dir := newCgroup(t), t.TempDir()
	write(t, filepath.Join(dir, "a.yml"), numberedRule("SEEN", 1))
	p, bittern := askable(t, "--rules", dir, "--cgroup", cg.path)
	cg.execute(t, 1)
	p.out.wait(t, "the first execution", func(line string) bool { return strings.Contains(line, "numbered-1") })
	bittern.says(t, 0, "events --output text", "SEEN v1 ", "numbered-1")
	bittern.says(t, 0, "events --output json --recent 0")

	follow := func(args ...string) *lines {
		cmd := bittern.command(append([]string{"events", "-f", "--output", "json"}, args...)...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		seen := newLines()
		done := make(chan struct{})
		go func() { defer close(done); seen.collect(out) }()
		t.Cleanup(func() {
			<-done
			if err := cmd.Wait(); err == nil {
				t.Errorf("%q: it ends without an error, and the agent has stopped", args)
			}
		})
		return seen
	}
	all, none := follow(), follow("--rule", "OTHER")
	tagged, fromNow := follow("--attack", "T1204"), follow("--recent", "0")
	// All have what is to come when they have what was before, but the one that asked for nothing before.
	all.wait(t, "what was before", func(line string) bool { return strings.Contains(line, "numbered-1") })
	last := 1
	for heard := false; !heard; {
		last++
		cg.execute(t, last)
		deadline := time.After(100 * time.Millisecond)
		for waiting := true; waiting && !heard; {
			got, _, more := fromNow.snapshot()
			heard = len(got) > 0
			select {
			case <-more:
			case <-deadline:
				waiting = false
			}
		}
	}
	final := "numbered-" + strconv.Itoa(last)
	all.wait(t, "the last execution", func(line string) bool { return strings.Contains(line, final) })
	_, output := p.stop(t, syscall.SIGTERM)
	for _, seen := range []*lines{all, tagged} {
		for end := false; !end; {
			var more <-chan struct{}
			if _, end, more = seen.snapshot(); !end {
				<-more
			}
		}
	}
	got, _, _ := all.snapshot()
	if strings.Join(got, "\n") != strings.Join(output, "\n") {
		t.Errorf("followed:\n%s\nwritten:\n%s", strings.Join(got, "\n"), strings.Join(output, "\n"))
	}
	if got, _, _ := none.snapshot(); len(got) > 0 {
		t.Errorf("with a filter that nothing passes: %v", got)
	}
}
