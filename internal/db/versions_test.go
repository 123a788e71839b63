package db_test

import (
	"bufio"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bittern/internal/require"
)

// Tests of what is ours and no server's, or that take long and show the same with each.
const notOfVersions = "^(TestVersions|TestFaults|TestPooled|TestSinkCut|TestConnectionsMustBeSafe|TestOpenKeysAreRefused|TestErrorsHoldNoPassword)"

// TestVersions runs the tests of this package with the servers of scripts/postgres/matrix.
func TestVersions(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	root, err := require.Module()
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range matrix(t, filepath.Join(root, "scripts/postgres/matrix")) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			programs := require.OtherPostgres(t, version)
			cmd := osexec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.skip="+notOfVersions)
			cmd.Env = append(os.Environ(), require.PostgresVariable+"="+programs, require.Variable+"=db")
			out, err := cmd.CombinedOutput()
			text := string(out)
			// A test of more than one version skips what one has not.
			passed, attacked := strings.Count(text, "\n--- PASS: "), strings.Count(text, "    --- PASS: TestAttacks/")
			if err != nil || passed < 35 || attacked != len(attacks) || strings.Contains(text, "\n--- SKIP") {
				t.Errorf("%v: %d tests passed, %d attacks of %d failed as they must:\n%s", err, passed, attacked, len(attacks), text)
			}
			t.Logf("%d tests passed", passed)
		})
	}
}

// matrix are the versions of a file, which has a line for each.
func matrix(t *testing.T, path string) (versions []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
			versions = append(versions, fields[0])
		}
	}
	if len(versions) == 0 {
		t.Fatalf("%s names no version", path)
	}
	return versions
}
