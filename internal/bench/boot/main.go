// Command boot runs internal/bench/speed on one of the kernels of scripts/vm/matrix and
// prints its table. "make bench-vm" runs it, at the root of the module.
//
//	boot [flags] BOOT [ARGUMENT...]
//
// The arguments are speed's. How far it is shows in the file "report" of its directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"bittern/internal/vm"
)

func main() {
	timeout := flag.Duration("timeout", time.Hour, "time that it may take")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, flag.Args(), *timeout); err != nil {
		fmt.Fprintln(os.Stderr, "boot:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, timeout time.Duration) (err error) {
	if len(args) == 0 {
		return errors.New("want the name of a boot, such as 6.1-plain")
	}
	boot, err := find(args[0])
	if err != nil {
		return err
	}
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-vm-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := vm.BuildBenchmark(root, dir); err != nil {
		return err
	}
	m := &vm.Machine{Kernels: filepath.Join(root, ".cache", "kernels"), Boot: boot, Dir: dir, Timeout: timeout}
	report, console, err := m.Run(ctx, vm.Benchmark(dir, args[1:]...))
	if report != nil {
		fmt.Print(report.Printed)
		if err == nil && (!report.Done || report.Ends["speed"] != "ok") {
			err = fmt.Errorf("running the benchmark on %s: it ended with %q", boot, report.Ends["speed"])
		}
	}
	if err != nil {
		fmt.Fprint(os.Stderr, console)
	}
	return err
}

func find(name string) (vm.Boot, error) {
	f, err := os.Open("scripts/vm/matrix")
	if err != nil {
		return vm.Boot{}, err
	}
	defer f.Close()
	boots, err := vm.ParseMatrix(f)
	if err != nil {
		return vm.Boot{}, err
	}
	i := slices.IndexFunc(boots, func(b vm.Boot) bool { return b.String() == name })
	if i < 0 {
		return vm.Boot{}, fmt.Errorf("looking for boot %s: scripts/vm/matrix has none of this name", name)
	}
	return boots[i], nil
}
