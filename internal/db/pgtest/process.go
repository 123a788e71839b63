package pgtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// stopWithin bounds how long a server may take to stop before it is killed.
const stopWithin = 20 * time.Second

// process is a program that runs until it is stopped. What it writes is logged.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
	err    error // of the process, once exited is closed
}

// launch starts a program and waits until it writes a line that holds ready. The kernel ends the program with the thread that started it,
// so that one thread does nothing but wait for it.
func (p *process) launch(cmd *exec.Cmd, ready string, death syscall.Signal, log *logBuffer) error {
	cmd.SysProcAttr.Pdeathsig = death
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	p.cmd, p.exited, p.err = cmd, make(chan struct{}), nil
	started, isReady := make(chan error), make(chan struct{})
	exited := p.exited
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		follow(stderr, ready, isReady, log)
		p.err = cmd.Wait()
		close(exited)
	}()
	if err := <-started; err != nil {
		return err
	}
	select {
	case <-isReady:
		return nil
	case <-exited:
		return fmt.Errorf("%s ended: %w", cmd.Path, errors.Join(errors.New("it was never ready"), p.err))
	}
}

// follow logs lines until there are no more, and closes isReady at the one that holds ready.
func follow(stderr io.Reader, ready string, isReady chan<- struct{}, log *logBuffer) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		log.add(lines.Text())
		if isReady != nil && strings.Contains(lines.Text(), ready) {
			close(isReady)
			isReady = nil
		}
	}
	// A line too long: the program must not block on what it writes.
	_, _ = io.Copy(io.Discard, stderr)
}

// end signals the program and waits for its end.
func (p *process) end(sig, kill syscall.Signal) error {
	err := p.cmd.Process.Signal(sig)
	select {
	case <-p.exited:
	case <-time.After(stopWithin):
		err = errors.Join(err, fmt.Errorf("stopping %s: it did not stop, and is killed", p.cmd.Path), p.cmd.Process.Signal(kill))
		<-p.exited
	}
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Signals that end a server, see the manual of postgres.
const (
	FastShutdown      = syscall.SIGINT
	ImmediateShutdown = syscall.SIGQUIT
	Killed            = syscall.SIGKILL
)

// run starts the server and waits until it accepts connections.
func (c *Cluster) run() error {
	return c.launch(c.command("postgres", "-D", c.seen(c.Data())), "database system is ready to accept ", ImmediateShutdown, c.log)
}

// Halt ends the server, by one of the signals above, and keeps the cluster.
func (c *Cluster) Halt(how syscall.Signal) error { return c.end(how, ImmediateShutdown) }

// Resume starts a server that was halted.
func (c *Cluster) Resume() error {
	for until := time.Now().Add(stopWithin); ; {
		err := c.run()
		// The backends of a server that was killed end soon, each when it notices.
		if err == nil || !strings.Contains(c.log.last(), "in use") || time.Now().After(until) {
			return err
		}
	}
}

// Stop ends the server and removes the cluster.
func (c *Cluster) Stop() error {
	return errors.Join(c.end(FastShutdown, ImmediateShutdown), c.remove())
}
