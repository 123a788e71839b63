// Package subject runs what the benchmarks measure: the agent, and a workload with or
// without it.
package subject

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Config says how the agent is run.
type Config struct {
	Program string
	Rules   string                          // directory
	State   string                          // directory of states of rules; "" is that of an agent that is installed
	Cgroup  string                          // that is watched; "" is the whole host
	Metrics string                          // address, host:port; "" is none
	Socket  string                          // for commands; "" is none
	Log     func(line string, at time.Time) // is given what the agent logs; may be nil
}

// Agent is an agent at work.
type Agent struct {
	StartUp    time.Duration  // from fork to all rules live
	Detections chan Detection // closed at its end
	cmd        *exec.Cmd
	readers    sync.WaitGroup
}

// Detection is what the benchmarks need of one.
type Detection struct {
	Time time.Time `json:"@timestamp"`
	Rule struct {
		ID      string `json:"id"`
		Version string `json:"version"`
	} `json:"rule"`
	File struct {
		Path string `json:"path"`
	} `json:"file"`
}

// Start runs the agent, and returns once all rules are live.
func Start(c Config) (*Agent, error) {
	a := &Agent{Detections: make(chan Detection, 1<<16)}
	a.cmd = exec.Command(c.Program, "run", "--rules", c.Rules, "--output", "json", "--log-format", "text", "--pins", "off",
		"--metrics", cmp.Or(c.Metrics, "off"), "--socket", cmp.Or(c.Socket, "off"))
	if c.Cgroup != "" {
		a.cmd.Args = append(a.cmd.Args, "--cgroup", c.Cgroup)
	}
	if c.State != "" {
		a.cmd.Args = append(a.cmd.Args, "--state", c.State)
	}
	stdout, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := a.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan error, 1)
	a.readers.Go(func() {
		log := bufio.NewReader(stderr)
		ready <- a.awaitReady(log, begin)
		if c.Log == nil {
			_, _ = log.WriteTo(io.Discard) // keeps the agent from blocking
			return
		}
		for line, err := log.ReadString('\n'); err == nil; line, err = log.ReadString('\n') {
			c.Log(line, time.Now())
		}
	})
	a.readers.Go(func() { a.readDetections(stdout) })
	if err := <-ready; err != nil {
		_ = a.cmd.Process.Kill()
		a.readers.Wait()
		return nil, errors.Join(err, a.cmd.Wait())
	}
	return a, nil
}

func (a *Agent) awaitReady(lines *bufio.Reader, begin time.Time) error {
	var said strings.Builder
	for {
		line, err := lines.ReadString('\n')
		if strings.Contains(line, "bittern is running") {
			a.StartUp = time.Since(begin)
			return nil
		}
		said.WriteString(line)
		if err != nil {
			return fmt.Errorf("the agent ended before it was ready:\n%s", said.String())
		}
	}
}

func (a *Agent) readDetections(stdout io.Reader) {
	defer close(a.Detections)
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var d Detection
		if json.Unmarshal(lines.Bytes(), &d) == nil && d.Rule.ID != "" {
			a.Detections <- d
		}
	}
	_, _ = io.Copy(io.Discard, stdout)
}

// Stop ends the agent. Someone must be reading the detections if there are many.
func (a *Agent) Stop() error {
	err := a.cmd.Process.Signal(syscall.SIGTERM)
	a.readers.Wait()
	if err := errors.Join(err, a.cmd.Wait()); err != nil {
		return fmt.Errorf("stopping the agent: %w", err)
	}
	return nil
}
