package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for something that should come at once.
const patience = 30 * time.Second

// lines collects what a process prints.
type lines struct {
	mu   sync.Mutex
	all  []string
	more chan struct{} // closed at each new line and at the end
	end  bool
}

func newLines() *lines { return &lines{more: make(chan struct{})} }

func (l *lines) collect(r io.Reader) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		l.add(scanner.Text(), false)
	}
	l.add("", true)
}

func (l *lines) add(line string, end bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.end = end; !end {
		l.all = append(l.all, line)
	}
	close(l.more)
	l.more = make(chan struct{})
}

// snapshot returns the lines so far, whether they are all, and a channel that is
// closed when there are more.
func (l *lines) snapshot() ([]string, bool, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all[:len(l.all):len(l.all)], l.end, l.more
}

// wait returns the first line that is wanted.
func (l *lines) wait(t *testing.T, what string, wanted func(line string) bool) string {
	t.Helper()
	deadline := time.After(patience)
	for seen := 0; ; {
		all, end, more := l.snapshot()
		for ; seen < len(all); seen++ {
			if wanted(all[seen]) {
				return all[seen]
			}
		}
		if end {
			t.Fatalf("no line says %s; all of them:\n%s", what, strings.Join(all, "\n"))
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("waiting for a line that says %s; so far:\n%s", what, strings.Join(all, "\n"))
		}
	}
}

// process is an agent that runs as a process of its own.
type process struct {
	cmd    *exec.Cmd
	root   string // stands for the host's root
	out    *lines
	log    *lines
	stdout io.ReadCloser
	read   sync.WaitGroup
	reap   sync.Once
}

// start starts "bittern run" with a log in JSON, and waits until it is running.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := startUnread(t, args...)
	p.readOutput()
	return p
}

// called returns a path to a test program, which acts by the name that it is
// called by, see TestMain.
func called(t *testing.T, program, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(program, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// self is the test's own program.
func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// startUnread does not read the standard output yet.
func startUnread(t *testing.T, args ...string) *process {
	t.Helper()
	p := launch(t, args...)
	p.logged(t, "bittern is running")
	return p
}

// launch does not wait until it is running.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(called(t, self(t), "bittern"), append([]string{"run", "--log-format", "json"}, args...)...), root: t.TempDir(), out: newLines(), log: newLines()}
	p.cmd.Env = append(os.Environ(), rootVariable+"="+p.root)
	var err error
	p.stdout, err = p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
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
			_ = p.stdout.Close()
			p.read.Wait()
			_ = p.cmd.Wait()
		})
	})
	return p
}

func (p *process) readOutput() { p.read.Go(func() { p.out.collect(p.stdout) }) }

// logged waits for a log line with a message and attributes: names and values.
func (p *process) logged(t *testing.T, message string, attrs ...any) map[string]any {
	t.Helper()
	var found map[string]any
	p.log.wait(t, message, func(line string) bool {
		found = nil
		if json.Unmarshal([]byte(line), &found) != nil || found["msg"] != message {
			return false
		}
		for i := 0; i < len(attrs); i += 2 {
			if want := attrs[i+1]; found[attrs[i].(string)] != want {
				return false
			}
		}
		return true
	})
	return found
}

// stop ends the agent by a signal and returns its exit code and all of its output.
func (p *process) stop(t *testing.T, signal syscall.Signal) (code int, output []string) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	return p.end(t)
}

// end waits until the agent has ended.
func (p *process) end(t *testing.T) (code int, output []string) {
	t.Helper()
	err := errors.New("reaped already")
	p.reap.Do(func() {
		watchdog := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
		defer watchdog.Stop()
		p.read.Wait()
		err = p.cmd.Wait()
	})
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	all, _, _ := p.out.snapshot()
	return p.cmd.ProcessState.ExitCode(), all
}

// record is what tests look at of a line of output.
type record struct {
	Event  struct{ Kind, Action, ID, Reason, Dataset string }
	Rule   struct{ ID, Version, Name string }
	Threat struct {
		Tactic    struct{ ID, Name []string }
		Technique struct {
			ID, Name     []string
			SubTechnique struct{ ID, Name []string } `json:"subtechnique"`
		}
	}
	Process struct {
		PID      int
		EntityID string `json:"entity_id"`
		Args     []string
		Parent   struct {
			PID      int
			EntityID string `json:"entity_id"`
		}
	}
	User    struct{ ID, Name string }
	Host    struct{ Hostname string }
	Bittern struct {
		Epoch      int
		RuleHash   string `json:"rule_hash"`
		Confidence float64
		State      string
		Lost       struct {
			Class, Sink, Rule string
			Count             int
		}
	}
}

func parse(t *testing.T, line string) record {
	t.Helper()
	var r record
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("not a line of JSON: %v: %s", err, line)
	}
	return r
}
