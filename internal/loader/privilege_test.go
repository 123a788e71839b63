package loader

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

// raw makes a system call of this thread alone: package syscall changes ids on all of them.
func raw(number uintptr, args ...int) func() error {
	return func() error {
		a := [6]uintptr{}
		for i, arg := range args {
			a[i] = uintptr(arg)
		}
		_, _, errno := unix.RawSyscall6(number, a[0], a[1], a[2], a[3], a[4], a[5])
		return syscallError(fmt.Sprintf("system call %d", number), errno)
	}
}

// idSteps change the ids and capabilities of their thread; each gets a fresh one.
func idSteps() []struct {
	do   func() error
	want string
} {
	return []struct {
		do   func() error
		want string
	}{
		{raw(unix.SYS_SETUID, 1001), "setuid uid 1001 euid 1001"},
		{raw(unix.SYS_SETREUID, -1, 1002), "setuid uid 0 euid 1002"},
		{raw(unix.SYS_SETRESUID, 1003, 1004, 1005), "setuid uid 1003 euid 1004"},
		{raw(unix.SYS_SETFSUID, 1006), "setuid uid 0 euid 0"},
		{raw(unix.SYS_SETGID, 1007), "setgid gid 1007"},
		{raw(unix.SYS_SETREGID, 1008, -1), "setgid gid 1008"},
		{raw(unix.SYS_SETRESGID, 1009, 1010, 1011), "setgid gid 1009"},
		{func() error {
			header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			data := [2]unix.CapUserData{}
			for _, n := range []int{unix.CAP_CHOWN, unix.CAP_BPF} {
				data[n/32].Effective |= 1 << (n % 32)
				data[n/32].Permitted |= 1 << (n % 32)
			}
			return unix.Capset(&header, &data[0])
		}, fmt.Sprintf("capset %#x", 1<<unix.CAP_CHOWN|1<<unix.CAP_BPF)},
	}
}

func changeIDs([]string) error {
	for _, step := range idSteps() {
		if err := onThread(step.do); err != nil {
			return fmt.Errorf("%s: %w", step.want, err)
		}
	}
	return nil
}

// trace takes hold of a process in every way, and prints its id each time.
func trace([]string) error {
	return onThread(func() error {
		cat := exec.Command("/bin/cat") // until its input ends
		stdin, err := cat.StdinPipe()
		if err != nil {
			return err
		}
		stdout, err := cat.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cat.Start(); err != nil {
			return err
		}
		// It answers once it has been executed.
		if _, err := io.WriteString(stdin, "\n"); err != nil {
			return err
		}
		if _, err := bufio.NewReader(stdout).ReadByte(); err != nil {
			return err
		}
		pid := cat.Process.Pid
		for _, request := range []int{unix.PTRACE_ATTACH, unix.PTRACE_SEIZE} {
			if err := raw(unix.SYS_PTRACE, request, pid)(); err != nil {
				return err
			}
			fmt.Println("ptrace", pid, "cat")
			if request == unix.PTRACE_SEIZE { // it stops when it is told to
				if err := raw(unix.SYS_PTRACE, unix.PTRACE_INTERRUPT, pid)(); err != nil {
					return err
				}
			}
			if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
				return err
			}
			if err := unix.PtraceDetach(pid); err != nil {
				return err
			}
		}
		// Its memory may not be there to read: asking is what counts.
		var b [1]byte
		local := unix.Iovec{Base: &b[0], Len: 1}
		remote := unix.RemoteIovec{Base: uintptr(unsafe.Pointer(&b[0])), Len: 1}
		_, errProcess := unix.ProcessVMReadv(pid, []unix.Iovec{local}, []unix.RemoteIovec{remote}, 0)
		fmt.Println("process_vm_readv", pid, "cat", errProcess == nil)
		memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
		if err != nil {
			return err
		}
		fmt.Println("/proc/mem", pid, "cat")
		if err := takeDescriptor(pid); err != nil {
			return err
		}
		fmt.Println("pidfd_getfd", pid, "cat")
		return errors.Join(memory.Close(), stdin.Close(), cat.Wait(), beTraced())
	})
}

// takeDescriptor takes the standard output of a process.
func takeDescriptor(pid int) error {
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	fd, err := unix.PidfdGetfd(process, 1, 0)
	if err != nil {
		return errors.Join(err, unix.Close(process))
	}
	return errors.Join(unix.Close(fd), unix.Close(process))
}

// beTraced starts a program that asks to be traced, and lets it go.
func beTraced() error {
	cmd := exec.Command("/bin/true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	fmt.Println("ptrace", cmd.Process.Pid, "self")
	if _, err := unix.Wait4(cmd.Process.Pid, nil, unix.WALL, nil); err != nil {
		return err
	}
	return errors.Join(unix.PtraceDetach(cmd.Process.Pid), cmd.Wait())
}

// TestIDChanges changes ids and capabilities.
func TestIDChanges(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	hook := watch(t, k, event.PrivilegeChange, anything)
	mustRun(t, in(cgroup, actCommand(t, "ids")))
	var got, want []string
	for _, m := range drainMatches(t, k) {
		p := m.Event.Privilege
		line := m.Event.Operation
		for _, id := range []struct {
			name  string
			value uint32
		}{{"uid", p.UID}, {"euid", p.EUID}, {"gid", p.GID}} {
			if id.value != event.NoID {
				line += fmt.Sprintf(" %s %d", id.name, id.value)
			}
		}
		if p.Capabilities != 0 {
			line += fmt.Sprintf(" %#x", p.Capabilities)
		}
		got = append(got, line)
		// Who it was before is known if the hook is asked before.
		before := fmt.Sprint(m.Event.User.ID, m.Event.User.EffectiveID, m.Event.User.GID)
		if !atCallEnd(hook) && before != "0 0 0" {
			t.Errorf("%s was done by %s, want root", line, before)
		}
	}
	for _, step := range idSteps() {
		want = append(want, step.want)
	}
	if atCallEnd(hook) {
		mustMiss(t, hook, "the ids before")
	}
	sameLines(t, got, want)
}

// TestTraces takes hold of processes by ptrace and its like.
func TestTraces(t *testing.T) {
	k, cgroup := openForTest(t, Config{})
	hook := watch(t, k, event.PrivilegeChange, anything)
	cmd := in(cgroup, actCommand(t, "trace"))
	said := output(t, cmd)
	cat, err := filepath.EvalSymlinks("/bin/cat")
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, m := range drainMatches(t, k) {
		if m.Event.Operation != "ptrace" {
			continue // forks of the Go runtime change no privileges, but a thread's ids may
		}
		got = append(got, fmt.Sprint(m.Event.Privilege.TargetPID, " ", m.Event.Privilege.TargetExecutable))
	}
	for _, line := range said {
		words := strings.Fields(line)
		image := map[string]string{"cat": cat, "self": cmd.Path}[words[2]]
		switch words[0] {
		case "/proc/mem":
			if atCallEnd(hook) {
				mustMiss(t, hook, "processes traced through /proc")
				continue
			}
		case "pidfd_getfd":
			if atCallEnd(hook) {
				mustMiss(t, hook, "by pidfd_getfd")
				continue
			}
		case "process_vm_readv":
			if atCallEnd(hook) && words[3] != "true" {
				continue // at its end a call that fails is not seen
			}
		}
		want = append(want, words[1]+" "+image)
	}
	if len(said) != 6 || !slices.ContainsFunc(want, func(s string) bool { return strings.HasSuffix(s, cat) }) {
		t.Fatalf("it printed %q", said)
	}
	sameLines(t, got, want)
}
