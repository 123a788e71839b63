package require

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Kernel needs a Linux of that version, such as "5.18", or later. It is the only need that
// never fails a test: on a newer kernel there is nothing to skip, so whatever is missing there
// shows.
func Kernel(t T, version string) {
	t.Helper()
	older, release, err := compareKernel(version)
	if err != nil {
		t.Fatalf("%v", err)
		return
	}
	if older {
		t.Skipf("needs Linux %s, this is %s", version, release)
	}
}

// OlderKernel reports whether this kernel is older than a version, for tests of what
// then happens.
func OlderKernel(t T, version string) bool {
	t.Helper()
	older, _, err := compareKernel(version)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return older
}

func compareKernel(version string) (older bool, release string, err error) {
	if release, err = kernelRelease(); err != nil {
		return false, "", err
	}
	older, err = olderThan(release, version)
	return older, release, err
}

// LSM needs BPF programs that are security modules: "bpf" among the modules that
// are active, by the kernel's configuration or by its parameter lsm=.
func LSM(t T) {
	t.Helper()
	if err := bpfModule(); err != nil {
		unmet(t, "lsm", err)
	}
}

// HasLSM reports whether the need LSM is met, for tests of what then happens.
func HasLSM() bool { return bpfModule() == nil }

func bpfModule() error {
	text, err := os.ReadFile("/sys/kernel/security/lsm")
	if err != nil {
		return fmt.Errorf("listing security modules: %w", err)
	}
	if list := strings.TrimSpace(string(text)); !slices.Contains(strings.Split(list, ","), "bpf") {
		return fmt.Errorf("looking for bpf among the security modules: they are %s", list)
	}
	return nil
}

func kernelRelease() (string, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return "", fmt.Errorf("reading the kernel's release: %w", err)
	}
	return unix.ByteSliceToString(name.Release[:]), nil
}

// olderThan compares major and minor version.
func olderThan(release, version string) (bool, error) {
	var have, want [2]int
	for _, v := range []struct {
		text string
		to   *[2]int
	}{{release, &have}, {version, &want}} {
		if _, err := fmt.Sscanf(v.text, "%d.%d", &v.to[0], &v.to[1]); err != nil {
			return false, fmt.Errorf("reading kernel version %q: %w", v.text, err)
		}
	}
	return slices.Compare(have[:], want[:]) < 0, nil
}
