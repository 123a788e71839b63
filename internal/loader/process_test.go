package loader

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
)

func trueCommand() *exec.Cmd { return exec.Command("/bin/true") }

// entryOf reads a process's entry in the process table.
func entryOf(t *testing.T, k *Kernel, pid int) (p execProcess, ok bool) {
	t.Helper()
	err := k.objects.Processes.Lookup(uint32(pid), &p)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Fatal(err)
	}
	return p, err == nil
}

func (p *execProcess) text(from, length int) string {
	return string(bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&p.Data[from])), length)))
}

// TestUnknownParent executes a program whose parent is not in the table: the image
// that the parent runs is known all the same, its arguments are not.
func TestUnknownParent(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	everything(t, k)
	if err := k.objects.Processes.Delete(uint32(os.Getpid())); err != nil {
		t.Fatal(err)
	}
	mustRun(t, in(cgroup, exec.Command("/bin/true", "mark")))
	counters, err := k.Counters()
	if err != nil {
		t.Fatal(err)
	}
	parent := find(t, drainMatches(t, k), "mark").Parent
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if parent.Executable != executable || parent.CommandLine != "" || !parent.CommandLineTruncated || counters.UnknownParents != 1 {
		t.Errorf("parent %+v, counters %+v", parent, counters)
	}
}

// TestProcessTable follows a process through seed, exec and exit.
func TestProcessTable(t *testing.T) {
	before := exec.Command("/bin/cat") // runs until its input ends
	stdin, err := before.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := before.Start(); err != nil {
		t.Fatal(err)
	}
	k, cgroup := openForTest(t, Config{})

	self, ok := entryOf(t, k, os.Getpid())
	if !ok {
		t.Fatal("the test's own process is not in the table")
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if got := self.text(0, int(self.Executable)); got != executable {
		t.Errorf("seeded executable is %q, want %q", got, executable)
	}
	cmdline, err := os.ReadFile("/proc/self/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	if got := self.text(512+256, int(self.Args)); got != string(cmdline) {
		t.Errorf("seeded arguments are %q, want %q", got, cmdline)
	}
	if _, ok := entryOf(t, k, before.Process.Pid); !ok {
		t.Error("a process from before is not in the table")
	}
	if _, ok := entryOf(t, k, os.Getppid()); !ok {
		t.Error("the test's parent is not in the table")
	}

	during := in(cgroup, exec.Command("/bin/cat"))
	more, err := during.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	echo, err := during.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := during.Start(); err != nil {
		t.Fatal(err)
	}
	// Start returns while execve is still at work. Who answers has been executed.
	if _, err := more.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := echo.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	p, ok := entryOf(t, k, during.Process.Pid)
	if got := p.text(512, int(p.Invoked)); !ok || (got != "" && got != "/bin/cat") || p.text(512+256, int(p.Args)) != "/bin/cat\x00" {
		t.Errorf("the entry of a new process is %v, invoked %q, args %q", ok, got, p.text(512+256, int(p.Args)))
	}
	stdin.Close()
	more.Close()
	for _, cmd := range []*exec.Cmd{before, during} {
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		if _, ok := entryOf(t, k, cmd.Process.Pid); ok {
			t.Errorf("process %d has exited and is still in the table", cmd.Process.Pid)
		}
	}
}
