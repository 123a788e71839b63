package require

import (
	"strings"
	"testing"
)

func TestOlderThan(t *testing.T) {
	for _, tc := range []struct {
		release, version string
		older            bool
	}{
		{"5.10.0-32-amd64", "5.18", true},
		{"5.18.0", "5.18", false},
		{"6.1.0-50-amd64", "5.18", false},
		{"6.1.0", "6.12", true},
		{"7.2.13+deb14-amd64", "6.12", false},
		{"6.18-rc1", "6.18", false},
	} {
		got, err := olderThan(tc.release, tc.version)
		if err != nil || got != tc.older {
			t.Errorf("%s older than %s: got %v, %v", tc.release, tc.version, got, err)
		}
	}
	if _, err := olderThan("six", "5.18"); err == nil {
		t.Error("a release that is no version was accepted")
	}
}

// TestKernelSkipsOnOlderOnesOnly lists the need, which makes no difference.
func TestKernelSkipsOnOlderOnesOnly(t *testing.T) {
	t.Setenv(Variable, "kernel,bpf")
	for version, want := range map[string]string{"2.6": "", "999.0": "skip: needs Linux 999.0, this is ", "x": "fail: reading kernel version"} {
		r := &recorder{}
		Kernel(r, version)
		if !strings.HasPrefix(r.outcome, want) || (want == "") != (r.outcome == "") {
			t.Errorf("Linux %s: got %q, want %q...", version, r.outcome, want)
		}
	}
}

func TestOlderKernel(t *testing.T) {
	if OlderKernel(t, "2.6") || !OlderKernel(t, "999.0") {
		t.Error("this kernel is not between 2.6 and 999.0")
	}
}
