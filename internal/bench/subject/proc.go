package subject

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The agent is at rest once it has used less than this in a time.
const (
	restUse      = 2 * time.Millisecond
	restTime     = 200 * time.Millisecond
	restAttempts = 150
)

// Settle waits until the agent is at rest: until its runtime has cleaned up after the
// start.
func (a *Agent) Settle() error {
	before, err := a.running()
	for range restAttempts {
		if err != nil {
			return err
		}
		time.Sleep(restTime)
		last := before
		if before, err = a.running(); before-last < restUse {
			return err
		}
	}
	return fmt.Errorf("waiting for the agent to rest: it is still at work after %v", restAttempts*restTime)
}

// running is the time for which the agent's threads ran, from proc(5)'s schedstat.
func (a *Agent) running() (time.Duration, error) {
	tasks, err := filepath.Glob(a.proc("task/*/schedstat"))
	if err != nil {
		return 0, err
	}
	sum := time.Duration(0)
	for _, path := range tasks {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		ns, _, _ := strings.Cut(string(stat), " ")
		n, err := strconv.ParseInt(ns, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", path, err)
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

// RSS is the resident memory in bytes.
func (a *Agent) RSS() (int64, error) {
	status, err := os.ReadFile(a.proc("status"))
	if err != nil {
		return 0, err
	}
	kilobytes, err := sumFields(string(status), "VmRSS:")
	return 1024 * kilobytes, err
}

// KernelMemory is what the kernel charges for the agent's BPF maps and programs, in
// bytes.
func (a *Agent) KernelMemory() (maps, programs int64, err error) {
	infos, err := filepath.Glob(a.proc("fdinfo/*"))
	if err != nil {
		return 0, 0, err
	}
	seen := make(map[string]bool) // "map_id: 5"; several descriptors may be of one map
	for _, path := range infos {
		info, err := os.ReadFile(path)
		if err != nil {
			continue // closed meanwhile
		}
		// A link names its program too, and has no memory of its own here.
		bytes, err := sumFields(string(info), "memlock:")
		if err != nil {
			return 0, 0, err
		}
		for line := range strings.Lines(string(info)) {
			if bytes == 0 || seen[line] {
				continue
			}
			switch {
			case strings.HasPrefix(line, "map_id:"):
				maps += bytes
			case strings.HasPrefix(line, "prog_id:"):
				programs += bytes
			default:
				continue
			}
			seen[line] = true
		}
	}
	return maps, programs, nil
}

// clockTick is the unit of times in /proc/PID/stat, USER_HZ, the same on every
// architecture that Bittern knows.
const clockTick = 10 * time.Millisecond

// CPU is the time that the agent has used so far, in user space and in the kernel.
func (a *Agent) CPU() (user, system time.Duration, err error) {
	stat, err := os.ReadFile(a.proc("stat"))
	if err != nil {
		return 0, 0, err
	}
	// The second field, the name, is in parentheses and may hold anything.
	_, rest, _ := strings.Cut(string(stat), ") ")
	var ticks [2]int64
	fields := strings.Fields(rest)
	for i := range ticks {
		if ticks[i], err = strconv.ParseInt(fields[11+i], 10, 64); err != nil {
			return 0, 0, fmt.Errorf("reading %s: %w", a.proc("stat"), err)
		}
	}
	return time.Duration(ticks[0]) * clockTick, time.Duration(ticks[1]) * clockTick, nil
}

func (a *Agent) proc(name string) string {
	return fmt.Sprintf("/proc/%d/%s", a.cmd.Process.Pid, name)
}

// sumFields adds up the numbers that follow a key in lines of "key: number".
func sumFields(text, key string) (int64, error) {
	sum := int64(0)
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("reading %q: %w", line, err)
			}
			sum += n
		}
	}
	return sum, nil
}
