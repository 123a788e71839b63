package loader

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// LeastKernel is the oldest that the programs are tested on. An older one is tried all
// the same, since distributions carry features back.
const LeastKernel = "5.10"

// Needs is what a kernel must be like.
const Needs = "Linux " + LeastKernel + " with BTF (CONFIG_DEBUG_INFO_BTF)"

// needs are the capabilities that loading and attaching takes. CAP_SYS_ADMIN
// stands for the first two.
var needs = []struct {
	name string
	bit  uint
	why  string
}{
	{"CAP_BPF", unix.CAP_BPF, "to load eBPF programs"},
	{"CAP_PERFMON", unix.CAP_PERFMON, "to attach them to tracepoints"},
	{"CAP_SYS_PTRACE", unix.CAP_SYS_PTRACE, "to read the arguments of processes that run already"},
}

// A CapabilityError names the capabilities that are missing.
type CapabilityError struct{ Missing []string }

func (e *CapabilityError) Error() string {
	return fmt.Sprintf("loading eBPF programs: this process lacks %s (run as root, or grant the capabilities)", strings.Join(e.Missing, " and "))
}

// CheckCapabilities reports what is missing, as a *CapabilityError, before the kernel
// answers with a bare EPERM. It also lifts the limit on locked memory that kernels
// before 5.11 count maps against.
func CheckCapabilities() error {
	missing, err := missingCapabilities()
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return &CapabilityError{missing}
	}
	return rlimit.RemoveMemlock()
}

// missingCapabilities names what this process lacks, and for what.
func missingCapabilities() ([]string, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return nil, fmt.Errorf("reading capabilities: %w", err)
	}
	has := func(bit uint) bool { return data[bit/32].Effective&(1<<(bit%32)) != 0 }
	var missing []string
	for _, n := range needs {
		if !has(n.bit) && !(has(unix.CAP_SYS_ADMIN) && n.bit != unix.CAP_SYS_PTRACE) {
			missing = append(missing, n.name+" ("+n.why+")")
		}
	}
	return missing, nil
}

// explainLoadError adds what a person can do about it.
func explainLoadError(err error) error {
	var rejected *ebpf.VerifierError
	switch {
	case olderKernel(LeastKernel):
		return fmt.Errorf("loading eBPF programs: Bittern needs Linux %s or later, this is %s: %w", LeastKernel, release(), err)
	case errors.Is(err, unix.EPERM):
		// The library suggests the limit on locked memory, which is lifted by now.
		return fmt.Errorf("loading eBPF programs: %w (the kernel refuses: it may be locked down, or a container's seccomp filter forbids bpf)", err)
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("loading eBPF programs: %w (Bittern needs Linux %s with CONFIG_DEBUG_INFO_BTF)", err, LeastKernel)
	case errors.As(err, &rejected):
		return fmt.Errorf("loading eBPF programs: the verifier of this kernel rejects one: %w", err)
	}
	return fmt.Errorf("loading eBPF programs: %w", err)
}

// release is that of the running kernel, "" if it can't be had.
func release() string {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return ""
	}
	return unix.ByteSliceToString(uts.Release[:])
}

// olderKernel reports whether this kernel is older than a version such as "5.18".
func olderKernel(version string) bool {
	var have, want [2]int
	for text, to := range map[string]*[2]int{release(): &have, version: &want} {
		if n, _ := fmt.Sscanf(text, "%d.%d", &to[0], &to[1]); n != 2 {
			return false
		}
	}
	return slices.Compare(have[:], want[:]) < 0
}
