package fsstore

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"syscall"
	"testing"
)

// sandboxVariable names the test that a second run of the test binary is for.
const sandboxVariable = "BITTERN_TEST_SANDBOX"

// sandboxed runs the test once more in a process with other privileges or namespaces, so that nothing it does
// stays behind. It returns true there, and false, with the test's result, where the test should end.
func sandboxed(t *testing.T, attr *syscall.SysProcAttr) bool {
	t.Helper()
	if os.Getenv(sandboxVariable) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.count=1", "-test.run=^"+regexp.QuoteMeta(t.Name())+"$")
	cmd.Env = append(os.Environ(), sandboxVariable+"="+t.Name())
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	switch {
	case bytes.Contains(out, []byte("\n--- SKIP: "+t.Name()+" ")):
		t.Skipf("%s", out)
	case err != nil || !bytes.Contains(out, []byte("\n--- PASS: "+t.Name()+" ")):
		t.Fatalf("%v:\n%s", err, out)
	}
	return false
}
