package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// answer asks an agent by HTTP.
func answer(t *testing.T, address, path string) (code int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	got, err := client.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got.StatusCode, string(text)
}

// TestMetricsAndHealth runs an agent, has things happen, and asks it.
func TestMetricsAndHealth(t *testing.T) {
	cg := newCgroup(t)
	dir := filepath.Join(t.TempDir(), "rules")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "a.yml"), numberedRule("COUNTED", 1))
	p := start(t, "--rules", dir, "--cgroup", cg.path, "--metrics", "127.0.0.1:0", "--program-stats", "--output", "json")
	address := p.logged(t, "telling metrics and health")["address"].(string)
	ask := func(path string) (int, string) { t.Helper(); return answer(t, address, path) }
	value := func(series string) float64 {
		t.Helper()
		_, body := ask("/metrics")
		for line := range strings.Lines(body) {
			if text, ok := strings.CutPrefix(line, series+" "); ok {
				v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
		}
		t.Fatalf("there is no %s in\n%s", series, body)
		return 0
	}
	becomes := func(series string, want float64) {
		t.Helper()
		deadline := time.Now().Add(patience)
		for got := value(series); got != want; got = value(series) {
			if time.Now().After(deadline) {
				t.Fatalf("%s is %v, want %v", series, got, want)
			}
		}
	}
	healthy := func(code int, want string) {
		t.Helper()
		for _, path := range []string{"/healthz", "/readyz"} {
			if got, body := ask(path); got != code || !strings.Contains(body, want) {
				t.Errorf("%s: %d %q, want %d with %q", path, got, body, code, want)
			}
		}
	}
	healthy(http.StatusOK, "ok")
	for n := range 3 {
		cg.execute(t, n)
	}
	p.out.wait(t, "the last execution", func(line string) bool { return strings.Contains(line, "numbered-2") })
	for series, want := range map[string]float64{
		`bittern_rules{state="live"}`:                      1,
		`bittern_events_total{class="process_exec"}`:       3,
		`bittern_matches_total{class="process_exec"}`:      3,
		`bittern_rule_detections_total{rule_id="COUNTED"}`: 3,
		`bittern_rule_changes_total{result="live"}`:        0,
		`bittern_slots{class="process_exec",state="used"}`: 1,
		`bittern_rule_edit_to_live_seconds_count`:          0,
	} {
		becomes(series, want)
	}
	if value(`bittern_program_runs_total{program="on_exec"}`) < 3 || value(`bittern_program_run_seconds_total{program="on_exec"}`) <= 0 {
		t.Error("programs are not measured")
	}
	before := value("bittern_epoch")
	write(t, filepath.Join(dir, "a.yml"), numberedRule("COUNTED", 2))
	p.logged(t, "rule live", "rule_version", 2.0)
	if got := value("bittern_epoch"); got != before+1 {
		t.Errorf("the epoch is %v, was %v before an edit", got, before)
	}
	if got := value("bittern_rule_edit_to_live_seconds_count"); got != 1 {
		t.Errorf("%v edits were measured, want 1", got)
	}
	write(t, filepath.Join(dir, "b.yml"), "rule_id: [\n")
	p.logged(t, "rule file rejected")
	if got := value(`bittern_rule_changes_total{result="rejected"}`); got != 1 {
		t.Errorf("%v edits were rejected, want 1", got)
	}
	healthy(http.StatusOK, "ok") // a wrong rule is no illness of the agent
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	p.logged(t, "edits of rules have no effect")
	healthy(http.StatusServiceUnavailable, "rules: ")
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	p.logged(t, "rules are watched again")
	healthy(http.StatusOK, "ok")
	if code, _ := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// TestHealthOfAnAgentThatHangs asks one whose output nobody reads: it answers, and says so.
func TestHealthOfAnAgentThatHangs(t *testing.T) {
	cg := newCgroup(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yml"), numberedRule("HANGS", 1))
	p := startUnread(t, "--rules", dir, "--cgroup", cg.path, "--metrics", "127.0.0.1:0", "--output", "json")
	address := p.logged(t, "telling metrics and health")["address"].(string)
	p.logged(t, "bittern is running")
	pipe, ok := p.stdout.(*os.File)
	if !ok {
		t.Fatalf("the output is a %T", p.stdout)
	}
	size, err := unix.FcntlInt(pipe.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	for n := range size/512 + 1 { // of more than 512 bytes each
		cg.execute(t, n)
	}
	deadline := time.Now().Add(patience)
	for body := ""; !strings.Contains(body, "sink stdout: delivering: at one thing since "); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it says %q", body)
		}
		_, body = answer(t, address, "/healthz")
	}
	p.readOutput()
	if code, _ := p.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
