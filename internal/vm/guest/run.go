package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/vm"
)

type config struct {
	directory string
	require   string
	short     bool
	timeout   time.Duration
	report    string
}

// run runs every test binary, one after the other.
func (c *config) run() error {
	binaries, err := filepath.Glob(filepath.Join(c.directory, "*", "*.test"))
	if err != nil {
		return fmt.Errorf("finding test binaries: %w", err)
	}
	if len(binaries) == 0 {
		return fmt.Errorf("finding test binaries: none in %s", c.directory)
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
	say("lsm", modules())
	var errs []error
	for _, binary := range binaries {
		name := strings.TrimSuffix(filepath.Base(binary), ".test")
		say("start", name)
		if err := c.test(binary, out); err != nil {
			errs = append(errs, fmt.Errorf("testing %s: %w", name, err))
			say("end", err.Error())
			continue
		}
		say("end", "ok")
	}
	say("done", "")
	return errors.Join(errs...)
}

// test runs one binary in its own directory, as "go test" does.
func (c *config) test(binary string, out io.Writer) error {
	path, err := filepath.Abs(binary)
	if err != nil {
		return err
	}
	verbose := "-test.v=true"
	if c.report != "" {
		verbose = "-test.v=test2json"
	}
	cmd := exec.Command(path, verbose, "-test.timeout="+c.timeout.String(), fmt.Sprintf("-test.short=%v", c.short))
	cmd.Dir = filepath.Dir(path)
	cmd.Env = append(os.Environ(), "BITTERN_REQUIRE="+c.require)
	cmd.Stdout, cmd.Stderr = out, out
	return cmd.Run()
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

func modules() string {
	list, err := os.ReadFile("/sys/kernel/security/lsm")
	if err != nil {
		return err.Error()
	}
	return string(list)
}
