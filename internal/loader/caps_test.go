package loader

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"bittern/internal/event"
	"bittern/internal/require"
)

// TestBestHookIsTaken: where security modules can be BPF programs, or functions of the
// kernel be traced, no class may be left with less, or with a part of its hooks.
func TestBestHookIsTaken(t *testing.T) {
	k, _ := openForTest(t, Config{})
	want := ""
	switch {
	case require.HasLSM():
		want = "lsm/"
	case traces():
		want = "fexit/"
	}
	for class, h := range k.hooks {
		t.Run(class.String(), func(t *testing.T) {
			h.probe()
			prefix := want
			if class == event.NetworkConnect {
				prefix = "cgroup/"
			}
			if h.hook.Name == "" || !strings.HasPrefix(h.hook.Name, prefix) {
				t.Errorf("it takes %q, want one of %s: %+v", h.hook.Name, prefix, h.hook.Refused)
			}
			// Before 6.1 hooks can't have parameters that are structs.
			if class == event.FileChange && require.OlderKernel(t, "6.1") && strings.HasPrefix(h.hook.Misses, "changes of owner (") {
				return
			}
			if want != "" && h.hook.Misses != "" {
				t.Errorf("it misses %s", h.hook.Misses)
			}
		})
	}
	// Here, since it takes a while until all are loaded.
	t.Run("verifier budget", func(t *testing.T) { checkBudget(t, k) })
}

// checkBudget prints what each program costs the verifier and holds it to a quarter of the
// limit.
func checkBudget(t *testing.T, k *Kernel) {
	programs, err := k.Programs()
	if err != nil {
		t.Fatal(err)
	}
	var line strings.Builder
	for _, p := range programs {
		fmt.Fprintf(&line, " %s %d", p.Name, p.Verified)
		if p.Verified > verifierBudget {
			t.Errorf("%s takes %d verified instructions, more than a quarter of the limit", p.Name, p.Verified)
		}
	}
	t.Log("verified instructions:" + line.String())
}

// traces reports whether functions of the kernel can be traced.
func traces() bool {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.Tracing, AttachType: ebpf.AttachTraceFExit, AttachTo: "security_file_open", License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		return false
	}
	p.Close()
	return true
}

// TestRefusalsNameARemedy: what a person can do is said where something can be done.
func TestRefusalsNameARemedy(t *testing.T) {
	lsm := candidate{name: "lsm/file_open", least: "5.7"}
	for _, tc := range []struct {
		c      candidate
		err    error
		remedy string
	}{
		{lsm, errPassive, "boot with bpf in the parameter lsm="},
		{candidate{name: "fexit/x", least: "999.0"}, ebpf.ErrNotSupported, "run Linux 999.0 or later"},
		{candidate{name: "cgroup/connect4", least: "4.17"}, errNoCgroup, "mount it: mount -t cgroup2 none /sys/fs/cgroup"},
		{candidate{name: "fexit/x", least: "999.0"}, fmt.Errorf("loading: %w", unix.EPERM), "allow it: kernel lockdown, a seccomp filter or the container's runtime forbids it"},
		{candidate{name: "tp_btf/sys_exit", least: "5.5"}, errNotHere, ""},
	} {
		if got := refusal(tc.c, tc.err); got.Remedy != tc.remedy || got.Name != tc.c.name || got.Reason == "" {
			t.Errorf("%s, %v: %+v, want the remedy %q", tc.c.name, tc.err, got, tc.remedy)
		}
	}
}
