package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"bittern/internal/bench/subject"
)

// percentile of sorted values, p from 0 to 1.
func percentile(sorted []time.Duration, p float64) time.Duration {
	return sorted[min(len(sorted)-1, int(p*float64(len(sorted))))]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// probe is a rule that matches the tiny program.
func probe(version int) string {
	return fmt.Sprintf(`rule_id: PROBE
rule_version: %d
name: probe
applies_to: [process_exec]
match:
  image: {process.name: tiny}
  words: {process.command_line|contains: probe}
  condition: image and words
emits:
  - {tactic: TA0002, technique_id: T1059, confidence: 1}
`, version)
}

// BenchmarkEditToLive edits one rule among 4,096, in turn by writing in place and by
// renaming over, while the tiny program is executed without a pause. It measures from
// the return of close(2) or rename(2) to the first execution judged by the new
// version, by the kernel's time of that execution. The executions are about half a
// millisecond apart, and the figure can't be finer than that.
func BenchmarkEditToLive(b *testing.B) {
	s := newSite(b)
	file := filepath.Join(s.rules, "probe.yml")
	writeFile(b, file, probe(1))
	agent := s.start(b)
	var took []time.Duration
	version := 1
	for b.Loop() {
		version++
		done := edit(b, file, probe(version), version%2 == 0)
		took = append(took, s.firstBy(b, agent, version).Sub(done))
	}
	stop(b, agent)
	slices.Sort(took)
	b.ReportMetric(0, "ns/op") // says nothing: it is mostly the reading of detections
	b.ReportMetric(milliseconds(percentile(took, 0.5)), "p50-ms")
	b.ReportMetric(milliseconds(percentile(took, 0.99)), "p99-ms")
	b.ReportMetric(milliseconds(took[len(took)-1]), "max-ms")
}

// edit changes the file and returns the moment at which that was done.
func edit(b *testing.B, file, text string, inPlace bool) time.Time {
	b.Helper()
	if inPlace {
		writeFile(b, file, text)
		return time.Now()
	}
	scratch := file + ".tmp" // not a name of a rule file
	writeFile(b, scratch, text)
	if err := os.Rename(scratch, file); err != nil {
		b.Fatal(err)
	}
	return time.Now()
}

// firstBy executes the tiny program until a version of the probe has judged it, and
// returns the time of the first execution that it judged. Versions that go back, or
// executions that none or two of them judge, end the benchmark.
func (s *site) firstBy(b *testing.B, agent *subject.Agent, version int) time.Time {
	b.Helper()
	executed, seen, last := 0, 0, 0
	var first time.Time
	for first.IsZero() || seen < executed {
		if first.IsZero() {
			s.execute(b, "probe")
			executed++
		}
		for wait := !first.IsZero(); ; wait = false {
			d, ok := next(b, agent, wait)
			if !ok {
				break
			}
			seen++
			v, err := strconv.Atoi(d.Rule.Version)
			if err != nil || v < last || v > version {
				b.Fatalf("version %q after version %d", d.Rule.Version, last)
			}
			if last = v; v == version && first.IsZero() {
				first = d.Time
			}
			if seen == executed {
				break
			}
		}
	}
	if seen != executed {
		b.Fatalf("%d detections of %d executions", seen, executed)
	}
	return first
}

// next returns the next detection; if there is none it waits for one, or not.
func next(b *testing.B, agent *subject.Agent, wait bool) (subject.Detection, bool) {
	b.Helper()
	if !wait {
		select {
		case d, ok := <-agent.Detections:
			return d, ok
		default:
			return subject.Detection{}, false
		}
	}
	select {
	case d, ok := <-agent.Detections:
		return d, ok
	case <-time.After(10 * time.Second):
		b.Fatal("an execution was not detected")
		return subject.Detection{}, false
	}
}

// BenchmarkExec measures fork, exec and wait of the tiny program, in turn with the
// agent on 4,096 rules of which none matches, and without it.
func BenchmarkExec(b *testing.B) {
	s := newSite(b)
	const runs = 400
	var with, without []time.Duration
	var ratios []float64
	measure := func() []time.Duration {
		for range runs / 4 { // to warm up
			s.execute(b, "nothing")
		}
		took := make([]time.Duration, runs)
		for i := range took {
			begin := time.Now()
			s.execute(b, "nothing")
			took[i] = time.Since(begin)
		}
		slices.Sort(took)
		return took
	}
	for b.Loop() {
		off := measure()
		agent := s.startRested(b)
		on := measure()
		stop(b, agent)
		without, with = append(without, percentile(off, 0.5)), append(with, percentile(on, 0.5))
		ratios = append(ratios, float64(percentile(on, 0.5))/float64(percentile(off, 0.5)))
	}
	slices.Sort(with)
	slices.Sort(without)
	slices.Sort(ratios)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(percentile(without, 0.5))/1e3, "us-without")
	b.ReportMetric(float64(percentile(with, 0.5))/1e3, "us-with")
	b.ReportMetric(ratios[len(ratios)/2], "median-ratio")
	b.ReportMetric(float64(with[0])/float64(without[0]), "ratio-of-minima")
}

// BenchmarkStart measures the start of the agent on 4,096 rules, from fork to all of
// them live, and the memory that it has once it is at rest.
func BenchmarkStart(b *testing.B) {
	s := newSite(b)
	var took []time.Duration
	var rss, maps, programs int64
	for b.Loop() {
		agent := s.startRested(b)
		took = append(took, agent.StartUp)
		resident, err := agent.RSS()
		if err != nil {
			b.Fatal(err)
		}
		inMaps, inPrograms, err := agent.KernelMemory()
		if err != nil {
			b.Fatal(err)
		}
		rss, maps, programs = max(rss, resident), max(maps, inMaps), max(programs, inPrograms)
		stop(b, agent)
	}
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(milliseconds(percentile(took, 0.5)), "median-ms")
	b.ReportMetric(milliseconds(took[len(took)-1]), "max-ms")
	b.ReportMetric(float64(rss)/(1<<20), "RSS-MiB")
	b.ReportMetric(float64(maps)/(1<<20), "map-MiB")
	b.ReportMetric(float64(programs)/(1<<20), "program-MiB")
}
