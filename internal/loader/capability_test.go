package loader

import (
	"log/slog"
	"strings"
	"testing"

	"bittern/internal/require"
)

// TestLeastKernel opens the kernel on any kernel: one that is too old is refused with
// an error that names the least.
func TestLeastKernel(t *testing.T) {
	require.Root(t)
	require.BPF(t)
	k, err := Open(Config{Cgroup: require.Cgroup(t), Log: slog.New(slog.DiscardHandler)})
	switch {
	case require.OlderKernel(t, LeastKernel):
		if err == nil {
			t.Cleanup(func() { k.Close() })
			t.Fatalf("it works on a kernel older than Linux %s: lower LeastKernel", LeastKernel)
		}
		if !strings.Contains(err.Error(), "needs Linux "+LeastKernel+" or later") {
			t.Errorf("the error does not name the least kernel: %v", err)
		}
	case err != nil:
		t.Fatal(err)
	default:
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
}
