package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/require"
)

// numbers are those of the executions that JSON lines tell of, and how often.
func numbers(t *testing.T, lines []string) map[string]int {
	t.Helper()
	found := make(map[string]int)
	pattern := regexp.MustCompile(`numbered-(\d+)`)
	for _, line := range lines {
		var r struct {
			Event   struct{ Dataset string }
			Process struct {
				CommandLine string `json:"command_line"`
			}
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if m := pattern.FindStringSubmatch(r.Process.CommandLine); m != nil && r.Event.Dataset == "bittern.detection" {
			found[m[1]]++
		}
	}
	return found
}

func linesOf(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

// TestStuckOutput leaves the standard output unread: a file gets all that happens meanwhile, the agent stops all the same, and
// what was not read is told by the next one.
func TestStuckOutput(t *testing.T) {
	const executions = 100
	cg, dir, state := newCgroup(t), t.TempDir(), t.TempDir()
	file := filepath.Join(t.TempDir(), "logs", "records.jsonl")
	write(t, filepath.Join(dir, "numbered.yml"), numberedRule("STUCK", 1))
	args := []string{"--rules", dir, "--cgroup", cg.path, "--state", state, "--output", "json", "--file", file}
	p := startUnread(t, args...)
	for n := range executions { // more than a pipe holds
		cg.execute(t, n, strings.Repeat("x", 2000))
	}
	waitFor(t, "the file to have all", func() bool {
		data, err := os.ReadFile(file)
		return err == nil && bytes.Count(data, []byte("\n")) >= executions
	})
	began := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.logged(t, "not all records were delivered, the next agent does it", "sink", "stdout")
	p.readOutput() // the rest of what is in the pipe
	if code, _ := p.end(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	t.Logf("the stop took %v", time.Since(began))
	first, _, _ := p.out.snapshot()

	next := start(t, args...)
	next.out.wait(t, "the last execution", func(line string) bool { return strings.Contains(line, "numbered-99 ") })
	_, second := next.stop(t, syscall.SIGTERM)
	// The line at which the first one stood is torn.
	if n := len(first); n > 0 && !json.Valid([]byte(first[n-1])) {
		first = first[:n-1]
	}
	if found := numbers(t, append(first, second...)); len(found) != executions {
		t.Errorf("standard output told of %d executions, want %d", len(found), executions)
	}
	found := numbers(t, linesOf(t, file))
	for n, count := range found {
		if count != 1 {
			t.Errorf("the file tells of execution %s %d times", n, count)
		}
	}
	if len(found) != executions {
		t.Errorf("the file tells of %d executions, want %d", len(found), executions)
	}
}

// TestReopen moves the file away and sends SIGUSR1, as logrotate does.
func TestReopen(t *testing.T) {
	cg, dir := newCgroup(t), t.TempDir()
	file := filepath.Join(t.TempDir(), "records.jsonl")
	write(t, filepath.Join(dir, "numbered.yml"), numberedRule("MOVED", 1))
	p, bittern := askable(t, "--rules", dir, "--cgroup", cg.path, "--file", file, "--no-stdout")
	holds := func(path, what string) {
		t.Helper()
		waitFor(t, what+" in "+path, func() bool {
			data, err := os.ReadFile(path)
			return err == nil && bytes.Contains(data, []byte(what))
		})
	}
	cg.execute(t, 1)
	holds(file, "numbered-1")
	if err := os.Rename(file, file+"-old"); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	p.logged(t, "the file of records is opened anew")
	cg.execute(t, 2)
	holds(file, "numbered-2")
	// Who changes a rule's state is in the file as well.
	bittern.ask(t, 0, "state", "set", "MOVED", "disabled", "--for", "1h", "--reason", "it moves")
	holds(file, `"action":"rule_state_set"`)
	holds(file, `"reason":"it moves"`)
	write(t, filepath.Join(dir, "numbered.yml"), strings.Replace(numberedRule("MOVED", 2), "match", "mtach", 1))
	holds(file, `"action":"rule_rejected"`)
	code, output := p.stop(t, syscall.SIGTERM)
	if code != 0 || len(output) != 0 {
		t.Errorf("exit code %d, %d lines on standard output; want 0 and none", code, len(output))
	}
	if found := numbers(t, append(linesOf(t, file), linesOf(t, file+"-old")...)); len(found) != 2 {
		t.Errorf("the files tell of %v, want two executions", found)
	}
}

// TestTwoAgents starts a second one on the state of the first one.
func TestTwoAgents(t *testing.T) {
	cg, dir, state := newCgroup(t), t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "numbered.yml"), numberedRule("ONE", 1))
	p := start(t, "--rules", dir, "--cgroup", cg.path, "--state", state)
	second := launch(t, "--rules", dir, "--cgroup", cg.path, "--state", state, "--pins", "off")
	second.readOutput()
	second.log.wait(t, "who has it", func(line string) bool {
		return strings.HasPrefix(line, "bittern: the outbox "+filepath.Join(state, "outbox")+" is in use by another agent (pid ")
	})
	if code, _ := second.end(t); code != exitFailure {
		t.Errorf("exit code %d, want %d", code, exitFailure)
	}
	cg.execute(t, 1)
	p.out.wait(t, "what the first one detects", func(line string) bool { return strings.Contains(line, "numbered-1") })
	if code, _ := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// waitFor waits for something that no line tells of.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s", what)
		}
	}
}

// TestOutboxFull has more happen than the outbox has room for while the standard output is stuck: the file has all, and the standard
// output what is left, and records of how much it lost.
func TestOutboxFull(t *testing.T) {
	const executions = 1500
	cg, dir, state := newCgroup(t), t.TempDir(), t.TempDir()
	file := filepath.Join(t.TempDir(), "records.jsonl")
	write(t, filepath.Join(dir, "numbered.yml"), numberedRule("FLOOD", 1))
	args := []string{"--rules", dir, "--cgroup", cg.path, "--state", state, "--output", "json", "--file", file, "--outbox-bytes", "4194304"}
	p := startUnread(t, args...)
	for n := range executions {
		cg.execute(t, n, strings.Repeat("x", 2000))
	}
	waitFor(t, "the file to have all", func() bool { return len(numbers(t, linesOf(t, file))) == executions })
	p.logged(t, "no room, records are given up", "tier", "low")
	if err := p.cmd.Process.Kill(); err != nil { // what was counted is on the disk
		t.Fatal(err)
	}
	p.readOutput()
	p.end(t)
	first, _, _ := p.out.snapshot()
	if n := len(first); n > 0 && !json.Valid([]byte(first[n-1])) {
		first = first[:n-1]
	}
	next := start(t, args...)
	next.out.wait(t, "the last execution", func(line string) bool { return strings.Contains(line, "numbered-1499 ") })
	_, second := next.stop(t, syscall.SIGTERM)
	all := append(first, second...)
	told, lost := numbers(t, all), 0
	gaps := make(map[string]bool)
	for _, line := range append(all, linesOf(t, file)...) {
		r := parse(t, line)
		if r.Event.Dataset != "bittern.gap" || gaps[r.Event.ID] {
			continue
		}
		gaps[r.Event.ID] = true
		if r.Event.Reason != "outbox_full" || r.Bittern.Lost.Sink != "stdout" || r.Bittern.Lost.Rule != "FLOOD" {
			t.Errorf("an unexpected gap: %s", line)
		}
		lost += r.Bittern.Lost.Count
	}
	if lost == 0 || len(told)+lost != executions {
		t.Errorf("standard output tells of %d executions and gaps of %d, want %d together", len(told), lost, executions)
	}
	t.Logf("%d told, %d lost, in %d gaps", len(told), lost, len(gaps))
}

// TestDiskFull fills the disk of an agent's state: it goes on detecting and says so, and once there is room again all is on the disk
// and outlives the agent.
func TestDiskFull(t *testing.T) {
	require.Root(t)
	cg, dir, state := newCgroup(t), t.TempDir(), t.TempDir()
	if err := unix.Mount("tmpfs", state, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(state, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	write(t, filepath.Join(dir, "numbered.yml"), numberedRule("FULL", 1))
	args := []string{"--rules", dir, "--cgroup", cg.path, "--state", state, "--outbox-bytes", "8388608", "--output", "json", "--metrics", "127.0.0.1:0"}
	p := start(t, args...)
	address := p.logged(t, "telling metrics and health")["address"].(string)
	cg.execute(t, 0)
	filler := filepath.Join(state, "filler")
	if err := os.WriteFile(filler, make([]byte, 8<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	const executions = 200 // more than is left of a segment
	for n := 1; n < executions; n++ {
		cg.execute(t, n, strings.Repeat("x", 1000))
	}
	p.logged(t, "the disk has failed, records are in memory only until it works")
	p.out.wait(t, "the last execution", func(line string) bool { return strings.Contains(line, "numbered-199 ") })
	if code, body := answer(t, address, "/healthz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "outbox: ") || !strings.Contains(body, "no space left on device") {
		t.Errorf("health says %d %q", code, body)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	p.logged(t, "the disk works again, all records are on it")
	if code, body := answer(t, address, "/healthz"); code != http.StatusOK {
		t.Errorf("health says %d %q", code, body)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.end(t)
	first, _, _ := p.out.snapshot()
	file := filepath.Join(t.TempDir(), "records.jsonl")
	next := start(t, append(args, "--file", file)...)
	_, second := next.stop(t, syscall.SIGTERM)
	found := numbers(t, append(first, second...))
	if len(found) != executions {
		t.Errorf("%d executions were told of, want %d", len(found), executions)
	}
	for n, count := range found {
		if count != 1 {
			t.Errorf("execution %s was told %d times", n, count)
		}
	}
}
