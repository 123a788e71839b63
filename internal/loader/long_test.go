package loader

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

// longPath is directories below one another: their name, and how many there are.
type longPath struct {
	name  string
	count int
	// cut says whether the path of a file in the last is captured whole: hooks that ask the
	// kernel for it know no limit of steps.
	cut truncation
}

type truncation int

const (
	wholeAlways truncation = iota
	cutPerhaps
	cutAlways
)

func longPaths(base int) []longPath {
	// As long as a path may be that is given to a system call, without the NUL.
	const longest = unix.PathMax - 1
	left := longest - base - len("/watched")
	return []longPath{
		{strings.Repeat("n", 200), (left - 1) / 201, wholeAlways},
		{strings.Repeat("l", 200), 40, cutAlways},
		{"s", 300, cutPerhaps},
		{strings.Repeat("f", 255), 1, wholeAlways},
	}
}

// goDeep makes directories below one another, and opens a file in the last.
func goDeep(args []string) error {
	for _, p := range longPaths(len(args[0])) {
		if err := os.Chdir(args[0]); err != nil {
			return err
		}
		for range p.count {
			if err := os.Mkdir(p.name, 0o700); err != nil {
				return err
			}
			if err := unix.Chdir(p.name); err != nil {
				return err
			}
		}
		if err := opening("watched", unix.O_CREAT|unix.O_WRONLY, 0o600)(); err != nil {
			return fmt.Errorf("%d of %.10s: %w", p.count, p.name, err)
		}
	}
	return nil
}

// TestLongPaths opens files of paths as long as they get, and longer: what can't be captured
// whole says so, by a field that rules can ask for, and has the end of the path.
func TestLongPaths(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	dir := tempDir(t)
	watch(t, k, event.FileOpen, "  p: {file.path|startswith: "+dir+"/}\n  t: {file.path.truncated: true, file.path|endswith: /watched}\n  condition: p or t")
	mustRun(t, in(cgroup, actCommand(t, "deep", dir)))
	matches := drainMatches(t, k)
	paths := longPaths(len(dir))
	if len(matches) != len(paths) {
		t.Fatalf("%d events, want %d", len(matches), len(paths))
	}
	for i, p := range paths {
		f := matches[i].Event.File
		whole := dir + strings.Repeat("/"+p.name, p.count) + "/watched"
		switch {
		case f.PathTruncated && (p.cut == wholeAlways || !strings.HasSuffix(whole, f.Path)):
			t.Errorf("%d of %.10s: truncated to %d bytes, %.300s", p.count, p.name, len(f.Path), f.Path)
		case !f.PathTruncated && (p.cut == cutAlways || f.Path != whole):
			t.Errorf("%d of %.10s: %d bytes and not truncated, want %d: %.300s", p.count, p.name, len(f.Path), len(whole), f.Path)
		}
	}
}

// TestPaddedArguments hides an argument behind so many that it is not captured: that they are
// truncated is a field that rules can ask for.
func TestPaddedArguments(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	watch(t, k, event.ProcessExec, "  h: {process.command_line|contains: mark-hidden}\n  t: {process.command_line.truncated: true}\n  condition: h or t")
	for _, pad := range []int{10, 4096, 100_000} {
		mustRun(t, in(cgroup, exec.Command("/bin/true", strings.Repeat("x", pad), "mark-hidden")))
	}
	var got []string
	for _, m := range drainMatches(t, k) {
		p := m.Event.Process
		got = append(got, fmt.Sprint(strings.HasSuffix(p.CommandLine, "mark-hidden"), p.CommandLineTruncated, p.ArgsCount))
	}
	sameLines(t, got, []string{"true false 3", "false true 3", "false true 3"})
}
