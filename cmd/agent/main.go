// Command bittern is a host agent for Linux: it watches what programs are
// executed, judges them in the kernel by a directory of detection rules, and prints
// what they detect.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Exit codes.
const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	os.Exit(execute(os.Args[1:], &app{
		out: os.Stdout, err: os.Stderr, env: os.LookupEnv,
		paths: hostPaths(),
	}))
}

func hostPaths() paths {
	return paths{config: "/etc/bittern/bittern.yaml", rules: "/etc/bittern/rules", state: "/var/lib/bittern", pins: "/sys/fs/bpf/bittern", metrics: "127.0.0.1:9435",
		socket: "/run/bittern/agent.sock"}
}

// app is what the commands take from the process they run in.
type app struct {
	out, err io.Writer
	env      func(name string) (string, bool)
	paths    paths
}

// execute runs the command line and returns the exit code.
func execute(args []string, a *app) int {
	root := newRoot(a)
	root.SetArgs(args)
	err := root.Execute()
	var usage *usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errReported):
		return exitFailure
	case errors.As(err, &usage):
		fmt.Fprintf(a.err, "bittern: %v (see: %s --help)\n", err, usage.command)
		return exitUsage
	}
	fmt.Fprintf(a.err, "bittern: %v\n", err)
	return exitFailure
}
