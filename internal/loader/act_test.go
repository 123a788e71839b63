package loader

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

// actVariable makes the test binary do one thing and end, instead of running tests.
const actVariable = "BITTERN_TEST_ACT"

// acts are what the test binary does as a child of its tests, by the value of
// actVariable. They get the command's arguments.
func acts() map[string]func(args []string) error {
	return map[string]func([]string) error{
		"open":            openInManyWays,
		"connect":         connect,
		"change":          change,
		"listen":          listen,
		"unnamed":         runUnnamed,
		"race":            race,
		"race-descriptor": raceDescriptor,
		"detours":         takeDetours,
		"hostile":         openHostile,
		"deep":            goDeep,
		"uring":           byUring,
		"race-unlink":     raceUnlink,
		"race-connect":    raceConnect,
		"ids":             changeIDs,
		"trace":           trace,
		"namespaces":      namespaces,
		"mount":           mount,
		"clone3":          cloneInto,
		"load-programs":   loadPrograms,
		"load-module":     loadModule,
		"load-again":      loadAgain,
		"flood":           flood,
		"load-kernels":    loadKernels,
		"exchange":        exchange,
		"remove-itself":   removeItself,
		"call-numbers":    callByNumbers,
		"stream":          stream,
	}
}

// actCommand makes the test binary do one of the acts.
func actCommand(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), actVariable+"="+name)
	return cmd
}

// output runs a command and returns the lines that it printed.
func output(t testing.TB, cmd *exec.Cmd) []string {
	t.Helper()
	var failure strings.Builder
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("running %v: %v\n%s%s", cmd.Args, err, out, &failure)
	}
	if len(out) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// onThread runs f on a thread that ends with it: ids and namespaces that f changes are the
// thread's own.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		done <- f()
	}()
	return <-done
}

// syscallError makes an error of the errno of a raw system call.
func syscallError(name string, errno unix.Errno) error {
	if errno != 0 {
		return fmt.Errorf("%s: %w", name, errno)
	}
	return nil
}

// watch commits a rule of a class that matches by the given condition, and says which hook
// the class has.
func watch(t testing.TB, k *Kernel, class event.Class, match string) Hook {
	t.Helper()
	id := "W_" + class.String()
	if _, err := k.Commit(Swap{id, ruleFor(t, class, id, match)}); err != nil {
		t.Fatal(err)
	}
	if h := k.hooks[class]; h != nil {
		return h.hook
	}
	return Hook{} // one of fixedHooks
}

// anything is a condition that every event meets.
const anything = "  s: {process.pid: 0}\n  condition: not s"

// atCallEnd reports whether a hook sees system calls when they end: what it says of paths
// may then be what the process claims.
func atCallEnd(h Hook) bool { return strings.Contains(h.Name, "tp_btf/sys_exit") }

// lastResort leaves a class no hook but the last, at the end of system calls.
func lastResort(t testing.TB, k *Kernel, class event.Class) {
	t.Helper()
	oneProcessor(t)
	from := &k.hooks[class].from
	from.candidates = from.candidates[len(from.candidates)-1:]
}

// bestAndLast tests with the best hook that a class has here, and with its last.
func bestAndLast(t *testing.T, class event.Class, test func(t *testing.T, k *Kernel, cgroup *os.File)) {
	requireHooks(t)
	for _, which := range []string{"best", "last"} {
		t.Run(which, func(t *testing.T) {
			k, cgroup := openForTest(t, Config{})
			if which == "last" {
				lastResort(t, k, class)
			}
			test(t, k, cgroup)
		})
	}
}

// oneProcessor keeps this process, and what it starts, on one processor until the test ends. To
// attach to the end of system calls the kernel changes code that every one of them runs: seen
// on QEMU's software emulation, 6.12 and later then die of a breakpoint on the other processor.
func oneProcessor(t testing.TB) {
	t.Helper()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	for cpu := range len(before) * 64 {
		if before.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	keepOn(t, &one)
	t.Cleanup(func() { keepOn(t, &before) })
}

// keepOn keeps the threads of this process on some processors. A thread starts where the one
// that makes it is, so twice is enough.
func keepOn(t testing.TB, cpus *unix.CPUSet) {
	t.Helper()
	for range 2 {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.SchedSetaffinity(id, cpus); err != nil && !errors.Is(err, unix.ESRCH) {
				t.Fatal(err)
			}
		}
	}
}

// mustMiss fails the test if a hook does not admit what it misses.
func mustMiss(t testing.TB, h Hook, what string) {
	t.Helper()
	if !strings.Contains(h.Misses, what) {
		t.Errorf("the hook %s says that it misses %q, which leaves out %q", h.Name, h.Misses, what)
	}
}

// tempDir is a directory for the test, by the path that the kernel knows it by.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// sameLines compares what was said of events with what is wanted, in order.
func sameLines(t testing.TB, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Errorf("event %d is %.500s, want %.500s\nof %d: %.5000s\nwant %d: %.5000s",
				i, g, w, len(got), fmt.Sprintf("%q", got), len(want), fmt.Sprintf("%q", want))
			return
		}
	}
}
