package subject

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Kind is what the program of workload.c is to do, with what it does that to.
type Kind struct{ Name, Argument string }

// Workload is the program, ready to run.
type Workload struct {
	Program string
	CPU     int                 // that it stays on; -1 is any
	Batch   time.Duration       // that each batch takes at least
	Batches int                 // of which the fastest counts
	Within  syscall.SysProcAttr // where it runs
}

// Cost runs the program and returns what one of its calls costs, in nanoseconds: in the
// batch with the lowest cost, since all that disturbs a batch makes it slower.
func (w Workload) Cost(k Kind) (float64, error) {
	cmd := w.command(k, w.Batch, w.Batches)
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("running workload %s: %w\n%s", k.Name, err, cmd.Stderr)
	}
	return lowestCost(string(out))
}

// lowestCost reads lines with a number of calls and the nanoseconds that they took.
func lowestCost(lines string) (float64, error) {
	lowest := 0.0
	for line := range strings.Lines(lines) {
		var calls, took float64
		if _, err := fmt.Sscan(line, &calls, &took); err != nil || calls == 0 {
			return 0, fmt.Errorf("reading the workload's %q: %w", line, err)
		}
		if cost := took / calls; lowest == 0 || cost < lowest {
			lowest = cost
		}
	}
	if lowest == 0 {
		return 0, fmt.Errorf("reading what the workload printed: it is %q", lines)
	}
	return lowest, nil
}

// Opens is a stream of numbered opens.
type Opens struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	stdout bytes.Buffer
}

// StartOpens opens files named 0, 1 and so on in a directory, with a pause after each.
func (w Workload) StartOpens(directory string, pause time.Duration) (*Opens, error) {
	o := &Opens{cmd: w.command(Kind{"numbered", directory}, pause, 1)}
	o.cmd.Stdout = &o.stdout
	stdin, err := o.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	o.stdin = stdin
	return o, o.cmd.Start()
}

// Stop ends the stream and returns how many files were opened.
func (o *Opens) Stop() (int, error) {
	if err := o.stdin.Close(); err != nil {
		return 0, err
	}
	if err := o.cmd.Wait(); err != nil {
		return 0, fmt.Errorf("opening numbered files: %w\n%s", err, o.cmd.Stderr)
	}
	return strconv.Atoi(strings.TrimSpace(o.stdout.String()))
}

func (w Workload) command(k Kind, length time.Duration, batches int) *exec.Cmd {
	cmd := exec.Command(w.Program, strconv.Itoa(w.CPU), k.Name,
		strconv.FormatInt(length.Milliseconds(), 10), strconv.Itoa(batches), k.Argument)
	cmd.SysProcAttr = &w.Within
	cmd.Stderr = new(bytes.Buffer)
	return cmd
}
