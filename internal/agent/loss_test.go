package agent

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"bittern/internal/require"
)

// TestLossIsInTheOutput executes more than a small ring holds while nothing is read from it:
// its detections and what its gap records say was lost are all that happened. So are, of a rule with a limit, its detections, its
// repeats and what was lost.
func TestLossIsInTheOutput(t *testing.T) {
	require.BPF(t)
	const runs = 100
	dir, out := t.TempDir(), new(bytes.Buffer)
	text := "rule_id: %s\nrule_version: 1\nname: n\napplies_to: [process_exec]\nmatch:\n  s: {process.pid: 0}\n  condition: not s\n" +
		"emits: [{tactic: TA0002, technique_id: T1059, confidence: 1}]\n"
	for name, content := range map[string]string{
		"all.yml":     fmt.Sprintf(text, "ALL"),
		"limited.yml": fmt.Sprintf(text, "LIMITED") + "limit: {per: process, max: 2, window: 1h}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cfg := config(t, dir, &logbook{})
	cfg.Output, cfg.Kernel.RingBytes = out, 4096
	cgroup, err := os.Open(cfg.Kernel.Cgroup)
	if err != nil {
		t.Fatal(err)
	}
	defer cgroup.Close()
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(); err != nil {
		t.Fatal(err, a.Stop())
	}
	a.repeats.mu.Lock() // which is held while a record is judged
	for i := range runs {
		cmd := exec.Command("/bin/true", fmt.Sprint(i))
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
		if err := cmd.Run(); err != nil {
			t.Error(err)
		}
	}
	a.repeats.mu.Unlock()
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	var lost, repeats uint64
	detections := make(map[string]uint64)
	for line := range bytes.Lines(out.Bytes()) {
		var record struct {
			Event   struct{ Dataset, Reason string }
			Rule    struct{ ID string }
			Bittern struct {
				Lost struct {
					Class string
					Count uint64
				}
				Repeats struct{ Count uint64 }
			}
		}
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch {
		case record.Event.Dataset == "bittern.detection":
			detections[record.Rule.ID]++
		case record.Event.Dataset == "bittern.repeats" && record.Rule.ID == "LIMITED":
			repeats += record.Bittern.Repeats.Count
		case record.Event.Reason != "ring_full" || record.Bittern.Lost.Class != "process_exec":
			t.Errorf("an unexpected record: %s", line)
		default:
			lost += record.Bittern.Lost.Count
		}
	}
	all, limited := detections["ALL"], detections["LIMITED"]
	t.Logf("%d detections, %d lost; with a limit %d detections, %d repeats", all, lost, limited, repeats)
	if lost == 0 || all+lost != runs {
		t.Errorf("%d detections and %d lost of %d", all, lost, runs)
	}
	if limited != 2 || limited+repeats+lost != runs {
		t.Errorf("with a limit: %d detections, %d repeats and %d lost of %d", limited, repeats, lost, runs)
	}
	if s := a.pipeline.stats(); s.Detections != all+limited || s.Repeats != repeats {
		t.Errorf("stats: %+v", s)
	}
}
