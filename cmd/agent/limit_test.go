package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// limitedRule is numberedRule with a limit.
func limitedRule(id string, version int, limit string) string {
	return numberedRule(id, version) + "limit: " + limit + "\n"
}

// repeated is what tests look at of a record of repeats.
type repeated struct {
	Event   struct{ Kind, Action, Dataset, ID string }
	Rule    struct{ ID, Version string }
	Process struct {
		PID        int
		Executable string
	}
	Threat struct {
		Technique struct{ ID []string }
	}
	Bittern struct {
		Repeats struct {
			Count, Total, Max, Window int
			Over                      bool
			Per                       string
		}
	}
}

// apart takes records of repeats out of the output.
func apart(t *testing.T, output []string) (repeats []repeated, rest []string) {
	t.Helper()
	for _, line := range output {
		var r repeated
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if r.Event.Dataset == "bittern.repeats" {
			repeats = append(repeats, r)
		} else {
			rest = append(rest, line)
		}
	}
	return repeats, rest
}

// TestLimit starts more of a program than its rule's limit writes, edits the rule meanwhile, and stops. Each version counts
// for itself.
func TestLimit(t *testing.T) {
	cg, dir := newCgroup(t), t.TempDir()
	file := filepath.Join(dir, "limited.yml")
	write(t, file, limitedRule("LIMITED", 1, "{per: process, max: 3, window: 1h}"))
	p := start(t, "--rules", dir, "--cgroup", cg.path, "--output", "json", "--pins", "off")
	next := 0
	execute := func(times int) {
		for range times {
			next++
			cg.execute(t, next)
		}
	}
	execute(10)
	p.logged(t, "a limit was reached: detections are counted, not written", "rule_id", "LIMITED", "rule_version", 1.0, "limit", "3 per process in 1h")
	write(t, file, limitedRule("LIMITED", 2, "{per: user, max: 1, window: 24h}"))
	p.logged(t, "rule live", "rule_version", 2.0)
	execute(5)
	// It is not live any more: its window ends, long before the hour has passed.
	p.out.wait(t, "that version 1 held back 7", func(line string) bool {
		return strings.Contains(line, `"repeats":{"count":7,"total":7,"over":true`)
	})
	code, output := p.stop(t, syscall.SIGTERM)
	if code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	repeats, rest := apart(t, output)
	found := collect(t, rest)
	for n := 1; n <= next; n++ {
		want := n <= 3 || n == 11
		if (len(found[n]) == 1) != want || len(found[n]) > 1 {
			t.Errorf("execution %d: written %d times", n, len(found[n]))
		}
	}
	if len(repeats) != 2 {
		t.Fatalf("%d records of repeats: %+v", len(repeats), repeats)
	}
	first, second := repeats[0], repeats[1]
	if first.Event.Kind != "alert" || first.Rule.ID != "LIMITED" || first.Rule.Version != "1" || first.Process.PID != os.Getpid() ||
		first.Process.Executable != self(t) || len(first.Threat.Technique.ID) != 1 || first.Bittern.Repeats.Max != 3 || first.Bittern.Repeats.Window != 3600 {
		t.Errorf("first: %+v", first)
	}
	if n := second.Bittern.Repeats; second.Rule.Version != "2" || n.Count != 4 || n.Total != 4 || !n.Over || n.Per != "user" {
		t.Errorf("second: %+v", second)
	}
}

// TestKilledWhileRepeating kills agents at any moment while a rule with a limit matches each execution. What is written and what is
// counted are all executions: none is missing, and none is told twice. A rule without a limit says which ones there were.
func TestKilledWhileRepeating(t *testing.T) {
	r := newRestarts(t)
	write(t, filepath.Join(r.rules, "all.yml"), numberedRule("ALL", 1))
	write(t, filepath.Join(r.rules, "short.yml"), limitedRule("SHORT", 1, "{per: rule, max: 5, window: 1s}"))
	write(t, filepath.Join(r.rules, "long.yml"), limitedRule("LONG", 1, "{per: process, max: 4, window: 24h}"))
	edited := filepath.Join(r.rules, "edited.yml")
	write(t, edited, limitedRule("EDITED", 1, "{per: user, max: 2, window: 1h}"))
	begin := func() *process { return r.start(t, "--state", r.root) }
	p := begin()
	p.logged(t, "bittern is running")
	stop := r.cgroup.stream(t, nil)
	rnd := rand.New(rand.NewPCG(5, 6))
	running := 0
	for kill := range *kills {
		time.Sleep(time.Duration(rnd.IntN(2500)) * time.Millisecond)
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		p.end(t)
		all, _, _ := p.log.snapshot()
		log := strings.Join(all, "\n")
		if strings.Contains(log, "bittern is running") {
			running++
		}
		if strings.Contains(log, `"level":"ERROR"`) {
			t.Errorf("errors in the log:\n%s", log)
		}
		if kill%3 == 2 {
			write(t, edited, limitedRule("EDITED", kill, "{per: user, max: 2, window: 1h}"))
		}
		p = begin()
	}
	p.logged(t, "bittern is running")
	last := stop()
	if code, _ := p.stop(t, syscall.SIGTERM); code != 0 {
		all, _, _ := p.log.snapshot()
		t.Errorf("exit code %d, want 0:\n%s", code, strings.Join(all, "\n"))
	}
	if left, err := os.ReadDir(filepath.Join(r.root, "repeats")); err != nil || len(left) > 0 {
		t.Errorf("the agent has left a journal: %v, %v", left, err)
	}

	repeats, rest := apart(t, r.lines(t))
	written := make(map[string]int)
	for n, all := range collect(t, rest) {
		seen := make(map[string]bool)
		for _, d := range all {
			if seen[d.Rule.ID] {
				t.Errorf("execution %d: reported twice by %s", n, d.Rule.ID)
			}
			seen[d.Rule.ID] = true
			written[d.Rule.ID]++
		}
	}
	counted, ids := make(map[string]int), make(map[string]bool)
	for _, told := range repeats {
		if ids[told.Event.ID] {
			t.Errorf("told twice: %+v", told)
		}
		ids[told.Event.ID] = true
		counted[told.Rule.ID] += told.Bittern.Repeats.Count
	}
	for _, id := range []string{"ALL", "SHORT", "LONG", "EDITED"} {
		if written[id]+counted[id] != last {
			t.Errorf("%s: %d written and %d counted of %d", id, written[id], counted[id], last)
		}
	}
	if written["LONG"] != 4 {
		t.Errorf("LONG: %d written, want 4: its window goes on over restarts", written["LONG"])
	}
	t.Log(fmt.Sprintf("%d executions; killed %d times, %d of them while running; ", last, *kills, running), "written ", written, ", counted ", counted, fmt.Sprintf(" in %d records", len(repeats)))
}
