package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestLossIsReported lets the ring overflow: detections and gap records together
// account for every execution.
func TestLossIsReported(t *testing.T) {
	const executions = 150
	cg, dir := newCgroup(t), t.TempDir()
	write(t, filepath.Join(dir, "numbered.yml"), numberedRule("LOSS", 1))
	p := startUnread(t, "--rules", dir, "--cgroup", cg.path, "--ring-bytes", strconv.Itoa(os.Getpagesize()))
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP) // the kernel goes on
	for n := range executions {
		cg.execute(t, n, strings.Repeat("x", 1000))
	}
	signal(syscall.SIGCONT)
	p.readOutput()
	code, output := p.stop(t, syscall.SIGTERM)
	if code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	detections, lost := 0, 0
	for _, line := range output {
		switch r := parse(t, line); {
		case r.Event.Kind == "alert":
			detections++
		case r.Event.Kind == "pipeline_error" && r.Event.Reason == "ring_full" && r.Bittern.Lost.Class == "process_exec":
			lost += r.Bittern.Lost.Count
		default:
			t.Errorf("unexpected record: %s", line)
		}
	}
	if lost == 0 || detections+lost != executions {
		t.Errorf("%d detections and %d lost, want %d together", detections, lost, executions)
	}
}

// TestOutputGone closes the pipe that the agent writes to.
func TestOutputGone(t *testing.T) {
	cg, dir := newCgroup(t), t.TempDir()
	write(t, filepath.Join(dir, "numbered.yml"), numberedRule("GONE", 1))
	p := startUnread(t, "--rules", dir, "--cgroup", cg.path)
	if err := p.stdout.Close(); err != nil {
		t.Fatal(err)
	}
	cg.execute(t, 1)
	p.log.wait(t, "broken pipe", func(line string) bool {
		return line == "bittern: sink stdout: writing records: whoever read them is gone: broken pipe"
	})
	if code, _ := p.end(t); code != exitFailure {
		t.Errorf("exit code %d, want %d", code, exitFailure)
	}
}

// TestTextOutput checks that a line for people is one line, whatever is executed.
func TestTextOutput(t *testing.T) {
	cg, dir := newCgroup(t), t.TempDir()
	write(t, filepath.Join(dir, "numbered.yml"), numberedRule("TEXT", 1))
	p := start(t, "--rules", dir, "--cgroup", cg.path, "--output", "text")
	cg.execute(t, 1, "two\nlines", "\x1b[2J")
	line := p.out.wait(t, "TEXT v1", func(string) bool { return true })
	want := regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} low      TEXT v1 .* T1059\.004 pid=\d+ user=root .*cmd="/bin/true numbered-1 two\\nlines \\x1b\[2J"$`)
	if !want.MatchString(line) {
		t.Errorf("got %q", line)
	}
	if code, output := p.stop(t, syscall.SIGTERM); code != 0 || len(output) != 1 || strings.ContainsRune(line, '\x1b') {
		t.Errorf("exit code %d, %d lines; want 0 and 1 without escapes", code, len(output))
	}
}
