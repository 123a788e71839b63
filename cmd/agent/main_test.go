package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"bittern/internal/require"
)

// rootVariable names the directory that stands for the host's root in tests.
const rootVariable = "BITTERN_TEST_ROOT"

func TestMain(m *testing.M) {
	testscript.Main(leakless{m}, map[string]func(){"bittern": func() {
		root := os.Getenv(rootVariable)
		os.Exit(execute(os.Args[1:], &app{
			out: os.Stdout, err: os.Stderr, env: os.LookupEnv,
			paths: paths{
				config: filepath.Join(root, "etc/bittern.yaml"), rules: filepath.Join(root, "etc/rules"),
				state: filepath.Join(root, "state"),
				pins:  off, metrics: off, socket: filepath.Join(root, "agent.sock"),
			},
		}))
	}, "connect": connect, "act": act, "mkoutbox": mkoutbox, "flip": flip})
}

// connect is what the test's program does under this name: it connects to the
// addresses that it is given, each behind its network.
func connect() {
	for i := 1; i+1 < len(os.Args); i += 2 {
		c, err := net.Dial(os.Args[i], os.Args[i+1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		c.Close()
	}
}

// leakless fails if tests leave goroutines behind.
type leakless struct{ m *testing.M }

func (l leakless) Run() int {
	code := l.m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func TestScripts(t *testing.T) { runScripts(t, "script") }

// TestScriptsBPF runs those that load programs into the kernel.
func TestScriptsBPF(t *testing.T) {
	require.Root(t)
	require.BPF(t)
	runScripts(t, "bpf")
}

func runScripts(t *testing.T, dir string) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", dir),
		UpdateScripts:       os.Getenv("BITTERN_UPDATE_GOLDEN") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv(rootVariable, filepath.Join(env.WorkDir, "host"))
			// Under the race detector each process would sleep for a second at its end.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
	})
}
