package vm

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Mark begins each line by which the guest says where it is: the mark, a word and
// its value. The words, in the order in which they come:
//
//	release  the kernel's release
//	lsm      the security modules that are active
//	cpus     how many CPUs there are
//	nohz     those of them that do without ticks, as the kernel lists them
//	start    the name of the test binary, or of another program, that is about to run
//	end      how it ended: "ok", or why not
//	done     nothing comes after this
//
// Between start and end comes what the program prints, with -test.v=test2json if it
// is a test binary.
const Mark = "#guest "

// Report is what came back from a guest.
type Report struct {
	Release string
	LSM     string
	CPUs    string
	NoHZ    string
	Tests   map[string]*Test // by "binary/TestName"; subtests are not listed
	// Ends holds how each binary ended that did.
	Ends map[string]string
	// Printed is what came from the binaries outside of their tests.
	Printed string
	Done    bool
}

// Test is how one test ended.
type Test struct {
	Outcome Outcome
	Took    time.Duration
	Output  string // of the test and of its subtests
}

// Outcome is how a test ended; the values are those that package testing prints.
type Outcome string

// A test that Started did not end.
const (
	Started Outcome = "STARTED"
	Pass    Outcome = "PASS"
	Fail    Outcome = "FAIL"
	Skip    Outcome = "SKIP"
)

// With -test.v=test2json, a line that the testing package prints about a test
// begins with this byte, even if the test has left its own line unfinished.
const controlByte = "\x16"

var (
	// "=== RUN   TestA/sub", also CONT, PAUSE and NAME
	beginning = regexp.MustCompile(`^=== (?:RUN|CONT|PAUSE|NAME) +(\S*)`)
	// "--- PASS: TestA (0.10s)"; a subtest's line may be indented
	ending = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)`)
)

// ParseReport reads what a guest wrote. It never fails for what is in it: a machine
// that died in the middle leaves half a report, and Problems says so.
func ParseReport(from io.Reader) (*Report, error) {
	r := &Report{Tests: make(map[string]*Test), Ends: make(map[string]string)}
	lines := bufio.NewReader(from)
	binary, current := "", ""
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return r, nil // a line without an end was cut off
		}
		if err != nil {
			return nil, fmt.Errorf("reading the guest's report: %w", err)
		}
		line = strings.TrimRight(line, "\r\n")
		if word, ok := strings.CutPrefix(line, Mark); ok {
			word, value, _ := strings.Cut(word, " ")
			switch word {
			case "release":
				r.Release = value
			case "lsm":
				r.LSM = value
			case "cpus":
				r.CPUs = value
			case "nohz":
				r.NoHZ = value
			case "start":
				binary, current = value, ""
			case "end":
				r.Ends[binary] = value
			case "done":
				r.Done = true
			}
			continue
		}
		current = r.testLine(binary, current, line)
	}
}

// testLine takes a line of a binary's output, and returns the test that the lines
// after it are about.
func (r *Report) testLine(binary, current, line string) string {
	text, control, marked := strings.Cut(line, controlByte)
	if !marked {
		control = ""
	}
	if text != "" {
		if t := r.Tests[current]; t != nil {
			t.Output += text + "\n"
		} else {
			r.Printed += text + "\n"
		}
	}
	if m := beginning.FindStringSubmatch(control); m != nil {
		name, _, _ := strings.Cut(m[1], "/")
		if name == "" {
			return ""
		}
		current = binary + "/" + name
		if r.Tests[current] == nil {
			r.Tests[current] = &Test{Outcome: Started}
		}
		return current
	}
	m := ending.FindStringSubmatch(strings.TrimLeft(control, " "))
	if m == nil {
		return current
	}
	name, _, sub := strings.Cut(m[2], "/")
	t := r.Tests[binary+"/"+name]
	switch {
	case t == nil: // it has not begun: not a line of the testing package
	case sub:
		t.Output += control + "\n"
	default:
		t.Outcome = Outcome(m[1])
		seconds, _ := strconv.ParseFloat(m[3], 64)
		t.Took = time.Duration(seconds * float64(time.Second))
	}
	return current
}

// Problem says why a test did not pass, or what is wrong with a whole binary or
// machine, if Test is "".
type Problem struct{ Test, Text string }

// Expectation is what must be in a report.
type Expectation struct {
	Release string
	Tests   map[string][]string // names of the tests of each binary
	Offers  []string            // see Boot
	CPUs    int
	NoHZ    string // CPUs that do without ticks; "" is any
}

// Summary counts tests.
type Summary struct{ Expected, Passed, Skipped int }

// Judge holds the report against what must be in it. Each expected test must have
// passed, or skipped for a reason that its machine may give.
func (r *Report) Judge(want Expectation) (sum Summary, problems []Problem) {
	add := func(test, format string, args ...any) {
		problems = append(problems, Problem{test, fmt.Sprintf(format, args...)})
	}
	if r.Release != want.Release {
		add("", "the guest ran kernel %q, want %q", r.Release, want.Release)
	}
	if r.CPUs != strconv.Itoa(want.CPUs) {
		add("", "the guest had %q CPUs, want %d", r.CPUs, want.CPUs)
	}
	if want.NoHZ != "" && r.NoHZ != want.NoHZ {
		add("", "CPUs %q of the guest did without ticks, want %s", r.NoHZ, want.NoHZ)
	}
	if !r.Done {
		add("", "the guest did not come to its end")
	}
	for _, binary := range slices.Sorted(maps.Keys(want.Tests)) {
		if end := r.Ends[binary]; end != "ok" {
			add("", "%s: %s", binary, or(end, "it did not end"))
		}
		for _, name := range want.Tests[binary] {
			sum.Expected++
			id := binary + "/" + name
			t := r.Tests[id]
			if t == nil {
				add(id, "it did not run")
				continue
			}
			switch t.Outcome {
			case Pass:
				sum.Passed++
			case Skip:
				if reason := unfoundedSkip(t.Output, want); reason != "" {
					add(id, "%s\n%s", reason, t.Output)
					continue
				}
				sum.Skipped++
			case Started:
				add(id, "it did not end\n%s", t.Output)
			case Fail:
				add(id, "it failed\n%s", t.Output)
			}
		}
	}
	if sum.Expected == 0 {
		add("", "no tests were expected")
	}
	return sum, problems
}

// The words that package require skips with.
var (
	needsKernel = regexp.MustCompile(`: needs Linux ([0-9.]+)`)
	needsOther  = regexp.MustCompile(`: needs ([a-z]+):`)
)

// unfoundedSkip returns what is wrong with a skip: a test may skip for a kernel
// newer than the guest's, or for a need that the guest does not offer.
func unfoundedSkip(output string, want Expectation) string {
	if m := needsKernel.FindStringSubmatch(output); m != nil {
		if olderThan(want.Release, m[1]) {
			return ""
		}
		return fmt.Sprintf("it skipped for want of Linux %s on %s", m[1], want.Release)
	}
	m := needsOther.FindStringSubmatch(output)
	switch {
	case m == nil:
		return "it skipped for a reason that package require does not know"
	case slices.Contains(want.Offers, m[1]):
		return "it skipped for want of " + m[1] + ", which the machine offers"
	}
	return ""
}

// olderThan compares major and minor version. What is no version is not older.
func olderThan(release, version string) bool {
	var have, want [2]int
	for text, to := range map[string]*[2]int{release: &have, version: &want} {
		if n, _ := fmt.Sscanf(text, "%d.%d", &to[0], &to[1]); n != 2 {
			return false
		}
	}
	return slices.Compare(have[:], want[:]) < 0
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
