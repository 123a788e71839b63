package loader

import (
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"os"

	"github.com/cilium/ebpf"

	"bittern/internal/rules"
)

// Config sizes the kernel's tables. The zero value of a size is its default.
type Config struct {
	// Cgroup limits events to processes of this cgroup v2 directory and those below
	// it; "" is the whole host.
	Cgroup string

	Slots     int // clauses of each event class that fit, dead ones included; 8,192
	Keys      int // keys of each index map; 32,768
	Cells     int // cells of all rows together; 262,144
	Processes int // processes that the process table can hold; 32,768
	Images    int // images that these can run, counting once what a fork shares; 8,192
	RingBytes int // ring of matches, a power of two and of the page size; 4 MiB, which is seconds of a disk that stands

	// Pins is a directory of a BPF file system, made if need be, for what is to go on in the kernel when this
	// process is gone, until another one with the same directory takes over; "" is none. Only
	// one process at a time can have it.
	Pins string
	// Journal is the directory where rule versions are noted for whoever takes over, and Restore makes a rule
	// again of its document. Both are needed with Pins.
	Journal string
	Restore func(document []byte) (*rules.Rule, error)

	// Found, unless nil, is told of each hook that has been found, or not, when the first
	// rule needs it. Several goroutines may call it at the same time.
	Found func(Hook)

	Log *slog.Logger
}

// Bounds of sizes that are settings of the agent.
const (
	LeastSlots, MostSlots         = 32, maxSlots
	LeastRingBytes, MostRingBytes = 4096, 1 << 30
)

// Validate fills in the defaults and reports sizes that can't work.
func (c *Config) Validate() error {
	if c.Log == nil {
		return errors.New("configuring the loader: it needs a logger")
	}
	if c.Pins != "" && (c.Journal == "" || c.Restore == nil) {
		return errors.New("configuring the loader: pins need a journal")
	}
	for _, s := range []struct {
		name                  string
		value                 *int
		fallback, least, most int
	}{
		{"slots", &c.Slots, 8192, LeastSlots, MostSlots},
		{"keys", &c.Keys, 32768, 64, 1 << 24},
		{"cells", &c.Cells, 1 << 18, 64, 1 << 26},
		{"processes", &c.Processes, 32768, 64, 1 << 22},
		{"images", &c.Images, 8192, 64, 1 << 22},
		{"ring bytes", &c.RingBytes, 4 << 20, LeastRingBytes, MostRingBytes},
	} {
		if *s.value == 0 {
			*s.value = s.fallback
		}
		if *s.value < s.least || *s.value > s.most {
			return fmt.Errorf("configuring the loader: %s is %d, want %d to %d", s.name, *s.value, s.least, s.most)
		}
	}
	// The kernel looks at slots in blocks.
	c.Slots = (c.Slots + int(slotsPerCell) - 1) / int(slotsPerCell) * int(slotsPerCell)
	if bits.OnesCount(uint(c.RingBytes)) != 1 {
		return fmt.Errorf("configuring the loader: ring bytes is %d, want a power of two", c.RingBytes)
	}
	return nil
}

// apply puts the sizes into the spec.
func (c *Config) apply(spec *ebpf.CollectionSpec) error {
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return fmt.Errorf("counting CPUs: %w", err)
	}
	classes := int(execEventClassEVENT_CLASS_COUNT)
	workspaces := cpus*int(execLimitCPU_WORKSPACES) + 1 // the last is for the task iterator
	sizes := map[string]int{
		execMapSlots:   classes * c.Slots,
		execMapNoGroup: classes * maxGroups * c.Slots / int(slotsPerCell),
		execMapRows:    c.Keys,
		execMapRowHits: c.Keys,
		execMapCells:   c.Cells,
		// Before 6.14 a full trie misbehaves, so it gets twice the room.
		execMapTexts:      2 * c.Keys,
		execMapNumbers:    c.Keys,
		execMapGrams:      c.Keys,
		execMapProcesses:  c.Processes,
		execMapImages:     c.Images,
		execMapMatches:    c.RingBytes,
		execMapWorkspaces: workspaces,
	}
	for name, size := range sizes {
		spec.Maps[name].MaxEntries = uint32(size)
	}
	return nil
}

// varAgentTgid is a variable of the programs of kernel_change only.
const varAgentTgid = "agent_tgid"

// variables are what all programs are told, as far as they have them.
func (c *Config) variables() map[string]any {
	return map[string]any{
		execVarWatchCgroup: c.Cgroup != "",
		execVarClassSlots:  uint32(c.Slots),
		varAgentTgid:       uint32(os.Getpid()),
	}
}
