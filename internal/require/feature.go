package require

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// spareModules is where guests keep the modules that came along, see internal/vm.
const spareModules = "/modules"

// SpareModule needs a kernel that loads modules, and one that may be unloaded and loaded
// again. It returns the path of its file.
func SpareModule(t T) string {
	t.Helper()
	path, err := spareModule()
	if err != nil {
		unmet(t, "module", err)
	}
	return path
}

func spareModule() (string, error) {
	if _, err := os.Stat("/proc/modules"); err != nil {
		return "", fmt.Errorf("looking for modules: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(spareModules, "*.ko"))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("looking for modules: none in %s", spareModules)
	}
	return files[0], nil
}

// Kexec needs a kernel that loads another one to boot next, with none loaded yet. Only guests
// are asked for it: what loads one may not come to the unloading.
func Kexec(t T) {
	t.Helper()
	if err := spareKexec(); err != nil {
		unmet(t, "kexec", err)
	}
}

// Clock needs a machine whose clock may be set. Only guests are asked for it, since there is nobody
// else who goes by it.
func Clock(t T) {
	t.Helper()
	if err := guest(); err != nil {
		unmet(t, "clock", err)
	}
}

// UserNamespace needs user namespaces in which limits can be lowered, and returns what makes a process
// begin in one.
func UserNamespace(t T) *syscall.SysProcAttr {
	t.Helper()
	attr := &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	try := exec.Command("sh", "-c", "echo 100 > /proc/sys/user/max_inotify_watches")
	try.SysProcAttr = attr
	if out, err := try.CombinedOutput(); err != nil {
		unmet(t, "userns", fmt.Errorf("lowering a limit in a user namespace: %w: %s", err, out))
	}
	return attr
}

// guest fails on any machine that internal/vm has not booted.
func guest() error {
	if _, err := os.Stat(spareModules); err != nil {
		return fmt.Errorf("looking for a guest: %w", err)
	}
	return nil
}

func spareKexec() error {
	if err := guest(); err != nil {
		return err
	}
	// A kernel that is built without has neither.
	for _, name := range []string{"/sys/kernel/kexec_loaded", "/proc/sys/kernel/kexec_load_disabled"} {
		text, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("looking for kexec: %w", err)
		}
		if value := strings.TrimSpace(string(text)); value != "0" {
			return fmt.Errorf("looking for kexec: %s is %s, not 0", name, value)
		}
	}
	return nil
}

// IOUring needs io_uring, which a kernel may lack, and a setting or a container's runtime forbid.
func IOUring(t T) {
	t.Helper()
	var parameters [120]byte // struct io_uring_params
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&parameters)), 0)
	if errno != 0 {
		unmet(t, "iouring", fmt.Errorf("setting up an io_uring: %w", errno))
		return
	}
	unix.Close(int(fd))
}

// IA32 needs a kernel that takes system calls of 32 bits, made by the program at path.
func IA32(t T, path string) {
	t.Helper()
	err := exec.Command(path).Run()
	var status *exec.ExitError
	// Where it does not, the program can't be executed, or is killed.
	if err != nil && (!errors.As(err, &status) || !status.Exited()) {
		unmet(t, "ia32", fmt.Errorf("running a program of 32 bits: %w", err))
	}
}
