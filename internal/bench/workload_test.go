package bench

import (
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"bittern/internal/bench/subject"
	"bittern/internal/require"
)

// workload builds the program of workload.c, and returns it ready to run in the cgroup.
func (s *site) workload(b *testing.B) subject.Workload {
	b.Helper()
	root, err := require.Module()
	if err != nil {
		b.Fatal(err)
	}
	program := filepath.Join(b.TempDir(), "workload")
	mustRun(b, exec.Command("gcc", "-O2", "-static", "-o", program,
		filepath.Join(root, "internal", "bench", "workload", "workload.c")))
	return subject.Workload{
		Program: program, CPU: -1, Batch: 200 * time.Millisecond, Batches: 5,
		Within: syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(s.within.Fd())},
	}
}

// comparison is what a call costs without an agent and with one, in turn.
type comparison struct{ without, with, ratios []float64 }

// compare measures without an agent, with one, and without again. What it does with the
// agent besides is up to during.
func (c *comparison) compare(b *testing.B, s *site, w subject.Workload, k subject.Kind, during func(*subject.Agent)) {
	b.Helper()
	cost := func() float64 {
		ns, err := w.Cost(k)
		if err != nil {
			b.Fatal(err)
		}
		return ns
	}
	before := cost()
	agent := s.startRested(b)
	with := cost()
	during(agent)
	stop(b, agent)
	after := cost()
	c.without, c.with = append(c.without, before, after), append(c.with, with)
	c.ratios = append(c.ratios, with/((before+after)/2))
}

func (c *comparison) report(b *testing.B) {
	b.Helper()
	for _, values := range [][]float64{c.without, c.with, c.ratios} {
		slices.Sort(values)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(c.without[len(c.without)/2], "ns-without")
	b.ReportMetric(c.with[len(c.with)/2], "ns-with")
	b.ReportMetric(c.ratios[len(c.ratios)/2], "median-ratio")
	b.ReportMetric(c.with[0]/c.without[0], "ratio-of-minima")
}

// BenchmarkConnect measures connecting to the loopback device and closing, with and
// without the agent, in turn.
func BenchmarkConnect(b *testing.B) {
	s := newSite(b)
	w := s.workload(b)
	var c comparison
	for b.Loop() {
		c.compare(b, s, w, subject.Kind{Name: "connect"}, func(*subject.Agent) {})
	}
	c.report(b)
}

// busyTime is how long a busy host is watched: the agent's time is known to 10 ms.
const busyTime = 4 * time.Second

// BenchmarkBusyHost opens and closes a file as fast as one program can, which no rule
// matches. It measures what that costs with and without the agent, in turn, and the CPU
// time of the agent meanwhile.
func BenchmarkBusyHost(b *testing.B) {
	s := newSite(b)
	w := s.workload(b)
	busy := w
	busy.Batch, busy.Batches = busyTime, 1
	open := subject.Kind{Name: "open", Argument: filepath.Join(b.TempDir(), "quarterly-report-number-0042.txt")}
	writeFile(b, open.Argument, "42\n")
	var c comparison
	var user, total, watched time.Duration
	var rates []float64
	for b.Loop() {
		c.compare(b, s, w, open, func(agent *subject.Agent) {
			userBefore, systemBefore := cpu(b, agent)
			begin := time.Now()
			cost, err := busy.Cost(open)
			if err != nil {
				b.Fatal(err)
			}
			watched += time.Since(begin)
			userAfter, systemAfter := cpu(b, agent)
			user += userAfter - userBefore
			total += userAfter - userBefore + systemAfter - systemBefore
			rates = append(rates, 1e9/cost)
		})
	}
	c.report(b)
	slices.Sort(rates)
	b.ReportMetric(rates[len(rates)/2], "opens/s")
	b.ReportMetric(100*user.Seconds()/watched.Seconds(), "user-%CPU")
	b.ReportMetric(100*total.Seconds()/watched.Seconds(), "agent-%CPU")
}

func cpu(b *testing.B, agent *subject.Agent) (user, system time.Duration) {
	b.Helper()
	user, system, err := agent.CPU()
	if err != nil {
		b.Fatal(err)
	}
	return user, system
}
