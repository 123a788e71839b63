package inotify_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify"
)

// limitsChild is set for a second run of the test binary, in a user namespace
// of its own, where limits can be lowered without touching the machine's.
const limitsChild = "BITTERN_TEST_INOTIFY_LIMITS"

func TestLimitsNameTheSysctl(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), limitsChild+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && exit.ExitCode() != codeUnsupported:
		t.Fatalf("%v:\n%s", err, out)
	default:
		t.Skipf("user namespaces can't be used here: %v\n%s", err, out)
	}
}

const codeUnsupported = 77

// reachLimits runs in the namespace and returns the exit code.
func reachLimits() int {
	for name, value := range map[string]string{"watches": "3", "instances": "2"} {
		if err := os.WriteFile("/proc/sys/user/max_inotify_"+name, []byte(value), 0); err != nil {
			fmt.Println(err)
			return codeUnsupported
		}
	}
	first, err := inotify.New()
	if err != nil {
		return report("first instance: %v", err)
	}
	defer first.Close()
	for i := range 4 {
		dir := filepath.Join(os.Getenv(limitsChild), fmt.Sprint(i))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return report("%v", err)
		}
		if _, err = first.AddDir(dir, inotify.Entries); i < 3 && err != nil {
			return report("watch %d: %v", i, err)
		}
	}
	var limit *inotify.LimitError
	if !errors.As(err, &limit) || limit.Sysctl != "user.max_inotify_watches" || limit.Value != "3" || !errors.Is(err, unix.ENOSPC) {
		return report("error of the fourth watch: %v", err)
	}
	if !strings.Contains(err.Error(), "sysctl -w user.max_inotify_watches=") {
		return report("no hint: %v", err)
	}
	second, err := inotify.New()
	if err != nil {
		return report("second instance: %v", err)
	}
	defer second.Close()
	_, err = inotify.New()
	if !errors.As(err, &limit) || limit.Sysctl != "user.max_inotify_instances" || limit.Value != "2" || !errors.Is(err, unix.EMFILE) {
		return report("error of the third instance: %v", err)
	}
	return 0
}

func report(format string, args ...any) int {
	fmt.Printf(format+"\n", args...)
	return 1
}
