package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestSetsGoLive changes rules that all match the same executions, under a hold and by a
// transaction, while executions stream: each is reported by one generation of all the rules.
func TestSetsGoLive(t *testing.T) {
	const rules, generations = 8, 14
	cg, dir := newCgroup(t), t.TempDir()
	file := func(i int) string { return filepath.Join(dir, fmt.Sprintf("set%d.yml", i)) }
	id := func(i int) string { return fmt.Sprint("SET", i) }
	for i := range rules {
		write(t, file(i), numberedRule(id(i), 1))
	}
	p := start(t, "--rules", dir, "--cgroup", cg.path)

	stop, executed := make(chan struct{}), make(chan int)
	ran := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				executed <- n
				return
			case ran <- struct{}{}:
			default:
			}
			cg.execute(t, n)
		}
	}()
	stream := func() { // some go by
		for range 3 {
			<-ran
		}
	}
	edit := func(generation int) {
		for _, i := range rand.Perm(rules) {
			if i%2 == 0 {
				write(t, file(i), numberedRule(id(i), generation))
			} else {
				replace(t, file(i), numberedRule(id(i), generation))
			}
			if rand.IntN(3) == 0 {
				stream()
			}
		}
	}
	hold := filepath.Join(dir, ".hold")
	for generation := 2; generation <= generations; generation++ {
		stream()
		switch generation % 3 {
		case 0: // wrong at first
			write(t, hold, "")
			edit(generation)
			write(t, file(3), strings.Replace(numberedRule(id(3), generation), "condition:", "conditoin:", 1))
			if err := os.Remove(hold); err != nil {
				t.Fatal(err)
			}
			p.logged(t, "rule file rejected", "rule_id", id(3), "stays_live", fmt.Sprintf("version %d", generation-1))
			stream()
			write(t, file(3), numberedRule(id(3), generation))
		case 1:
			write(t, hold, "")
			edit(generation)
			if err := os.Remove(hold); err != nil {
				t.Fatal(err)
			}
		case 2:
			script := fmt.Sprintf("sed -i 's/rule_version: .*/rule_version: %d/' %s/*.yml", generation, dir)
			cmd := exec.Command(called(t, self(t), "bittern"), "rules", "transaction", "--rules", dir, "--", "sh", "-c", script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		p.logged(t, "rule live", "rule_id", id(rules-1), "rule_version", float64(generation))
	}
	stream()
	close(stop)
	count := <-executed
	code, output := p.stop(t, syscall.SIGTERM)
	if code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	found, by := collect(t, output), make(map[int]int)
	for n := range count {
		versions := make(map[int]int)
		for _, r := range found[n] {
			versions[r.version(t)]++
		}
		if len(versions) != 1 || len(found[n]) != rules {
			t.Errorf("execution %d: reported %d times, by versions %v; want %d times by one", n, len(found[n]), versions, rules)
		}
		for version := range versions {
			by[version]++
		}
	}
	if len(by) != generations {
		t.Errorf("executions were reported by generations %v, want %d of them", by, generations)
	}
	t.Logf("%d executions, by generation: %v", count, by)
}
