package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/vm"
)

type config struct {
	arguments []string
	program   bool // the arguments are a program and its own; else the directory of the tests
	require   string
	pattern   string // of the tests that are to run; "" is all
	short     bool
	timeout   time.Duration
	report    string
}

// run runs every program, one after the other.
func (c *config) run() error {
	programs, err := c.programs()
	if err != nil {
		return err
	}
	out := os.Stdout
	say := func(string, string) {}
	if c.report != "" {
		if out, err = openReport(c.report); err != nil {
			return err
		}
		defer out.Close()
		say = func(word, value string) { fmt.Fprintf(out, "%s%s %s\n", vm.Mark, word, value) }
	}
	say("release", release())
	say("lsm", contents("/sys/kernel/security/lsm"))
	say("cpus", strconv.Itoa(runtime.NumCPU()))
	say("nohz", contents("/sys/devices/system/cpu/nohz_full"))
	var errs []error
	for _, cmd := range programs {
		name := strings.TrimSuffix(filepath.Base(cmd.Path), ".test")
		say("start", name)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Run(); err != nil {
			errs = append(errs, fmt.Errorf("running %s: %w", name, err))
			say("end", err.Error())
			continue
		}
		say("end", "ok")
	}
	say("done", "")
	return errors.Join(errs...)
}

// programs returns what is to run: the program, or every test binary in its own
// directory, as "go test" does it.
func (c *config) programs() ([]*exec.Cmd, error) {
	if c.program {
		return []*exec.Cmd{exec.Command(c.arguments[0], c.arguments[1:]...)}, nil
	}
	directory, err := filepath.Abs(c.arguments[0])
	if err != nil {
		return nil, fmt.Errorf("finding test binaries: %w", err)
	}
	binaries, err := filepath.Glob(filepath.Join(directory, "*", "*.test"))
	if err != nil {
		return nil, fmt.Errorf("finding test binaries: %w", err)
	}
	if len(binaries) == 0 {
		return nil, fmt.Errorf("finding test binaries: none in %s", directory)
	}
	verbose := "-test.v=true"
	if c.report != "" {
		verbose = "-test.v=test2json"
	}
	var programs []*exec.Cmd
	for _, path := range binaries {
		cmd := exec.Command(path, verbose, "-test.run="+c.pattern, "-test.timeout="+c.timeout.String(),
			fmt.Sprintf("-test.short=%v", c.short))
		cmd.Dir = filepath.Dir(path)
		cmd.Env = append(os.Environ(), "BITTERN_REQUIRE="+c.require)
		programs = append(programs, cmd)
	}
	return programs, nil
}

// openReport opens a file or a serial line, and keeps the latter from changing what
// is written to it.
func openReport(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|unix.O_NOCTTY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening the report: %w", err)
	}
	if t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
		t.Oflag &^= unix.OPOST
		if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t); err != nil {
			return nil, errors.Join(fmt.Errorf("setting up the serial line of the report: %w", err), f.Close())
		}
	}
	return f, nil
}

func release() string {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(name.Release[:])
}

// contents is the line in a file, or why there is none.
func contents(path string) string {
	line, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(line))
}
