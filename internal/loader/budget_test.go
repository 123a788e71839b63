package loader

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"bittern/internal/loader/harness"
	"bittern/internal/require"
)

// verifierBudget is a quarter of the instructions that the verifier looks at before it gives up.
const verifierBudget = 1_000_000 / 4

// TestVerifierBudget loads every program there is, those that stand in for others and those of
// tests included, prints what it costs the verifier of this kernel and holds it to the budget. A
// program that this kernel does not take is named: hooks that need it are tested elsewhere.
func TestVerifierBudget(t *testing.T) {
	require.Kernel(t, "5.16") // before, it is not told
	k := loadForTest(t, Config{})
	h := k.share(Config{})
	h.types.borrow()
	defer h.types.giveBack()
	for name, load := range map[string]func() (*ebpf.CollectionSpec, error){
		"exec": loadExec, "seed": loadSeed, "file": loadFile, "network": loadNetwork, "change": loadChange,
		"listen": loadListen, "privilege": loadPrivilege, "kernelchange": loadKernelchange, "harness": harness.LoadHarness,
	} {
		t.Run(name, func(t *testing.T) {
			spec, err := load()
			if err != nil {
				t.Fatal(err)
			}
			loaded := 0
			for _, name := range slices.Sorted(maps.Keys(spec.Programs)) {
				p, err := h.loadProgram(spec, name)
				if errors.Is(err, unix.E2BIG) {
					t.Errorf("%s is too large for the verifier", name)
				}
				if err != nil {
					reason, _, _ := strings.Cut(err.Error(), "\n")
					t.Logf("%s: not taken: %.200s", name, reason)
					continue
				}
				info, err := p.Info()
				p.close()
				if err != nil {
					t.Fatal(err)
				}
				n, known := info.VerifiedInstructions()
				if !known {
					t.Fatalf("%s: the kernel does not tell what it verified", name)
				}
				t.Logf("%s: %d", name, n)
				if n > verifierBudget {
					t.Errorf("%s takes %d verified instructions, more than %d", name, n, verifierBudget)
				}
				loaded++
			}
			if loaded == 0 {
				t.Error("not one program was taken")
			}
		})
	}
}
