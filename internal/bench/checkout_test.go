package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// checkedOut is how many files differ between two versions of the rules.
const checkedOut = 1000

// BenchmarkCheckout has git check out another version of 1,000 rules of 4,096, each in a file of its
// own. It measures from the start of git, and from its end, until the agent has logged the last of them to be live.
func BenchmarkCheckout(b *testing.B) {
	s := newSite(b)
	git := func(args ...string) *exec.Cmd {
		cmd := exec.Command("git", append([]string{"-C", s.rules, "-c", "user.name=bench", "-c", "user.email=bench@localhost"}, args...)...)
		// Not by what the machine's owner has set up.
		cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1")
		return cmd
	}
	mustRun(b, git("init", "-q"))
	mustRun(b, git("add", "."))
	mustRun(b, git("commit", "-q", "-m", "one"))
	mustRun(b, git("tag", "v1"))
	for i := range checkedOut {
		file := filepath.Join(s.rules, fmt.Sprintf("c%04d.yml", i))
		text, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		writeFile(b, file, strings.Replace(string(text), "rule_version: 1\n", "rule_version: 2\n", 1))
	}
	mustRun(b, git("commit", "-q", "-a", "-m", "two"))

	live := make(chan time.Time, checkedOut)
	agent := s.startLogged(b, func(line string, at time.Time) {
		if strings.Contains(line, "rule live rule_id=") {
			live <- at
		}
	})
	var fromStart, fromEnd []time.Duration
	version := 2
	for b.Loop() {
		version = 3 - version
		checkout := git("checkout", "-q", "v1")
		if version == 2 {
			checkout = git("checkout", "-q", "-")
		}
		start := time.Now()
		mustRun(b, checkout)
		end := time.Now()
		var last time.Time
		for range checkedOut {
			select {
			case last = <-live:
			case <-time.After(time.Minute):
				b.Fatal("not all are live")
			}
		}
		fromStart, fromEnd = append(fromStart, last.Sub(start)), append(fromEnd, last.Sub(end))
	}
	stop(b, agent)
	b.ReportMetric(0, "ns/op")
	report(b, "", fromStart)
	report(b, "after-git-", fromEnd)
}
