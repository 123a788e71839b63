package loader

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// gracePeriod waits until every program that was running when wait was called has
// ended. A system call that updates a map of maps waits for that before it returns
// (kernel/bpf/syscall.c, maybe_wait_bpf_programs). Sleepable programs are not
// covered; none of ours reads the rules' maps.
type gracePeriod struct {
	outer, inner *ebpf.Map
}

func newGracePeriod() (*gracePeriod, error) {
	spec := &ebpf.MapSpec{Name: "grace_inner", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	inner, err := ebpf.NewMap(spec)
	if err != nil {
		return nil, fmt.Errorf("preparing grace periods: %w", err)
	}
	outer, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: "grace_outer", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: spec,
	})
	if err != nil {
		inner.Close()
		return nil, fmt.Errorf("preparing grace periods: %w", err)
	}
	return &gracePeriod{outer: outer, inner: inner}, nil
}

func (g *gracePeriod) wait() error {
	if err := g.outer.Update(uint32(0), g.inner, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("waiting for a grace period: %w", err)
	}
	return nil
}

func (g *gracePeriod) close() {
	g.outer.Close()
	g.inner.Close()
}
