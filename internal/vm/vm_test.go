package vm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bittern/internal/require"
)

// consoleLines is how much of the kernel's output a failure shows.
const consoleLines = 100

// patternVariable is the environment variable with a pattern of the tests to run in the
// guests, as go test -run takes it. It serves development: all others go unseen.
const patternVariable = "BITTERN_VM_RUN"

// TestKernels runs the kernel tests on each boot of the matrix. "go test -run
// TestKernels/6.1-plain" runs one, and -v says how it went.
func TestKernels(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes minutes")
	}
	kernels := require.VM(t)
	root, err := require.Module()
	if err != nil {
		t.Fatal(err)
	}
	dependOnSources(t, root)
	f, err := os.Open(filepath.Join(root, "scripts", "vm", "matrix"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	boots, err := ParseMatrix(f)
	if err != nil {
		t.Fatal(err)
	}
	binaries, err := Build(root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pattern := os.Getenv(patternVariable)
	if all, err := binaries.matching(pattern); err != nil {
		t.Fatal(err)
	} else if len(all.Tests) == 0 {
		t.Fatalf("no test matches %s=%s", patternVariable, pattern)
	}
	for _, boot := range boots {
		t.Run(boot.String(), func(t *testing.T) {
			t.Parallel()
			m := &Machine{Kernels: kernels, Boot: boot, Dir: t.TempDir(), Timeout: 45 * time.Minute}
			testKernel(t, m, binaries, pattern)
		})
	}
}

func testKernel(t *testing.T, m *Machine, b *Binaries, pattern string) {
	b, err := b.selected(m.Boot.Tests)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = b.matching(pattern); err != nil {
		t.Fatal(err)
	}
	if len(b.Tests) == 0 {
		t.Skipf("no test of this boot matches %s=%s", patternVariable, pattern)
	}
	// A test that hangs is to end, and to show where, before the machine is given up.
	cargo, err := b.cargo(m.Boot.Offers, pattern, true, m.Timeout*2/3)
	if err != nil {
		t.Fatal(err)
	}
	release, err := m.Release()
	if err != nil {
		t.Fatal(err)
	}
	want := Expectation{Release: release, Tests: b.Tests, Offers: m.Boot.Offers, CPUs: m.Boot.CPUs, NoHZ: m.Boot.noHZ()}
	began := time.Now()
	report, console, err := m.Run(t.Context(), cargo)
	if err != nil {
		t.Error(err)
	}
	if report == nil {
		return
	}
	sum, problems := report.Judge(want)
	for _, p := range problems {
		if p.Test == "" {
			t.Error(p.Text)
			continue
		}
		t.Run(p.Test, func(t *testing.T) { t.Error(p.Text) })
	}
	t.Logf("Linux %s, %s CPUs, nohz_full %s, security modules %s: %d of %d tests passed, %d skipped, in %.0f s",
		report.Release, report.CPUs, report.NoHZ, report.LSM, sum.Passed, sum.Expected, sum.Skipped, time.Since(began).Seconds())
	if t.Failed() {
		lines := strings.Split(console, "\n")
		t.Logf("the end of what the kernel printed:\n%s", strings.Join(lines[max(0, len(lines)-consoleLines):], "\n"))
	}
}

// dependOnSources makes the result depend on all sources, for go's cache of results:
// it knows what a test opens and stats, and nothing of what programs that it runs read.
func dependOnSources(t *testing.T, root string) {
	t.Helper()
	for _, dir := range []string{"go.mod", "internal", "rules", "scripts/vm", ".cache/kernels"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, _ os.DirEntry, err error) error {
			if err == nil {
				_, err = os.Stat(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
