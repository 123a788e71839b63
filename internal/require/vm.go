package require

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// VM needs virtual machines: QEMU for x86-64, a processor that can build for it, and
// the kernels that scripts/vm/fetch.sh fetches. It returns their directory.
func VM(t T) string {
	t.Helper()
	dir, err := kernels()
	if err != nil {
		unmet(t, "vm", err)
	}
	return dir
}

func kernels() (string, error) {
	if runtime.GOARCH != "amd64" {
		return "", fmt.Errorf("looking for an x86-64 processor: this is %s", runtime.GOARCH)
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		return "", fmt.Errorf("looking for QEMU: %w (run scripts/setup.sh test)", err)
	}
	root, err := Module()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".cache", "kernels")
	// It is fetched last.
	if _, err := os.Stat(filepath.Join(dir, "busybox")); err != nil {
		return "", fmt.Errorf("looking for kernels: %w (run scripts/setup.sh test)", err)
	}
	return dir, nil
}
