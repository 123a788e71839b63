package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bittern/internal/bench/subject"
)

// Of the list whose edits are measured.
const (
	listValues = 10_000
	listRules  = 4 // that use it
)

// listProbe is a rule that matches the tiny program with an argument that the list has.
func listProbe(id int) string {
	return strings.Replace(strings.Replace(probe(1), "{process.command_line|contains: probe}", "{process.command_line|endswith: {list: words}}", 1),
		"PROBE", fmt.Sprintf("LIST%d", id), 1)
}

func word(n int) string { return fmt.Sprintf("/word-%05d", n) }

// BenchmarkListToLive adds a value to a list of 10,000 that four rules use, beside 4,096 others, in turn by
// writing in place and by renaming over, while the tiny program is executed with that value
// without a pause. It measures from the return of close(2) or rename(2) to the first execution that
// the rules judged by the new list. Mixed are executions that some of them judged by
// the old one.
func BenchmarkListToLive(b *testing.B) {
	s := newSite(b)
	var list strings.Builder
	for n := range listValues {
		fmt.Fprintf(&list, "- %s\n", word(n))
	}
	if err := os.Mkdir(filepath.Join(s.rules, "lists"), 0o755); err != nil {
		b.Fatal(err)
	}
	file := filepath.Join(s.rules, "lists", "words.yml")
	writeFile(b, file, list.String())
	for id := range listRules {
		writeFile(b, filepath.Join(s.rules, fmt.Sprintf("list%d.yml", id)), listProbe(id))
	}
	writeFile(b, filepath.Join(s.rules, "probe.yml"), probe(1))
	agent := s.start(b)
	var took []time.Duration
	mixed, n := 0, listValues
	for b.Loop() {
		s.judged(b, agent, word(n)) // not yet
		fmt.Fprintf(&list, "- %s\n", word(n))
		edited := make(chan time.Time, 1)
		go func(text string, inPlace bool) { edited <- edit(b, file, text, inPlace) }(list.String(), n%2 == 0)
		for {
			at, by := s.judged(b, agent, word(n))
			if by == listRules {
				took = append(took, at.Sub(<-edited))
				break
			}
			if by > 0 {
				mixed++
			}
		}
		n++
	}
	rss, err := agent.RSS()
	if err != nil {
		b.Fatal(err)
	}
	stop(b, agent)
	b.ReportMetric(0, "ns/op") // says nothing: it is mostly the reading of detections
	report(b, "", took)
	b.ReportMetric(float64(mixed), "mixed")
	b.ReportMetric(float64(rss)/(1<<20), "RSS-MiB")
	if mixed > 0 {
		b.Errorf("%d executions were judged by two versions of the list", mixed)
	}
}

// judged executes the tiny program with an argument, and returns when that was and how many rules of
// the list detected it. A second execution shows that there are no more to come: the rule of probe
// detects both.
func (s *site) judged(b *testing.B, agent *subject.Agent, arg string) (at time.Time, by int) {
	b.Helper()
	s.execute(b, "probe", arg)
	s.execute(b, "probe")
	for probes := 0; probes < 2; {
		d, ok := next(b, agent, true)
		switch {
		case !ok:
			b.Fatal("the agent has ended")
		case d.Rule.ID != "PROBE":
			by++
		case probes == 0:
			at = d.Time
			fallthrough
		default:
			probes++
		}
	}
	return at, by
}
