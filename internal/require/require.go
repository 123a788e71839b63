// Package require says what a test needs from the machine it runs on. A need
// that is not met skips the test with the reason, or fails it if the
// environment variable BITTERN_REQUIRE, a comma-separated list of needs, names
// it: root, bpf, lsm, module, kexec, ia32, iouring, userns, clock, build, tool, db, vm, browser, shared. CI sets it, so that a test which
// silently stopped running is noticed.
package require

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Variable is the environment variable that turns skips into failures.
const Variable = "BITTERN_REQUIRE"

// T is the part of testing.TB that the helpers use.
type T interface {
	Helper()
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
	Logf(format string, args ...any)
}

// Root needs user id 0.
func Root(t T) {
	t.Helper()
	if id := os.Geteuid(); id != 0 {
		unmet(t, "root", fmt.Errorf("the test runs as user id %d", id))
	}
}

// Tool needs a program that scripts/setup.sh test installs, and returns its path.
func Tool(t T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		unmet(t, "tool", fmt.Errorf("looking for a program: %w", err))
	}
	return path
}

// Browser needs a browser, the command that BITTERN_TEST_BROWSER names, and
// returns that command.
func Browser(t T) string {
	t.Helper()
	return variable(t, "browser", "BITTERN_TEST_BROWSER", "the command of a browser that runs headless")
}

// Shared needs the reference data that lies beside the checkout and is no part
// of it, and returns its path.
func Shared(t T) string {
	t.Helper()
	root, err := Module()
	if err != nil {
		unmet(t, "shared", err)
		return ""
	}
	dir := filepath.Join(root, "..", "shared", "data")
	if _, err := os.Stat(dir); err != nil {
		unmet(t, "shared", fmt.Errorf("looking for the reference data: %w", err))
		return ""
	}
	return dir
}

func variable(t T, need, name, what string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		unmet(t, need, fmt.Errorf("%s is not set; it holds %s", name, what))
	}
	return value
}

// unmet ends the test: as failed if the need must be met here, else as skipped.
func unmet(t T, need string, reason error) {
	t.Helper()
	if demanded(os.Getenv(Variable), need) {
		t.Fatalf("needs %s, which %s demands: %v", need, Variable, reason)
		return
	}
	t.Skipf("needs %s: %v (set %s=%s to fail instead)", need, reason, Variable, need)
}

func demanded(list, need string) bool {
	for item := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(item) == need {
			return true
		}
	}
	return false
}

// Module is the root of this module's sources: the nearest directory above the working directory, which for
// tests is their package's, that holds go.mod.
func Module() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the module's root: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("finding the module's root: no go.mod above the working directory")
		}
		dir = parent
	}
}
