package loader

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Report says what this host offers Bittern.
type Report struct {
	Kernel  string   // release, as uname(2) gives it
	Machine string   // hardware name, as uname(2) gives it
	BTF     bool     // the kernel describes its types
	LSMs    []string // active security modules; nil if not known
	Missing []string // capabilities that this process lacks
	Hooks   []Hook   // nil if Problem
	Problem error    // why the agent can't run here, or nil
}

// Examine loads and attaches everything for a moment, to see what works. It records
// nothing.
func Examine(cfg Config) (Report, error) {
	r, err := Describe()
	if err != nil {
		return r, err
	}
	k, err := Open(cfg)
	if err != nil {
		r.Problem = err
		return r, nil
	}
	r.Hooks = k.Caps(true).Hooks
	return r, k.Close()
}

// Describe says all of a Report that can be known without loading anything.
func Describe() (Report, error) {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return Report{}, fmt.Errorf("asking for the kernel's release: %w", err)
	}
	r := Report{Kernel: unix.ByteSliceToString(uts.Release[:]), Machine: unix.ByteSliceToString(uts.Machine[:])}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err == nil {
		r.BTF = true
	}
	r.LSMs, _ = securityModules()
	missing, err := missingCapabilities()
	if err != nil {
		return Report{}, err
	}
	r.Missing = missing
	return r, nil
}

// securityModules lists those that are active.
func securityModules() ([]string, error) {
	list, err := os.ReadFile("/sys/kernel/security/lsm")
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSpace(string(list)), ","), nil
}
