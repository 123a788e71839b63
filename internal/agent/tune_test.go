package agent

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"bittern/internal/require"
	"bittern/internal/sink"
)

// asked asks an address whether the agent is ready there.
func asked(address string) error {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	answer, err := client.Get("http://" + address + "/readyz")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	return err
}

// TestReconfigure changes an agent that runs.
func TestReconfigure(t *testing.T) {
	require.BPF(t)
	a, err := New(config(t, t.TempDir(), &logbook{}))
	if err != nil {
		t.Fatal(err)
	}
	want := Tunables{Format: sink.Text, Rescan: time.Hour, Metrics: "127.0.0.1:0"}
	if err := a.Reconfigure(want); err != nil { // what it starts with
		t.Fatal(err)
	}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if err := a.Stop(); err != nil && !stopped {
			t.Error(err)
		}
		stopped = true
	}
	defer stop()
	first := a.server.Address()
	if err := asked(first); err != nil || a.Tunables() != want || a.out.Format() != sink.Text {
		t.Fatalf("started with %+v, want %+v; asked: %v", a.Tunables(), want, err)
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	next := Tunables{Format: sink.JSON, Rescan: time.Minute, Keep: false, Metrics: taken.Addr().String(), ProgramStats: true}
	if err := a.Reconfigure(next); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("an address that is taken: %v", err)
	}
	next.Metrics = want.Metrics // stays; all else is changed
	if got := a.Tunables(); got != next || a.out.Format() != sink.JSON || a.stats == nil {
		t.Errorf("in force are %+v, want %+v", got, next)
	}
	if err := asked(first); err != nil {
		t.Errorf("the old address does not answer any more: %v", err)
	}

	_, port, _ := net.SplitHostPort(first)
	for _, address := range []string{":" + port, first, "[::]:" + port} {
		next.Metrics = address
		if err := a.Reconfigure(next); err != nil {
			t.Fatalf("from one address to another that has it: %v", err)
		}
		if err := asked(first); err != nil {
			t.Errorf("%s does not answer: %v", address, err)
		}
	}
	next.Metrics, next.ProgramStats = "", false
	if err := a.Reconfigure(next); err != nil || a.stats != nil {
		t.Errorf("turning off: %v", err)
	}
	if err := asked(first); err == nil {
		t.Error("it still answers")
	}
	stop()
	if err := a.Reconfigure(want); !errors.Is(err, ErrStopped) {
		t.Errorf("after the stop: %v", err)
	}
}
