package loader

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain does one thing and ends if the test binary is its own child. Otherwise it
// runs the tests, and fails if a test leaves a goroutine behind, or a descriptor of a BPF object.
func TestMain(m *testing.M) {
	if name := os.Getenv(actVariable); name != "" {
		act := acts()[name]
		if act == nil {
			act = func([]string) error { return fmt.Errorf("there is no act %s", name) }
		}
		if err := act(os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		if left := bpfDescriptors(); status == 0 && len(left) > 0 {
			fmt.Fprintf(os.Stderr, "descriptors of BPF objects left open: %v\n", left)
			status = 1
		}
		os.Exit(status)
	}))
}

func bpfDescriptors() []string {
	var found []string
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.Contains(to, "bpf") {
			found = append(found, filepath.Base(fd)+" "+to)
		}
	}
	return found
}
