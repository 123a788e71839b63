package metrics

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"bittern/internal/event"
	"bittern/internal/fleet"
	"bittern/internal/health"
	"bittern/internal/loader"
	"bittern/internal/outbox"
	"bittern/internal/sink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counts is a kernel and rules that have counted something of each kind.
type counts struct{ err error }

func (c counts) Counters() (loader.Counters, error) {
	return loader.Counters{
		Classes:   map[event.Class]loader.ClassCounters{event.FileOpen: {Events: 10, Matches: 2, LostRingFull: 3, LostBusy: 4, LostSkipped: 5}},
		Untracked: 6,
	}, c.err
}

func (counts) Usage() loader.Usage {
	return loader.Usage{Epoch: 7, Slots: map[event.Class]loader.SlotUsage{event.FileOpen: {Taken: 1, Free: 2}}, Keys: 8, Cells: 9, GracePeriods: 10}
}
func (counts) Ring() loader.RingUsage { return loader.RingUsage{Used: 64, Size: 4096} }
func (c counts) AttachedStats() ([]loader.ProgramStats, error) {
	return []loader.ProgramStats{{Name: "on_exec", Runs: 11, RunTime: 1500 * time.Millisecond, Skipped: 1}}, c.err
}
func (c counts) MapBytes() (uint64, error) { return 1 << 20, c.err }
func (c counts) RuleCounts(context.Context) (RuleCounts, error) {
	return RuleCounts{States: map[string]int{"live": 5, "clipped": 1, "disabled": 2}, Hash: "ab"}, c.err
}

func (counts) Stats() outbox.Stats {
	s := outbox.Stats{
		Quota: 1000, Appended: 11, DiskErrors: 12,
		Readers: []outbox.ReaderStats{{Name: "stdout", Pending: 13, Oldest: time.Unix(1000, 0)}, {Name: "file"}},
	}
	s.Tiers[outbox.High] = outbox.TierStats{Records: 14, Bytes: 15, Memory: 16}
	s.Tiers[outbox.Low] = outbox.TierStats{Memory: 1}
	return s
}

func (counts) Losses() []outbox.Loss {
	return []outbox.Loss{
		{Cause: outbox.Full, Sink: "file", Rule: "A", Count: 3}, {Cause: outbox.Full, Sink: "file", Rule: "B", Count: 4}, {Cause: "ring_full", Count: 5},
	}
}

func (counts) SinkStats() map[string]sink.Stats {
	return map[string]sink.Stats{"stdout": {Delivered: 17, Errors: 18, Last: time.Unix(2000, 0)}}
}

func (counts) FleetStatus() (fleet.Status, bool) {
	return fleet.Status{Connected: true, Synced: time.Now(), RoundTrip: time.Millisecond, Generation: 19, States: 20, Errors: 21, RulesError: "unsigned"}, true
}

func counted(t *testing.T, c counts) *Set {
	t.Helper()
	s := New("v1")
	s.Collect(c, c, c, c)
	s.Changed(Live, 2*time.Millisecond)
	s.Changed(Rejected, time.Millisecond)
	s.Detected("R1")
	s.Detected("R2")
	s.Repeated("R1")
	s.Repeated("R2")
	s.LimitWindows(12)
	s.Overflowed(Unlimited)
	s.Forget("R2")
	s.Lost("file_open", "ring_full", 3)
	s.Prefiltered()
	s.Configured(true)
	s.Configured(false)
	return s
}

func TestMetrics(t *testing.T) {
	s := counted(t, counts{})
	problems, err := testutil.GatherAndLint(s.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	server := start(t, s, new(health.Board))
	_, got := get(t, server, "/metrics")
	for _, want := range []string{
		`bittern_build_info{goversion="`,
		`bittern_outbox_records{tier="high"} 14`,
		`bittern_outbox_bytes{tier="high"} 15`,
		`bittern_outbox_memory_bytes 17`,
		`bittern_outbox_quota_bytes 1000`,
		`bittern_outbox_appended_records_total 11`,
		`bittern_outbox_disk_errors_total 12`,
		`bittern_outbox_lost_records_total{cause="outbox_full",sink="file"} 7`,
		`bittern_outbox_lost_records_total{cause="outbox_damaged",sink=""} 0`,
		`bittern_sink_pending_records{sink="stdout"} 13`,
		`bittern_sink_oldest_pending_timestamp_seconds{sink="stdout"} 1000`,
		`bittern_sink_delivered_records_total{sink="stdout"} 17`,
		`bittern_sink_errors_total{sink="stdout"} 18`,
		`bittern_sink_last_delivery_timestamp_seconds{sink="stdout"} 2000`,
		`bittern_fleet_connected 1`,
		`bittern_fleet_last_sync_timestamp_seconds 1.`,
		`bittern_fleet_sync_seconds 0.001`,
		`bittern_fleet_generation 19`,
		`bittern_fleet_states 20`,
		`bittern_fleet_errors_total 21`,
		`bittern_fleet_clone 0`,
		`bittern_fleet_stale 1`,
		`bittern_rule_changes_total{result="live"} 1`,
		`bittern_rule_changes_total{result="refused"} 0`,
		`bittern_rule_edit_to_live_seconds_count 1`,
		`bittern_rule_detections_total{rule_id="R1"} 1`,
		`bittern_prefiltered_total 1`,
		`bittern_config_last_reload_successful 0`,
		`bittern_config_last_reload_success_timestamp_seconds 1.`,
		`bittern_lost_records_total{class="file_open",reason="ring_full"} 3`,
		`bittern_events_total{class="file_open"} 10`,
		`bittern_kernel_lost_events_total{class="file_open",reason="busy"} 4`,
		`bittern_untracked_processes_total 6`,
		`bittern_epoch 7`,
		`bittern_slots{class="file_open",state="free"} 2`,
		`bittern_ring_used_bytes 64`,
		`bittern_map_bytes 1.048576e+06`,
		`bittern_program_run_seconds_total{program="on_exec"} 1.5`,
		`bittern_rules{state="disabled"} 2`,
		`bittern_rules_info{hash="ab"} 1`,
		`go_goroutines `,
	} {
		if !strings.Contains(got, "\n"+want) {
			t.Errorf("there is no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, "R2") {
		t.Error("a rule that is deleted still has a series")
	}
}

// TestWhatCannotBeReadIsLeftOut reads the rest.
func TestWhatCannotBeReadIsLeftOut(t *testing.T) {
	server := start(t, counted(t, counts{err: errors.New("gone")}), new(health.Board))
	code, got := get(t, server, "/metrics")
	if code != http.StatusOK || !strings.Contains(got, "bittern_epoch 7") || strings.Contains(got, "bittern_events_total") {
		t.Errorf("got %d:\n%s", code, got)
	}
}

func TestHealth(t *testing.T) {
	board := new(health.Board)
	var watching error
	board.Add("rules", func() error { return watching })
	server := start(t, New("v1"), board)
	want := func(path string, code int, text string) {
		t.Helper()
		if c, got := get(t, server, path); c != code || !strings.Contains(got, text) {
			t.Errorf("%s: %d %q, want %d with %q", path, c, got, code, text)
		}
	}
	want("/healthz", http.StatusOK, "ok")
	want("/readyz", http.StatusServiceUnavailable, "rules are being loaded")
	board.Started()
	want("/readyz", http.StatusOK, "ok")
	watching = errors.New("no watch left")
	want("/healthz", http.StatusServiceUnavailable, "no watch left")
	want("/readyz", http.StatusServiceUnavailable, "no watch left")
	want("/elsewhere", http.StatusNotFound, "")
}

func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Listen(l.Addr().String(), http.NotFoundHandler()); err == nil || !strings.Contains(err.Error(), "--metrics") {
		t.Errorf("got %v", err)
	}
}

func start(t *testing.T, s *Set, board *health.Board) *Server {
	t.Helper()
	server, err := Listen("127.0.0.1:0", s.Handler(board, slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	answer, err := client.Get("http://" + s.Address() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}
