// Command guest runs test binaries on the kernel that it finds itself on, and says
// how they ended. "make test-kernel" runs it on this machine, or in a Vagrant one;
// internal/vm boots kernels with it as the first process.
//
//	guest [flags] DIRECTORY
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
	flag.BoolVar(&c.short, "short", false, "run shorter tests")
	flag.DurationVar(&c.timeout, "timeout", 10*time.Minute, "time that each test binary may take")
	flag.StringVar(&c.report, "report", "", "write a report for a program to this file")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	c.directory = flag.Arg(0)
	run := c.run
	if os.Getpid() == 1 {
		run = c.boot
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
		os.Exit(1)
	}
}
