package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestEditsGoLive edits a rule in each style. After the log says that a version is
// live, each execution is reported by exactly that version, once.
func TestEditsGoLive(t *testing.T) {
	cg, dir := newCgroup(t), t.TempDir()
	file := filepath.Join(dir, "numbered.yml")
	write(t, file, numberedRule("LIVE", 1))
	p := start(t, "--rules", dir, "--cgroup", cg.path)

	want, pids := make(map[int]int), make(map[int]int) // by number of the execution
	next := 0
	execute := func(version int) {
		for range 3 {
			next++
			want[next], pids[next] = version, cg.execute(t, next)
		}
	}
	execute(1)
	for i, edit := range []func(content string){
		func(content string) { write(t, file, content) },
		func(content string) { replace(t, file, content) },
		func(string) { sed(t, file, "s/rule_version: 3/rule_version: 4/") },
		func(content string) { backup(t, file, content) },
	} {
		version := i + 2
		edit(numberedRule("LIVE", version))
		p.logged(t, "rule live", "rule_id", "LIVE", "rule_version", float64(version), "replaces_version", float64(version-1), "kernel", "narrowed")
		execute(version)
	}

	write(t, file, strings.Replace(numberedRule("LIVE", 6), "condition:", "conditoin:", 1))
	rejected := p.logged(t, "rule file rejected", "rule_id", "LIVE", "stays_live", "version 5")
	if problem := fmt.Sprint(rejected["problem"]); !strings.HasPrefix(problem, file+":8:3: ") {
		t.Errorf("the problem does not say where: %q", problem)
	}
	execute(5)
	write(t, file, numberedRule("LIVE", 6)+"  - [")
	whole := p.logged(t, "rule file rejected", "stays_live", "LIVE version 5")
	if problem := fmt.Sprint(whole["problem"]); !regexp.MustCompile(`^` + regexp.QuoteMeta(file) + `:\d+`).MatchString(problem) {
		t.Errorf("the problem does not say where: %q", problem)
	}
	execute(5)
	write(t, file, numberedRule("LIVE", 6))
	p.logged(t, "rule live", "rule_version", 6.0)
	execute(6)

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	p.logged(t, "rule deleted", "rule_id", "LIVE", "rule_version", 6.0)
	execute(0)
	write(t, file, numberedRule("LIVE", 7))
	p.logged(t, "rule live", "rule_version", 7.0)
	execute(7)

	code, output := p.stop(t, syscall.SIGTERM)
	if code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	found := collect(t, output)
	for n, version := range want {
		switch {
		case version == 0 && len(found[n]) > 0:
			t.Errorf("execution %d: reported, after the rule was deleted", n)
		case version != 0 && len(found[n]) != 1:
			t.Errorf("execution %d: reported %d times, want once", n, len(found[n]))
		case version != 0:
			if r := found[n][0]; r.version(t) != version || r.Process.PID != pids[n] {
				t.Errorf("execution %d, pid %d: reported by version %s with pid %d, want version %d", n, pids[n], r.Rule.Version, r.Process.PID, version)
			}
		}
	}
}

// TestDetectionIsComplete looks at one detection.
func TestDetectionIsComplete(t *testing.T) {
	cg, dir := newCgroup(t), t.TempDir()
	p := start(t, "--rules", dir, "--cgroup", cg.path, "--output", "json")
	write(t, filepath.Join(dir, "late.yml"), numberedRule("LATE", 3)) // dropped in while it runs
	p.logged(t, "rule live", "rule_id", "LATE")
	cg.execute(t, 1)
	r := parse(t, p.out.wait(t, "alert", func(string) bool { return true }))
	if r.Rule.ID != "LATE" || r.Rule.Version != "3" || r.Rule.Name != "a numbered program" {
		t.Errorf("rule: %+v", r.Rule)
	}
	for name, pair := range map[string][2][]string{
		"tactic":       {r.Threat.Tactic.Name, {"Command and Control"}},
		"technique":    {r.Threat.Technique.Name, {"Ingress Tool Transfer"}},
		"subtechnique": {r.Threat.Technique.SubTechnique.Name, {"Unix Shell"}},
	} {
		if strings.Join(pair[0], "|") != strings.Join(pair[1], "|") {
			t.Errorf("%s: got %q, want %q", name, pair[0], pair[1])
		}
	}
	if r.User.ID != "0" || r.User.Name != "root" {
		t.Errorf("user: %+v", r.User)
	}
	if r.Process.Parent.PID != os.Getpid() || r.Process.Parent.EntityID == "" || r.Process.EntityID == "" || r.Host.Hostname == "" || r.Event.ID == "" {
		t.Errorf("incomplete: %+v", r)
	}
	if code, output := p.stop(t, syscall.SIGINT); code != 0 || len(output) != 1 {
		t.Errorf("exit code %d, %d lines; want 0 and 1", code, len(output))
	}
}

// TestContinuousEdits edits a rule again and again under a stream of executions.
func TestContinuousEdits(t *testing.T) {
	const edits, between, least = 20, 15, 300
	cg, dir := newCgroup(t), t.TempDir()
	file := filepath.Join(dir, "numbered.yml")
	write(t, file, numberedRule("STREAM", 1))
	p := start(t, "--rules", dir, "--cgroup", cg.path)

	edited := make(chan struct{})
	floor := make(chan int)    // versions that are live by now
	ran := make(chan struct{}) // an execution has ended
	executed := make(chan []int)
	go func() { // executes, and notes the least version that may report each
		var atLeast []int
		version, finished := 1, false
		for !finished || len(atLeast) < least {
			select {
			case version = <-floor:
			case <-edited:
				finished, edited = true, nil
			default:
				atLeast = append(atLeast, version)
				cg.execute(t, len(atLeast)-1)
				select {
				case ran <- struct{}{}:
				default: // the edit goes on beside the stream
				}
			}
		}
		executed <- atLeast
	}()
	stream := func() { // goes on for a while
		for range between {
			<-ran
		}
	}
	for version := 2; version < 2+edits; version++ {
		stream()
		if version%2 == 0 {
			write(t, file, numberedRule("STREAM", version))
		} else {
			replace(t, file, numberedRule("STREAM", version))
		}
		p.logged(t, "rule live", "rule_version", float64(version))
		floor <- version
	}
	stream()
	close(edited)
	atLeast := <-executed
	code, output := p.stop(t, syscall.SIGTERM)
	if code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	found, last, versions := collect(t, output), 1, make(map[int]int)
	for n, least := range atLeast {
		if len(found[n]) != 1 {
			t.Errorf("execution %d: reported %d times, want once", n, len(found[n]))
			continue
		}
		version := found[n][0].version(t)
		if version < last || version < least {
			t.Errorf("execution %d: reported by version %d, want at least %d", n, version, max(last, least))
		}
		last = version
		versions[version]++
	}
	if len(found) != len(atLeast) {
		t.Errorf("%d executions reported, want %d", len(found), len(atLeast))
	}
	if last != 1+edits {
		t.Errorf("the last version to report was %d, want %d", last, 1+edits)
	}
	t.Logf("%d executions, by version: %v", len(atLeast), versions)
}

// TestFirstSteps does what the README proposes, on the rules in the binary.
func TestFirstSteps(t *testing.T) {
	cg := newCgroup(t)
	p := start(t, "--cgroup", cg.path)
	dir, ok := p.logged(t, "shipped rules written: edit them, changes go live at once")["dir"].(string)
	if !ok {
		t.Fatal("the log does not say where the rules are")
	}
	file := filepath.Join(dir, "hidden_program.yml")
	place, err := os.MkdirTemp("/tmp", "bittern-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(place) })
	hidden := filepath.Join(place, ".hidden")
	if out, err := exec.Command("cp", "/bin/true", hidden).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	expect := func(version string) {
		t.Helper()
		cg.run(t, hidden)
		line := p.out.wait(t, "version "+version, func(line string) bool { return parse(t, line).Rule.Version == version })
		if r := parse(t, line); r.Rule.ID != "BT0001" || strings.Join(r.Threat.Technique.SubTechnique.Name, "") != "Hidden Files and Directories" {
			t.Errorf("unexpected detection: %s", line)
		}
	}
	expect("1")
	sed(t, file, "s/rule_version: 1/rule_version: 2/")
	p.logged(t, "rule live", "rule_id", "BT0001", "rule_version", 2.0)
	expect("2")
	sed(t, file, "s/rule_version: 2/rule_version: x/")
	rejected := p.logged(t, "rule file rejected", "rule_id", "BT0001", "stays_live", "version 2")
	if problem := fmt.Sprint(rejected["problem"]); !strings.HasPrefix(problem, file+":2:15: ") {
		t.Errorf("the problem does not say where: %q", problem)
	}
	cg.run(t, hidden)
	code, output := p.stop(t, syscall.SIGTERM)
	if code != 0 || len(output) != 3 {
		t.Fatalf("exit code %d, %d detections; want 0 and 3", code, len(output))
	}
	if last := parse(t, output[2]); last.Rule.Version != "2" {
		t.Errorf("after the typo: version %s, want 2", last.Rule.Version)
	}
}
