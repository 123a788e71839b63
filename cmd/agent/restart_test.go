package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"bittern/internal/require"
)

var kills = flag.Int("kills", 8, "how often TestKilled kills the agent")

// restarts runs one agent after another on the same pins and state. Their outputs are
// appended to one file.
type restarts struct {
	root, pins string
	cgroup     *cgroup
	rules      string
	output     string
	program    string   // what start starts
	by         []string // a command that executes it; nil for none
	args       []string // more for each agent
}

func newRestarts(t *testing.T) *restarts {
	t.Helper()
	dir := t.TempDir()
	r := &restarts{
		root: dir, pins: require.Pins(t), cgroup: newCgroup(t),
		rules: filepath.Join(dir, "rules"), output: filepath.Join(dir, "output"), program: self(t),
	}
	if err := os.Mkdir(r.rules, 0o755); err != nil {
		t.Fatal(err)
	}
	return r
}

// start starts an agent, and does not wait for it.
func (r *restarts) start(t *testing.T, args ...string) *process {
	t.Helper()
	args = append([]string{"run", "--log-format", "json", "--output", "json", "--rules", r.rules, "--pins", r.pins, "--cgroup", r.cgroup.path}, args...)
	args = slices.Concat(r.by, []string{called(t, r.program, "bittern")}, args, r.args)
	p := &process{cmd: exec.Command(args[0], args[1:]...), out: newLines(), log: newLines()}
	p.cmd.Env = append(os.Environ(), rootVariable+"="+r.root)
	out, err := os.OpenFile(r.output, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p.cmd.Stdout = out
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.read.Go(func() { p.log.collect(stderr) })
	t.Cleanup(func() {
		p.reap.Do(func() {
			_ = p.cmd.Process.Kill() // fails only if it has ended
			p.read.Wait()
			_ = p.cmd.Wait()
		})
	})
	return p
}

// lines are those of the output that are whole.
func (r *restarts) lines(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(r.output)
	if err != nil {
		t.Fatal(err)
	}
	var whole []string
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, "{") && strings.HasSuffix(line, "}\n") {
			whole = append(whole, line)
		}
	}
	return whole
}

// killed kills agents at any moment, again and again, under a stream of executions, and has the next of the
// programs take over each time, with another version of the rule. The sizes of the kernel's tables
// change too, as they do from build to build. It returns the last execution's number, and how many
// agents had come to run.
func (r *restarts) killed(t *testing.T, kills int, programs ...string) (last, running int) {
	t.Helper()
	file := filepath.Join(r.rules, "numbered.yml")
	write(t, file, numberedRule("KILLED", 1))
	r.program = programs[0]
	p := r.start(t)
	p.logged(t, "bittern is running")

	stop := r.cgroup.stream(t, nil)
	rnd := rand.New(rand.NewPCG(1, 2))
	for kill := range kills {
		time.Sleep(time.Duration(rnd.IntN(1200)) * time.Millisecond)
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		p.end(t)
		if all, _, _ := p.log.snapshot(); strings.Contains(strings.Join(all, "\n"), "bittern is running") {
			running++
		}
		write(t, file, numberedRule("KILLED", kill+2))
		r.program = programs[(kill+1)%len(programs)]
		p = r.start(t, "--slots", fmt.Sprint(4096<<(kill%3)), "--ring-bytes", fmt.Sprint(1<<(21+kill%3)))
	}
	p.logged(t, "bittern is running")
	if all, _, _ := p.log.snapshot(); strings.Contains(strings.Join(all, "\n"), "can't be taken over") {
		t.Errorf("hooks were not taken over:\n%s", strings.Join(all, "\n"))
	}
	last = stop()
	if code, _ := p.stop(t, syscall.SIGTERM); code != 0 {
		all, _, _ := p.log.snapshot()
		t.Errorf("exit code %d, want 0:\n%s", code, strings.Join(all, "\n"))
	}
	if _, err := os.Stat(r.pins); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the agent has left pins: %v", err)
	}
	return last, running
}

// TestKilled has agents killed: each execution is reported exactly once, by a version that may report it, on standard output and in
// a file that rotates, while a third sink fails all the time.
func TestKilled(t *testing.T) {
	r := newRestarts(t)
	file := filepath.Join(r.root, "records.jsonl")
	r.args = []string{"--file", file, "--file-bytes", "1048576", "--file-keep", "1000", "--syslog", "unix://" + filepath.Join(r.root, "nobody")}
	last, running := r.killed(t, *kills, r.program)
	lost := r.accounted(t, last, *kills+1)
	r.output = filepath.Join(r.root, "all")
	gather(t, file, r.output)
	if inFile := r.accounted(t, last, *kills+1); inFile != lost {
		t.Errorf("standard output lacks %d executions, and the file %d", lost, inFile)
	}
	if lost > last/20 { // a disk that stands, or agents that don't get started, may be too much for the ring now and then
		t.Errorf("%d executions were lost, and counted", lost)
	}
	t.Logf("%d executions: on standard output and in the file %d each, 0 doubled, %d lost, all of them counted; killed %d times, %d of them while running", last, last-lost, lost, *kills, running)
}

// gather puts the detections in a file that has rotated into another one, oldest first.
func gather(t *testing.T, from, to string) {
	t.Helper()
	var all []byte
	add := func(path string) bool {
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return false
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(data, all...)
		return true
	}
	add(from)
	for n := 1; add(fmt.Sprintf("%s.%d", from, n)); n++ {
	}
	var detections []byte
	for line := range bytes.Lines(all) {
		if bytes.Contains(line, []byte(`"dataset":"bittern.detection"`)) || bytes.Contains(line, []byte(`"dataset":"bittern.gap"`)) {
			detections = append(detections, line...)
		} else if !bytes.Contains(line, []byte(`"dataset":"bittern.rule"`)) {
			t.Errorf("an unexpected record: %s", line)
		}
	}
	if err := os.WriteFile(to, detections, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestKilledAsService has only the capabilities that the unit in the operations guide gives.
func TestKilledAsService(t *testing.T) {
	require.Tool(t, "setpriv")
	guide, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.+)$`).FindSubmatch(guide)
	if found == nil {
		t.Fatal("the guide has no unit with capabilities")
	}
	given := strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(string(found[1]), "CAP_", "+"), " ", ","))
	r := newRestarts(t)
	r.by = []string{"setpriv", "--bounding-set=-all," + given, "--no-new-privs"}
	last, _ := r.killed(t, 2, r.program)
	r.once(t, last, 3)
	t.Logf("%d executions, each reported once, with %s", last, given)
}

// once fails unless the output has each execution exactly once, by versions that never go back, to the
// newest.
func (r *restarts) once(t *testing.T, last, newest int) {
	t.Helper()
	if lost := r.accounted(t, last, newest); lost > 0 {
		t.Errorf("%d executions were lost, and counted", lost)
	}
}

// accounted is once, but that executions may be missing if gap records say of as many that the ring had no room. It returns how
// many.
func (r *restarts) accounted(t *testing.T, last, newest int) (lost int) {
	t.Helper()
	var detections []string
	counted := 0
	for _, line := range r.lines(t) {
		switch gap := parse(t, line); {
		case gap.Event.Dataset != "bittern.gap":
			detections = append(detections, line)
		case gap.Event.Reason == "ring_full":
			counted += gap.Bittern.Lost.Count
		case gap.Bittern.Lost.Sink != "syslog": // which never gets anything
			t.Errorf("an unexpected gap: %s", line)
		}
	}
	found := collect(t, detections)
	version := 0
	for n := 1; n <= last; n++ {
		if len(found[n]) == 0 {
			lost++
			continue
		}
		if len(found[n]) != 1 {
			t.Errorf("execution %d of %d: reported %d times, want once: %+v", n, last, len(found[n]), found[n])
			continue
		}
		v := found[n][0].version(t)
		if v < version {
			t.Errorf("execution %d: reported by version %d after version %d", n, v, version)
		}
		version = v
	}
	if version != newest {
		t.Errorf("the last version to report was %d, want %d", version, newest)
	}
	if lost != counted {
		t.Errorf("%d executions of %d are missing, and gap records count %d", lost, last, counted)
	}
	return lost
}

// TestKeep stops an agent that keeps the kernel at work: what happens before the next one starts
// is reported by it. While one runs there can be no other. Unloading leaves nothing.
func TestKeep(t *testing.T) {
	r := newRestarts(t)
	write(t, filepath.Join(r.rules, "numbered.yml"), numberedRule("KEPT", 1))
	p := r.start(t, "--keep")
	p.logged(t, "bittern is running")
	r.cgroup.execute(t, 1)

	other := r.start(t)
	if code, _ := other.end(t); code == 0 {
		t.Error("two agents run on the same pins")
	}
	unload := func() (string, error) {
		cmd := exec.Command(called(t, r.program, "bittern"), "unload", "--pins", r.pins)
		cmd.Env = append(os.Environ(), rootVariable+"="+r.root)
		output, err := cmd.CombinedOutput()
		return string(output), err
	}
	if output, err := unload(); err == nil || !strings.Contains(output, "another agent is running") {
		t.Errorf("unloading under a running agent: %v: %s", err, output)
	}
	if code, _ := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("exit code %d, want 0", code)
	}
	var away sync.WaitGroup
	for n := 2; n < 10; n++ {
		away.Go(func() { r.cgroup.execute(t, n) })
	}
	away.Wait()
	p = r.start(t, "--keep")
	p.logged(t, "bittern is running")
	if code, _ := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("exit code %d, want 0", code)
	}
	found := collect(t, r.lines(t))
	for n := 1; n < 10; n++ {
		if len(found[n]) != 1 {
			t.Errorf("execution %d: reported %d times, want once", n, len(found[n]))
		}
	}
	if _, err := os.Stat(filepath.Join(r.pins, "hooks", "on_exec", "link")); err != nil {
		t.Errorf("it is not at work any more: %v", err)
	}
	if output, err := unload(); err != nil {
		t.Errorf("unloading: %v: %s", err, output)
	}
	if _, err := os.Stat(r.pins); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unloading has left pins: %v", err)
	}
}
