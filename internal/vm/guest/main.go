// Command guest runs test binaries, or one other program, on the kernel that it finds itself on, and says
// how they ended. "make test-kernel" runs it on this machine, or in a Vagrant one;
// internal/vm boots kernels with it as the first process.
//
//	guest [flags] DIRECTORY
//	guest [flags] -program FILE ARGUMENT...
//
// DIRECTORY holds a directory for each binary, made by scripts/vm/build.sh.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

func main() {
	var c config
	flag.StringVar(&c.require, "require", "root,bpf", "needs that must be met, as BITTERN_REQUIRE")
	flag.StringVar(&c.pattern, "run", "", "run the tests that match, as go test -run")
	flag.BoolVar(&c.short, "short", false, "run shorter tests")
	flag.DurationVar(&c.timeout, "timeout", 10*time.Minute, "time that each test binary may take")
	flag.StringVar(&c.report, "report", "", "write a report for a program to this file")
	flag.BoolVar(&c.program, "program", false, "run the program that is named, with the arguments behind it, instead of tests")
	flag.Parse()
	if n := flag.NArg(); n == 0 || n > 1 && !c.program {
		flag.Usage()
		os.Exit(2)
	}
	c.arguments = flag.Args()
	run := c.run
	if os.Getpid() == 1 {
		run = c.boot
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}
