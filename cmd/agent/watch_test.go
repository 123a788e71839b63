package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestWhatEventsMiss edits the target of a symbolic link, which makes no event, and takes the rules directory
// away and back.
func TestWhatEventsMiss(t *testing.T) {
	cg, dir := newCgroup(t), filepath.Join(t.TempDir(), "rules")
	target := filepath.Join(t.TempDir(), "target")
	write(t, target, numberedRule("LINKED", 1))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(dir, "linked.yml")); err != nil {
		t.Fatal(err)
	}
	p := start(t, "--rules", dir, "--cgroup", cg.path, "--rescan", "1s")
	write(t, target, numberedRule("LINKED", 2))
	p.logged(t, "rescan found what events missed", "level", "WARN", "path", filepath.Join(dir, "linked.yml"))
	p.logged(t, "rule live", "rule_id", "LINKED", "rule_version", 2.0)

	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	p.logged(t, "edits of rules have no effect", "level", "ERROR", "error", fmt.Sprintf("%s is not watched: rules directory is gone", dir))
	cg.execute(t, 1) // its rules go on
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	p.logged(t, "rules are watched again", "level", "INFO")
	code, output := p.stop(t, syscall.SIGTERM)
	if found := collect(t, output); code != 0 || len(found[1]) != 1 || found[1][0].version(t) != 2 {
		t.Errorf("exit code %d, found %+v", code, found)
	}
}
