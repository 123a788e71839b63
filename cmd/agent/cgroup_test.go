package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"bittern/internal/require"
)

// cgroup is where a test's programs run.
type cgroup struct {
	path string
	dir  *os.File
}

func newCgroup(t *testing.T) *cgroup {
	t.Helper()
	require.BPF(t)
	path := require.Cgroup(t)
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return &cgroup{path, dir}
}

// execute runs a small program with a number among its arguments, and returns its
// process id.
func (c *cgroup) execute(t *testing.T, number int, more ...string) int {
	t.Helper()
	return c.run(t, "/bin/true", append([]string{fmt.Sprintf("numbered-%d", number)}, more...)...)
}

// stream executes numbers from 1 on, one after the other, until the returned function is called, which returns
// the last one. ended, if there is any, is called after each.
func (c *cgroup) stream(t *testing.T, ended func(n int)) (stop func() (last int)) {
	t.Helper()
	quit, executed := make(chan struct{}), make(chan int)
	go func() {
		for n := 1; ; n++ {
			select {
			case <-quit:
				executed <- n - 1
				return
			default:
				c.execute(t, n)
				if ended != nil {
					ended(n)
				}
			}
		}
	}()
	return func() int {
		close(quit)
		return <-executed
	}
}

func (c *cgroup) run(t *testing.T, program string, args ...string) int {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(c.dir.Fd())}
	if err := cmd.Run(); err != nil {
		t.Errorf("executing %s %q: %v", program, args, err)
		return 0
	}
	return cmd.Process.Pid
}

// numberedRule matches all executions of execute.
func numberedRule(id string, version int) string {
	return fmt.Sprintf(`rule_id: %s
rule_version: %d
name: a numbered program
description: For tests.
severity: low
applies_to: [process_exec]
match:
  numbered:
    process.executable|endswith: /true
    process.command_line|contains: " numbered-"
  condition: numbered
emits:
  - {tactic: TA0011, technique_id: T1105, sub_technique_id: T1059.004, confidence: 0.85}
evidence_fields: [command_text]
`, id, version)
}

// detected collects what was reported of each numbered execution.
type detected map[int][]record

func collect(t *testing.T, output []string) detected {
	t.Helper()
	found := make(detected)
	for _, line := range output {
		r := parse(t, line)
		if r.Event.Kind != "alert" {
			t.Errorf("unexpected record: %s", line)
			continue
		}
		found[number(t, r)] = append(found[number(t, r)], r)
	}
	return found
}

func number(t *testing.T, r record) int {
	t.Helper()
	if len(r.Process.Args) < 2 {
		t.Fatalf("no number in %q", r.Process.Args)
	}
	n, err := strconv.Atoi(strings.TrimPrefix(r.Process.Args[1], "numbered-"))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (r record) version(t *testing.T) int {
	t.Helper()
	v, err := strconv.Atoi(r.Rule.Version)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// replace writes a file the way most tools do: another one, renamed over it.
func replace(t *testing.T, path, content string) {
	t.Helper()
	write(t, path+".tmp", content)
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

// sed edits a file by sed -i.
func sed(t *testing.T, path, script string) {
	t.Helper()
	if out, err := exec.Command("sed", "-i", script, path).CombinedOutput(); err != nil {
		t.Fatalf("sed: %v: %s", err, out)
	}
}

// backup saves as vim does with its default settings: the old file becomes a
// backup, and a new one takes its name.
func backup(t *testing.T, path, content string) {
	t.Helper()
	if err := os.Rename(path, path+"~"); err != nil {
		t.Fatal(err)
	}
	write(t, path, content)
	if err := os.Remove(path + "~"); err != nil {
		t.Fatal(err)
	}
}

// killed runs a program that is killed by SIGKILL, and returns its process id.
func (c *cgroup) killed(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "kill -9 $$")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(c.dir.Fd())}
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) {
		t.Errorf("killing a program: %v", err)
		return 0
	}
	return cmd.Process.Pid
}
