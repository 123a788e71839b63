package require

import (
	"fmt"
	"os/exec"
)

// Build needs what the agent is built with, its BPF objects included.
func Build(t T) {
	t.Helper()
	for _, tool := range []string{"go", "clang-19", "llvm-strip-19"} {
		if _, err := exec.LookPath(tool); err != nil {
			unmet(t, "build", fmt.Errorf("looking for %s: %w (run scripts/setup.sh test)", tool, err))
			return
		}
	}
}
