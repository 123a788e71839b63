package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"bittern/internal/require"
)

// replacement is of a piece of text that a source file has once.
type replacement struct{ file, old, new string }

// otherBuild builds an agent from these sources with some lines replaced, BPF programs included, and
// returns the program.
func otherBuild(t *testing.T, replace ...replacement) string {
	t.Helper()
	require.Build(t)
	root, err := require.Module()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, part := range []string{"bpf", "cmd", "internal", "rules"} {
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join(root, part))); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, file), string(text))
	}
	for _, r := range replace {
		edit(t, filepath.Join(dir, r.file), func(text string) string {
			if strings.Count(text, r.old) != 1 {
				t.Fatalf("%s does not have %q once", r.file, r.old)
			}
			return strings.Replace(text, r.old, r.new, 1)
		})
	}
	edit(t, filepath.Join(dir, "internal", "loader", "gen.go"), func(text string) string {
		return regexp.MustCompile(`-target [a-z0-9,]+`).ReplaceAllString(text, "-target "+runtime.GOARCH)
	})
	program := filepath.Join(t.TempDir(), "other.test")
	for _, args := range [][]string{{"generate", "./internal/loader"}, {"test", "-c", "-o", program, "./cmd/agent"}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %q: %v\n%s", args, err, out)
		}
	}
	return program
}

func edit(t *testing.T, path string, change func(string) string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, change(string(text)))
}

// TestUpgradeAndDowngrade kills this build and another one in turn, each succeeded by the other. If
// records have only grown, all are read, whichever build made them. If the other build has a
// form of its own, what nobody can read is counted, one by one.
func TestUpgradeAndDowngrade(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles all BPF programs")
	}
	const (
		begin    = "	/* The process that did it, as it was then. */\n"
		end      = "	__u32 kernel_type; /* code of a BPF program's type: its number + 1 */\n	__u32 pad3;\n"
		counters = "	COUNTER_COUNT,\n"
	)
	for name, other := range map[string]struct {
		replace  []replacement
		readable bool
	}{
		"records that have grown": {[]replacement{
			{"bpf/event.h", end, end + "	__u64 later[3];\n"},
			{"bpf/event.h", counters, "	COUNTER_LATER,\n" + counters},
		}, true},
		"records of another form": {[]replacement{
			{"bpf/event.h", begin, "	__u64 earlier[3];\n"},
			{"bpf/tables.h", "RECORD_FORMAT = 1,", "RECORD_FORMAT = 2,"},
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRestarts(t)
			program := otherBuild(t, other.replace...)
			const kills = 6
			last, _ := r.killed(t, kills, r.program, program)
			alerts, lost := r.alertsAndLosses(t)
			found := collect(t, alerts)
			missed := 0
			for n := 1; n <= last; n++ {
				switch len(found[n]) {
				case 0:
					missed++
				case 1:
				default:
					t.Errorf("execution %d of %d: reported %d times, want once", n, last, len(found[n]))
				}
			}
			// An agent that is killed may have told of a record that is still in the ring. Who can read it knows; who can't counts it as
			// lost, rather once too often than not at all.
			if lost < missed || lost > missed+kills || other.readable && lost > 0 {
				t.Errorf("%d of %d executions were not reported, %d counted as lost", missed, last, lost)
			}
			if !other.readable && lost == 0 {
				t.Error("no record was left to the other build")
			}
			t.Logf("%d executions, %d counted as lost", last, lost)
		})
	}
}

// alertsAndLosses are the lines of the output about detections, and how many records gaps count.
func (r *restarts) alertsAndLosses(t *testing.T) (alerts []string, lost int) {
	t.Helper()
	for _, line := range r.lines(t) {
		if rec := parse(t, line); rec.Event.Kind == "alert" {
			alerts = append(alerts, line)
		} else {
			lost += rec.Bittern.Lost.Count
		}
	}
	return alerts, lost
}
