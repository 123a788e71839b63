package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"bittern/internal/event"
	"bittern/internal/require"
)

// ofKernel says what a kernel_change was.
func ofKernel(ev *event.Event) string {
	s := ev.Operation
	for _, part := range []string{ev.Kernel.Name, ev.Kernel.Type, ev.File.Path} {
		if part != "" {
			s += " " + part
		}
	}
	return s
}

func loadProgram(name string, kind ebpf.ProgramType) error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: kind, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return err
	}
	return p.Close()
}

// loadPrograms loads the BPF programs that an attacker may.
func loadPrograms([]string) error {
	return errors.Join(loadProgram("attack_socket", ebpf.SocketFilter), loadProgram("attack_raw_tp", ebpf.RawTracepoint))
}

// agentVariable holds the cgroup of a test that runs in a process that is watched itself.
const agentVariable = "BITTERN_TEST_AGENT"

// TestProgramLoads loads BPF programs: those of others are reported, the agent's own are not.
func TestProgramLoads(t *testing.T) {
	dir := os.Getenv(agentVariable)
	if dir == "" {
		watchItself(t)
		return
	}
	k := openIn(t, dir, Config{})
	watch(t, k, event.KernelChange, "  s: {kernel.name: [own, attack_socket, attack_raw_tp]}")
	if err := loadProgram("own", ebpf.SocketFilter); err != nil {
		t.Fatal(err)
	}
	mustRun(t, actCommand(t, "load-programs"))
	sameLines(t, kernelChanges(t, k), []string{"bpf_program attack_socket socket_filter", "bpf_program attack_raw_tp raw_tracepoint"})
}

// watchItself runs the test in a process of its own, in the cgroup that it is to watch.
func watchItself(t *testing.T) {
	t.Helper()
	requireHooks(t)
	dir := require.Cgroup(t)
	cgroup, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer cgroup.Close()
	cmd := in(cgroup, actCommand(t, "", "-test.run=^"+t.Name()+"$"))
	cmd.Env = append(cmd.Env, agentVariable+"="+dir)
	mustRun(t, cmd)
}

// loadModule loads the file args[0], which is none, as a module.
func loadModule(args []string) error {
	fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.FinitModule(fd, "", 0); !errors.Is(err, unix.ENOEXEC) {
		return fmt.Errorf("loading what is no module: %w, want %w", err, unix.ENOEXEC)
	}
	return nil
}

// TestModuleFiles has the kernel read a module from a file that holds none.
func TestModuleFiles(t *testing.T) {
	require.SpareModule(t)
	bestAndLast(t, event.KernelChange, func(t *testing.T, k *Kernel, cgroup *os.File) {
		hook := watch(t, k, event.KernelChange, anything)
		path := filepath.Join(tempDir(t), "bad.ko")
		if err := os.WriteFile(path, []byte("no module"), 0o600); err != nil {
			t.Fatal(err)
		}
		mustRun(t, in(cgroup, actCommand(t, "load-module", path)))
		want := []string{"module_file " + path}
		if atCallEnd(hook) {
			mustMiss(t, hook, "what is refused")
			want = nil
		}
		sameLines(t, kernelChanges(t, k), want)
	})
}

// kernelChanges stops the kernel and says what each kernel_change was.
func kernelChanges(t testing.TB, k *Kernel) (got []string) {
	t.Helper()
	for _, m := range drainMatches(t, k) {
		got = append(got, ofKernel(m.Event))
	}
	return got
}

// loadAgain loads the module of the file args[0] anew.
func loadAgain(args []string) error {
	name := filepath.Base(args[0])
	if err := unix.DeleteModule(name[:len(name)-len(".ko")], unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("unloading %s: %w", name, err)
	}
	fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.FinitModule(fd, "", 0), unix.Close(fd))
}

// TestModuleLoads loads a real module, which the machine must not need meanwhile.
func TestModuleLoads(t *testing.T) {
	path := require.SpareModule(t)
	bestAndLast(t, event.KernelChange, func(t *testing.T, k *Kernel, cgroup *os.File) {
		hook := watch(t, k, event.KernelChange, anything)
		mustRun(t, in(cgroup, actCommand(t, "load-again", path)))
		name := filepath.Base(path)
		want := []string{"module_file " + path, "module_load " + name[:len(name)-len(".ko")]}
		if atCallEnd(hook) { // the file is told of when all is done
			slices.Reverse(want)
		}
		sameLines(t, kernelChanges(t, k), want)
	})
}
