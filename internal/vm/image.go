package vm

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Binaries are the tests that run in the guests, built from the sources as they are.
type Binaries struct {
	dir    string
	Tests  map[string][]string // names of the tests of each binary
	chosen bool                // they are not all that the binaries have
}

// Build builds them in dir, of which it takes hold. root is the module's.
func Build(root, dir string) (*Binaries, error) {
	if err := build(root, dir, "tests"); err != nil {
		return nil, err
	}
	b := &Binaries{dir: dir, Tests: make(map[string][]string)}
	found, err := filepath.Glob(filepath.Join(dir, "tests", "*", "*.test"))
	if err != nil {
		return nil, fmt.Errorf("finding what was built: %w", err)
	}
	for _, path := range found {
		name := strings.TrimSuffix(filepath.Base(path), ".test")
		if b.Tests[name], err = list(path); err != nil {
			return nil, err
		}
	}
	if len(b.Tests) == 0 {
		return nil, fmt.Errorf("finding what was built: no test binaries in %s", dir)
	}
	return b, nil
}

// BuildBenchmark builds what Benchmark takes along, in dir.
func BuildBenchmark(root, dir string) error { return build(root, dir, "bench") }

// Benchmark returns what a machine needs to run the benchmark that was built in dir,
// with some arguments.
func Benchmark(dir string, arguments ...string) Cargo {
	return Cargo{
		Guest:     filepath.Join(dir, "guest"),
		Trees:     map[string]string{"bench": filepath.Join(dir, "bench")},
		Arguments: append([]string{"-program", "/bench/speed"}, arguments...),
	}
}

func build(root, dir, what string) error {
	cmd := exec.Command("scripts/vm/build.sh", dir, what)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building what runs in the guests: %w\n%s", err, out)
	}
	return nil
}

// selected returns the binaries of a boot with the tests that run there, or all if it names none.
func (b *Binaries) selected(by []Selection) (*Binaries, error) {
	if by == nil {
		return b, nil
	}
	some := &Binaries{dir: b.dir, Tests: make(map[string][]string)}
	for _, s := range by {
		tests, ok := b.Tests[s.Binary]
		if !ok {
			return nil, fmt.Errorf("choosing test binaries: there is no %s", s.Binary)
		}
		tests, err := matching(tests, s.Pattern)
		if err != nil {
			return nil, err
		}
		if len(tests) == 0 {
			return nil, fmt.Errorf("choosing tests: none of %s matches %s", s.Binary, s.Pattern)
		}
		some.Tests[s.Binary] = append(some.Tests[s.Binary], tests...)
		some.chosen = some.chosen || s.Pattern != ""
	}
	return some, nil
}

// matching returns the binaries that have tests of which the part of pattern before a
// slash matches the name, with those alone.
func (b *Binaries) matching(pattern string) (*Binaries, error) {
	if pattern == "" {
		return b, nil
	}
	names, _, _ := strings.Cut(pattern, "/") // the rest chooses among subtests
	some := &Binaries{dir: b.dir, Tests: make(map[string][]string), chosen: b.chosen}
	for binary, tests := range b.Tests {
		tests, err := matching(tests, names)
		if err != nil {
			return nil, err
		}
		if len(tests) > 0 {
			some.Tests[binary] = tests
		}
	}
	return some, nil
}

// matching returns the names that a pattern matches.
func matching(names []string, pattern string) (some []string, err error) {
	chosen, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("choosing tests: %w", err)
	}
	for _, name := range names {
		if chosen.MatchString(name) {
			some = append(some, name)
		}
	}
	return some, nil
}

// list asks a test binary for the tests that it runs by default.
func list(path string) ([]string, error) {
	cmd := exec.Command(path, "-test.list=^(Test|Fuzz|Example)")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the tests of %s: %w", path, err)
	}
	names := strings.Fields(string(out))
	if len(names) == 0 {
		return nil, fmt.Errorf("listing the tests of %s: it has none", path)
	}
	return names, nil
}

// cargo returns what a machine needs to run the binaries, each for at most the timeout.
// The pattern is that by which matching chose them.
func (b *Binaries) cargo(offers []string, pattern string, short bool, timeout time.Duration) (Cargo, error) {
	if strings.ContainsAny(pattern, "\" \t\n") {
		// The kernel would take its command line apart there.
		return Cargo{}, fmt.Errorf("choosing tests: the pattern %q has blanks or quotes", pattern)
	}
	if b.chosen {
		var names []string
		for _, tests := range b.Tests {
			names = append(names, tests...)
		}
		slices.Sort(names)
		_, subtests, _ := strings.Cut(pattern, "/")
		pattern = "^(" + strings.Join(slices.Compact(names), "|") + ")$"
		if subtests != "" {
			pattern += "/" + subtests
		}
	}
	c := Cargo{
		Guest: filepath.Join(b.dir, "guest"),
		Trees: make(map[string]string),
		Arguments: []string{
			"-require=" + strings.Join(offers, ","), "-run=" + pattern, fmt.Sprintf("-short=%v", short),
			"-timeout=" + timeout.String(), "/tests",
		},
	}
	for name := range b.Tests {
		c.Trees["tests/"+name] = filepath.Join(b.dir, "tests", name)
	}
	return c, nil
}

// Cargo is what a machine takes along, and what it is to do with that.
type Cargo struct {
	Guest     string            // the program of package guest
	Trees     map[string]string // directories there, and the directories here that they are copies of
	Arguments []string          // of the guest program
}

// writeImage writes the first file system of a guest: the cargo, a shell from busybox,
// and the modules of its kernel.
func (c Cargo) writeImage(w io.Writer, kernels string, boot Boot) error {
	busybox, err := os.ReadFile(filepath.Join(kernels, "busybox"))
	if err != nil {
		return err
	}
	guest, err := os.ReadFile(c.Guest)
	if err != nil {
		return err
	}
	module, err := os.ReadFile(filepath.Join(kernels, boot.Kernel, "overlay.ko"))
	if err != nil {
		return err
	}
	a := newArchive(w)
	a.file("init", 0o755, guest)
	a.file("bin/busybox", 0o755, busybox)
	for _, applet := range []string{"cat", "cp", "ln", "mv", "sed", "sh", "sleep", "touch"} {
		a.link("bin/"+applet, "busybox")
	}
	// busybox looks at the name it is run by, and tests copy this one to other names.
	a.file("bin/true", 0o755, trueProgram())
	a.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\n"))
	a.file("etc/os-release", 0o644, []byte("ID=guest\nNAME=guest\n"))
	a.file("modules/overlay.ko", 0o644, module)
	for _, dir := range []string{"root", "proc", "sys", "dev", "tmp", "run"} {
		a.directory(dir)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Trees)) {
		a.tree(name, os.DirFS(c.Trees[name]))
	}
	return a.close()
}

// trueProgram is a static program for x86-64 that ends at once with status 0: the
// headers of an ELF file and of its one segment, and exit_group(0).
func trueProgram() []byte {
	const base, headers = 0x400000, 64 + 56
	code := []byte{
		0x31, 0xff, // xor edi, edi
		0xb8, 231, 0, 0, 0, // mov eax, 231
		0x0f, 0x05, // syscall
	}
	var p bytes.Buffer
	le := func(n uint64, size int) {
		for range size {
			p.WriteByte(byte(n))
			n >>= 8
		}
	}
	p.WriteString("\x7fELF\x02\x01\x01")
	p.Write(make([]byte, 9))
	le(2, 2)            // executable
	le(62, 2)           // x86-64
	le(1, 4)            // version
	le(base+headers, 8) // entry
	le(64, 8)           // program headers begin here
	le(0, 8+4)          // no sections, no flags
	le(64, 2)           // size of this header
	le(56, 2)           // size of a program header
	le(1, 2)            // of which there is one
	le(0, 2+2+2)        // no sections
	size := uint64(headers + len(code))
	le(1, 4) // to be loaded
	le(5, 4) // to be read and executed
	le(0, 8)
	le(base, 8)
	le(base, 8)
	le(size, 8)
	le(size, 8)
	le(4096, 8)
	p.Write(code)
	return p.Bytes()
}
