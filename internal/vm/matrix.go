// Package vm runs Bittern's kernel tests and benchmarks on other kernels, in virtual
// machines of QEMU. What runs there is built once; an archive in memory that holds it, a
// shell and the guest program is the machine's only file system; what it prints comes
// back over a serial line of its own. That of tests is held against the tests that must
// have passed, so that a machine that dies is no pass.
//
// Only tests and benchmarks use it. The kernels are those of scripts/vm/matrix, fetched by
// scripts/vm/fetch.sh.
package vm

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Boot is one line of the matrix: a kernel with parameters.
type Boot struct {
	Kernel  string // directory of the kernel
	Suite   string // of Debian
	Package string // that brings the kernel
	Name    string // tells boots of one kernel apart
	// Offers are the needs, as package require names them, that must be met. Tests may
	// skip for lack of others.
	Offers     []string
	CPUs       int
	Tests      []Selection // what runs there; nil is everything
	Parameters string      // added to the kernel's command line
}

// Selection is a test binary, and of its tests those that a pattern matches, as go test -run
// takes it, without subtests; "" matches all.
type Selection struct{ Binary, Pattern string }

func (b Boot) String() string { return b.Kernel + "-" + b.Name }

// noHZ is the value of nohz_full= among the parameters, the CPUs that are to do without ticks;
// "" if none is.
func (b Boot) noHZ() string {
	for parameter := range strings.FieldsSeq(b.Parameters) {
		if cpus, ok := strings.CutPrefix(parameter, "nohz_full="); ok {
			return cpus
		}
	}
	return ""
}

// ParseMatrix reads boots, one a line: kernel, suite, package, boot, offers, cpus,
// tests and parameters, where "-" is nothing. Lines that begin with # are comments.
func ParseMatrix(r io.Reader) ([]Boot, error) {
	var boots []Boot
	seen := make(map[string]bool)
	origins := make(map[string]string)
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		if len(f) < 8 {
			return nil, fmt.Errorf("reading the matrix: line %d has %d columns, want 8", n, len(f))
		}
		b := Boot{Kernel: f[0], Suite: f[1], Package: f[2], Name: f[3]}
		if f[4] != "-" {
			b.Offers = strings.Split(f[4], ",")
		}
		var err error
		if b.CPUs, err = strconv.Atoi(f[5]); err != nil || b.CPUs < 1 {
			return nil, fmt.Errorf("reading the matrix: line %d gives %s %q CPUs, want a number", n, b, f[5])
		}
		if f[6] != "all" {
			for selection := range strings.SplitSeq(f[6], ",") {
				binary, pattern, _ := strings.Cut(selection, "/")
				b.Tests = append(b.Tests, Selection{binary, pattern})
			}
		}
		if f[7] != "-" || len(f) > 8 {
			b.Parameters = strings.Join(f[7:], " ")
		}
		if seen[b.String()] {
			return nil, fmt.Errorf("reading the matrix: line %d gives %s a second time", n, b)
		}
		seen[b.String()] = true
		origin := b.Suite + " " + b.Package
		if before, ok := origins[b.Kernel]; ok && before != origin {
			return nil, fmt.Errorf("reading the matrix: line %d takes kernel %s from %s, another line from %s", n, b.Kernel, origin, before)
		}
		origins[b.Kernel] = origin
		boots = append(boots, b)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the matrix: %w", err)
	}
	if len(boots) == 0 {
		return nil, fmt.Errorf("reading the matrix: it has no boots")
	}
	return boots, nil
}
