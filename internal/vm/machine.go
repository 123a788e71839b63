package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Emulator is the program that the machines run in.
const Emulator = "qemu-system-x86_64"

// Machine is one boot of the matrix, ready to run.
type Machine struct {
	Kernels string // the directory that scripts/vm/fetch.sh fills
	Boot    Boot
	Dir     string // for its files
	Timeout time.Duration
}

// Release is the release of the kernel that the machine is to run.
func (m *Machine) Release() (string, error) {
	text, err := os.ReadFile(filepath.Join(m.Kernels, m.Boot.Kernel, "release"))
	if err != nil {
		return "", fmt.Errorf("reading which kernel %s is: %w (run scripts/vm/fetch.sh)", m.Boot.Kernel, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// Run boots the machine, has the guest at work in it and returns what it reported and
// what the kernel printed. There is a report even if the machine came to grief, of
// which the error tells.
func (m *Machine) Run(ctx context.Context, c Cargo) (_ *Report, console string, err error) {
	image := filepath.Join(m.Dir, "image")
	if err := m.writeImage(c, image); err != nil {
		return nil, "", fmt.Errorf("building the image of %s: %w", m.Boot, err)
	}
	printed, reported := filepath.Join(m.Dir, "console"), filepath.Join(m.Dir, "report")
	ctx, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, Emulator, m.arguments(image, printed, reported, c.Arguments)...)
	// The machine is to end with this program, however that ends. The kernel goes by the
	// thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, runErr := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		runErr = fmt.Errorf("running %s: it was still at work after %s", m.Boot, m.Timeout)
	case runErr != nil:
		runErr = fmt.Errorf("running %s: %w\n%s", m.Boot, runErr, out)
	}
	text, consoleErr := os.ReadFile(printed)
	report, reportErr := readReport(reported)
	return report, string(text), errors.Join(runErr, consoleErr, reportErr)
}

func (m *Machine) writeImage(c Cargo, path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return c.writeImage(f, m.Kernels, m.Boot)
}

// arguments are QEMU's. Software emulation everywhere: slower than KVM, and the same on
// every machine. A kernel that panics reboots, which ends QEMU. Without its watchdog a kernel does not
// give up the time stamp counter on a busy machine, which means to patch its own code under way: the
// emulation of several processors does not always survive that.
func (m *Machine) arguments(image, console, report string, guest []string) []string {
	line := append([]string{"console=ttyS0 panic=-1 tsc=reliable", m.Boot.Parameters, "--", "-report=/dev/ttyS1"}, guest...)
	return []string{
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", strconv.Itoa(m.Boot.CPUs), "-m", "2G",
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none",
		"-serial", "file:" + console, "-serial", "file:" + report,
		"-kernel", filepath.Join(m.Kernels, m.Boot.Kernel, "vmlinuz"), "-initrd", image,
		"-append", strings.Join(line, " "),
	}
}

func readReport(path string) (*Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return ParseReport(strings.NewReader(""))
	}
	defer f.Close()
	return ParseReport(f)
}
