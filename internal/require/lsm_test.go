package require

import (
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// TestLSMFires attaches a security module that counts opens of files, and opens one:
// where "bpf" is in the list, it must fire.
func TestLSMFires(t *testing.T) {
	Root(t)
	BPF(t)
	LSM(t)
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "opens", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "on_open", Type: ebpf.LSM, AttachType: ebpf.AttachLSMMac, AttachTo: "file_open", License: "Dual BSD/GPL",
		Instructions: asm.Instructions{
			asm.LoadMapValue(asm.R1, m.FD(), 0),
			asm.Mov.Imm(asm.R2, 1),
			asm.StoreXAdd(asm.R1, asm.R2, asm.DWord),
			asm.Mov.Imm(asm.R0, 0),
			asm.Return(),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	l, err := link.AttachLSM(link.LSMOptions{Program: p})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	var opens uint64
	if err := m.Lookup(uint32(0), &opens); err != nil {
		t.Fatal(err)
	}
	if opens == 0 {
		t.Error("a file was opened, and the security module did not fire")
	}
}
