package vm

import (
	"fmt"
	"strings"
	"testing"
)

// healthy is what a guest with two binaries writes when all is well.
const healthy = `#guest release 6.1.0-50-amd64
#guest lsm lockdown,bpf
#guest cpus 2
#guest nohz (null)
#guest start a
^=== RUN   TestOne
^=== RUN   TestOne/sub
text of sub without an end^--- PASS: TestOne/sub (0.10s)
^--- PASS: TestOne (0.25s)
^=== RUN   TestTwo
    two_test.go:7: needs Linux 6.4, this is 6.1.0-50-amd64
^--- SKIP: TestTwo (0.00s)
^PASS
#guest end ok
#guest start b
^=== RUN   TestOne
    one_test.go:9: needs lsm: looking for bpf among the security modules: they are yama (set BITTERN_REQUIRE=lsm to fail instead)
^--- SKIP: TestOne (0.00s)
^=== RUN   FuzzIt
^--- PASS: FuzzIt (1.00s)
^PASS
#guest end ok
#guest done` + " \n"

func judge(t *testing.T, text string, change func(*Expectation)) (Summary, []Problem) {
	t.Helper()
	r, err := ParseReport(strings.NewReader(strings.NewReplacer("^", controlByte, "\n", "\r\n").Replace(text)))
	if err != nil {
		t.Fatal(err)
	}
	want := Expectation{
		Release: "6.1.0-50-amd64", Offers: []string{"root", "bpf"}, CPUs: 2,
		Tests: map[string][]string{"a": {"TestOne", "TestTwo"}, "b": {"TestOne", "FuzzIt"}},
	}
	if change != nil {
		change(&want)
	}
	return r.Judge(want)
}

func TestHealthyReport(t *testing.T) {
	sum, problems := judge(t, healthy, nil)
	if want := (Summary{Expected: 4, Passed: 2, Skipped: 2}); sum != want || len(problems) > 0 {
		t.Errorf("got %+v, %q; want %+v", sum, problems, want)
	}
}

// TestReportWithProblems holds reports that are no pass against the first problem that
// each must give.
func TestReportWithProblems(t *testing.T) {
	cut := func(behind string) string {
		before, _, ok := strings.Cut(healthy, behind)
		if !ok {
			t.Fatalf("%q is not in the report", behind)
		}
		return before
	}
	change := strings.ReplaceAll
	for name, tc := range map[string]struct {
		text   string
		change func(*Expectation)
		want   string
	}{
		"dead before it began":             {"", nil, `{ the guest ran kernel "", want "6.1.0-50-amd64"}`},
		"dead at the end":                  {cut("#guest done"), nil, "{ the guest did not come to its end}"},
		"dead in a test":                   {cut("^--- PASS: FuzzIt"), nil, "{b/FuzzIt it did not end"},
		"line cut off":                     {cut("(1.00s)"), nil, "{b/FuzzIt it did not end"},
		"dead between binaries":            {cut("#guest start b"), nil, "{b/FuzzIt it did not run}"},
		"another kernel":                   {healthy, func(e *Expectation) { e.Release = "6.12.1" }, `{ the guest ran kernel "6.1.0-50-amd64", want "6.12.1"}`},
		"fewer CPUs":                       {change(healthy, "cpus 2", "cpus 1"), nil, `{ the guest had "1" CPUs, want 2}`},
		"ticks everywhere":                 {healthy, func(e *Expectation) { e.NoHZ = "1" }, `{ CPUs "(null)" of the guest did without ticks, want 1}`},
		"fewer passes":                     {healthy, func(e *Expectation) { e.Tests["a"] = append(e.Tests["a"], "TestThree") }, "{a/TestThree it did not run}"},
		"a binary that is not there":       {healthy, func(e *Expectation) { e.Tests["c"] = []string{"TestC"} }, "{ c: it did not end}"},
		"nothing expected":                 {healthy, func(e *Expectation) { e.Tests = nil }, "{ no tests were expected}"},
		"failed":                           {change(healthy, "PASS: FuzzIt", "FAIL: FuzzIt"), nil, "{b/FuzzIt it failed"},
		"exit status":                      {change(healthy, "^PASS\n#guest end ok\n#guest done", "#guest end exit status 2\n#guest done"), nil, "{ b: exit status 2}"},
		"skipped on a new enough kernel":   {change(healthy, "Linux 6.4", "Linux 5.18"), nil, "{a/TestTwo it skipped for want of Linux 5.18 on 6.1.0-50-amd64"},
		"skipped for what is offered":      {healthy, func(e *Expectation) { e.Offers = []string{"lsm"} }, "{b/TestOne it skipped for want of lsm"},
		"skipped for no good reason":       {change(healthy, "needs Linux 6.4", "too lazy"), nil, "{a/TestTwo it skipped for a reason that package require does not know"},
		"a pass that is printed, not made": {change(healthy, "^--- PASS: FuzzIt", "--- PASS: FuzzIt"), nil, "{b/FuzzIt it did not end"},
	} {
		_, problems := judge(t, tc.text, tc.change)
		if !strings.Contains(fmt.Sprint(problems), tc.want) {
			t.Errorf("%s: got %q, want %s...", name, problems, tc.want)
		}
	}
}

// TestFailureShowsItsOutput expects the lines of subtests under the test that failed.
func TestFailureShowsItsOutput(t *testing.T) {
	_, problems := judge(t, strings.Replace(healthy, "PASS: TestOne (", "FAIL: TestOne (", 1), nil)
	if len(problems) != 1 || !strings.Contains(problems[0].Text, "text of sub without an end\n--- PASS: TestOne/sub (0.10s)") {
		t.Errorf("got %q", problems)
	}
}
