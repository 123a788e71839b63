package loader

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
)

func trueCommand() *exec.Cmd { return exec.Command("/bin/true") }

// image is what the process table says of a process.
type image struct {
	executable, invoked, args string
	references                uint32
}

// imageOf reads a process's entry in the process table, and its image.
func imageOf(t *testing.T, k *Kernel, pid int) (image, bool) {
	t.Helper()
	var p execProcess
	err := k.maps.Processes.Lookup(uint32(pid), &p)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return image{}, false
	}
	if err != nil {
		t.Fatal(err)
	}
	var i execImage
	if err := k.maps.Images.Lookup(p.Image, &i); err != nil {
		t.Fatal(err)
	}
	data := string(unsafe.Slice((*byte)(unsafe.Pointer(&i.Data[0])), len(i.Data)))
	args := i.Executable + i.Invoked
	return image{data[:i.Executable], data[i.Executable:args], data[args : args+i.Args], i.References}, true
}

// TestUnknownParent executes a program whose parent is not in the table: the image
// that the parent runs is known all the same, its arguments are not.
func TestUnknownParent(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	everything(t, k)
	if err := k.maps.Processes.Delete(uint32(os.Getpid())); err != nil {
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
	if parent.Executable != executable || parent.CommandLine != "" || !parent.CommandLineTruncated || counters.Total().UnknownParents != 1 {
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

	self, ok := imageOf(t, k, os.Getpid())
	if !ok {
		t.Fatal("the test's own process is not in the table")
	}
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmdline, err := os.ReadFile("/proc/self/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	if !k.tracker.seedsArgs { // before 5.18
		cmdline = nil
	}
	if self.executable != executable || self.args != string(cmdline[:min(len(cmdline), 1024-len(executable))]) {
		t.Errorf("the image of the test is %+v", self)
	}
	if _, ok := imageOf(t, k, before.Process.Pid); !ok {
		t.Error("a process from before is not in the table")
	}
	if _, ok := imageOf(t, k, os.Getppid()); !ok {
		t.Error("the test's parent is not in the table")
	}

	// A shell that answers, forks a subshell that answers, and waits for it.
	during := in(cgroup, exec.Command("/bin/sh", "-c", "echo one; (echo two; read x); :"))
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
	answers := bufio.NewScanner(echo)
	for range 2 {
		if !answers.Scan() {
			t.Fatal("the shell does not answer")
		}
	}
	want := image{"", "/bin/sh", strings.Join(during.Args, "\x00") + "\x00", 2}
	if want.executable, err = filepath.EvalSymlinks("/bin/sh"); err != nil {
		t.Fatal(err)
	}
	if want.executable == want.invoked {
		want.invoked = ""
	}
	if got, ok := imageOf(t, k, during.Process.Pid); !ok || got != want {
		t.Errorf("the image of the shell and its child is %+v, want %+v", got, want)
	}
	stdin.Close()
	more.Close()
	for _, cmd := range []*exec.Cmd{before, during} {
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		if _, ok := imageOf(t, k, cmd.Process.Pid); ok {
			t.Errorf("process %d has exited and is still in the table", cmd.Process.Pid)
		}
	}
	// What they ran is gone with the last of them.
	var key execImageKey
	var i execImage
	for images := k.maps.Images.Iterate(); images.Next(&key, &i); {
		if pid := int(key.Tgid); pid == during.Process.Pid || pid == before.Process.Pid {
			t.Errorf("the image of process %d is still there, with %d references", pid, i.References)
		}
	}
}
