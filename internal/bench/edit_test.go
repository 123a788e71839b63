package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"bittern/internal/bench/subject"
	"bittern/internal/rules"
	"bittern/internal/rules/rulestest"
	"bittern/internal/rules/statefile"
)

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

// BenchmarkEditToLive edits one rule beside 4,096, of which none or each has a state, in turn by writing in place and by
// renaming over, while the tiny program is executed without a pause. It measures from
// the return of close(2) or rename(2) to the first execution judged by the new
// version, by the kernel's time of that execution. The executions are about half a
// millisecond apart, and the figure can't be finer than that.
func BenchmarkEditToLive(b *testing.B) {
	b.Run("no states", func(b *testing.B) { editToLive(b, func(*site) {}) })
	b.Run("states of all", func(b *testing.B) { editToLive(b, func(s *site) { s.giveStates(b) }) })
}

func editToLive(b *testing.B, prepare func(*site)) {
	s := newSite(b)
	prepare(s)
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
	b.ReportMetric(0, "ns/op") // says nothing: it is mostly the reading of detections
	report(b, "", took)
}

// report sorts times, and reports them in milliseconds.
func report(b *testing.B, what string, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(milliseconds(percentile(took, 0.5)), what+"p50-ms")
	b.ReportMetric(milliseconds(percentile(took, 0.99)), what+"p99-ms")
	b.ReportMetric(milliseconds(took[len(took)-1]), what+"max-ms")
}

var ruleID = regexp.MustCompile(`(?m)^rule_id: (\S+)$`)

// giveStates gives each rule of the corpus a state: one of two is disabled, the others are
// clipped, and half of the states expire some day.
func (s *site) giveStates(b *testing.B) {
	b.Helper()
	edits := make(map[string]rules.RuleState)
	for i, text := range rulestest.MixedCorpus(corpusSize) {
		state := rules.RuleState{State: rules.Disabled, Reason: "a reason of usual length", SetBy: "somebody", SetAt: time.Now()}
		if i%2 == 0 {
			state.State, state.ConfidenceMax = rules.Clipped, 0.25
		}
		if i%4 < 2 {
			state.ExpiresAt = time.Now().Add(1000 * time.Hour)
		}
		edits[ruleID.FindStringSubmatch(text)[1]] = state
	}
	if written, err := statefile.In(filepath.Join(s.state, "states")).Set(edits); err != nil || len(written.States) != corpusSize {
		b.Fatalf("%d states were written: %v", len(edits), err)
	}
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
