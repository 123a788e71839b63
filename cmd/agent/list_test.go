package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sharing is a numbered rule that has its programs from a list.
func sharing(id string) string {
	return strings.Replace(numberedRule(id, 1), "endswith: /true", "endswith: {list: programs}", 1)
}

// TestListsGoLive changes a list that rules share, as fast as it can, while executions stream: each
// is reported by all of them or by none.
func TestListsGoLive(t *testing.T) {
	const rules, flips = 6, 60
	cg, dir := newCgroup(t), t.TempDir()
	for i := range rules {
		write(t, filepath.Join(dir, fmt.Sprintf("shared%d.yml", i)), sharing(fmt.Sprint("SHARED", i)))
	}
	write(t, filepath.Join(dir, "plain.yml"), numberedRule("PLAIN", 1))
	list := filepath.Join(dir, "lists", "programs.yml")
	if err := os.Mkdir(filepath.Dir(list), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, list, "[/true, /usr/bin/never]")
	p := start(t, "--rules", dir, "--cgroup", cg.path)

	stop := cg.stream(t, nil)
	for flip := range flips {
		values := "- /nothing\n- /usr/bin/never\n"
		if flip%2 == 1 {
			values = "- /true\n- /usr/bin/never\n"
		}
		switch {
		case flip%7 == 6: // wrong for a while: what was live stays
			write(t, list, "- /true\n- [/wrong]\n")
			write(t, list, values)
		case flip%3 == 0:
			write(t, list, values)
		default:
			replace(t, list, values)
		}
		time.Sleep(time.Duration(flip%5) * 3 * time.Millisecond)
	}
	last := stop()
	code, output := p.stop(t, syscall.SIGTERM)
	if code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	found, by := collect(t, output), map[bool]int{}
	for n := 1; n <= last; n++ {
		hashes := make(map[string]bool)
		for _, r := range found[n] {
			hashes[r.Rule.ID] = true
		}
		if !hashes["PLAIN"] || len(hashes) != len(found[n]) || len(hashes) != 1 && len(hashes) != rules+1 {
			t.Errorf("execution %d: reported %d times, by %v", n, len(found[n]), hashes)
		}
		by[len(hashes) > 1]++
	}
	if by[true] == 0 || by[false] == 0 {
		t.Errorf("executions with and without the list's rules: %v", by)
	}
	t.Logf("%d executions: %v", last, by)
}

// TestListsOverKills kills agents whose rules share a list, and edits the list while none runs: each
// execution is reported once by each rule, all of them by the same version of the list, and
// versions never go back.
func TestListsOverKills(t *testing.T) {
	r := newRestarts(t)
	ids := []string{"SHARED1", "SHARED2"}
	for _, id := range ids {
		write(t, filepath.Join(r.rules, id+".yml"), sharing(id))
	}
	list := filepath.Join(r.rules, "lists", "programs.yml")
	if err := os.Mkdir(filepath.Dir(list), 0o755); err != nil {
		t.Fatal(err)
	}
	values := func(version int) string { return fmt.Sprintf("- /true\n- /never-%d\n", version) }
	write(t, list, values(0))
	p := r.start(t)
	p.logged(t, "bittern is running")
	stop := r.cgroup.stream(t, nil)
	const rounds = 4
	for round := range rounds {
		time.Sleep(150 * time.Millisecond)
		write(t, list, values(2*round+1))
		p.logged(t, "set of rules live")
		time.Sleep(50 * time.Millisecond)
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		p.end(t)
		write(t, list, values(2*round+2))
		time.Sleep(100 * time.Millisecond) // the kernel goes on with the list before
		p = r.start(t)
		p.logged(t, "bittern is running")
	}
	time.Sleep(100 * time.Millisecond)
	last := stop()
	if code, _ := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	found := collect(t, r.lines(t))
	seen := make(map[string]int) // versions of a rule by their hashes, in the order of executions
	at := map[string]int{}
	for n := 1; n <= last; n++ {
		if len(found[n]) != len(ids) || found[n][0].Rule.ID == found[n][1].Rule.ID {
			t.Errorf("execution %d of %d: reported %d times: %+v", n, last, len(found[n]), found[n])
			continue
		}
		for _, d := range found[n] {
			id, hash := d.Rule.ID, d.Bittern.RuleHash
			if _, ok := seen[hash]; !ok {
				at[id]++
				seen[hash] = at[id]
			}
			if seen[hash] != at[id] {
				t.Errorf("execution %d: %s goes back from list %d to list %d", n, id, at[id], seen[hash])
			}
		}
		if at[ids[0]] != at[ids[1]] {
			t.Errorf("execution %d: judged by lists %v", n, at)
		}
	}
	if at[ids[0]] != 2*rounds+1 {
		t.Errorf("executions were judged by %d lists, want %d", at[ids[0]], 2*rounds+1)
	}
	t.Logf("%d executions", last)
}
