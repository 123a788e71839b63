package require

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/rlimit"
)

// BPF needs a kernel and privileges that let a map and a tracing program be
// loaded. It tries both, since capabilities, lockdown, seccomp filters and
// container runtimes each may stand in the way.
func BPF(t T) {
	t.Helper()
	if err := tryBPF(); err != nil {
		unmet(t, "bpf", err)
	}
}

func tryBPF() error {
	// Before 5.11 it bounds what all processes of a user have charged, maps that are still being freed included.
	if err := rlimit.RemoveMemlock(); err != nil {
		return fmt.Errorf("lifting the limit of locked memory: %w", err)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "require", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return fmt.Errorf("creating a BPF map: %w", err)
	}
	defer m.Close()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         "require",
		Type:         ebpf.RawTracepoint,
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
		License:      "Dual BSD/GPL",
	})
	if err != nil {
		return fmt.Errorf("loading a BPF program: %w", err)
	}
	return p.Close()
}
