package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bittern/internal/event"
	"bittern/internal/loader"
	"bittern/internal/require"
)

func config(t *testing.T, dir string, log *logbook) Config {
	t.Helper()
	require.Kernel(t, loader.LeastKernel)
	return Config{
		Rules:  func() (string, error) { return dir, nil },
		Kernel: loader.Config{Cgroup: require.Cgroup(t), Slots: 64, Keys: 64, Cells: 64, Processes: 256},
		Output: io.Discard, Log: log.logger(),
	}
}

func TestConfigIsChecked(t *testing.T) {
	whole := Config{Rules: func() (string, error) { return "", nil }, Output: io.Discard, Log: (&logbook{}).logger()}
	for what, spoil := range map[string]func(*Config){
		"rules": func(c *Config) { c.Rules = nil }, "logger": func(c *Config) { c.Log = nil },
	} {
		c := whole
		spoil(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("without %s: got %v", what, err)
		}
	}
}

func TestStopBeforeStart(t *testing.T) {
	a, err := New(Config{Rules: func() (string, error) { return "", nil }, Output: io.Discard, Log: (&logbook{}).logger()})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
	}
	if err := a.Start(); !errors.Is(err, ErrStopped) {
		t.Errorf("got %v, want %v", err, ErrStopped)
	}
}

// TestStartAndStopInAnyOrder races them: nothing may hang, leak or be freed twice.
func TestStartAndStopInAnyOrder(t *testing.T) {
	require.BPF(t)
	for range 3 {
		a, err := New(config(t, t.TempDir(), &logbook{}))
		if err != nil {
			t.Fatal(err)
		}
		var racers sync.WaitGroup
		for range 3 {
			racers.Go(func() {
				if err := a.Start(); err != nil && !errors.Is(err, ErrStopped) {
					t.Error(err)
				}
			})
			racers.Go(func() {
				if err := a.Stop(); err != nil {
					t.Error(err)
				}
			})
		}
		racers.Wait()
	}
}

func TestRunWithBadRules(t *testing.T) {
	require.BPF(t)
	dir, log := t.TempDir(), &logbook{}
	if err := os.WriteFile(filepath.Join(dir, "bad.yml"), []byte("rule_id: ["), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg := config(t, dir, log)
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Start(), a.Stop()); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(log.lines(t), "\n")
	for _, want := range []string{"ERROR rule file rejected problem=" + dir + "/bad.yml:", "INFO bittern is running", "INFO bittern has stopped"} {
		if !strings.Contains(text, want) {
			t.Errorf("not logged: %s\n%s", want, text)
		}
	}
}

// run runs an agent until its end.
func run(t *testing.T, ctx context.Context, cfg Config) error {
	t.Helper()
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a.Run(ctx)
}

func TestRunWithoutRules(t *testing.T) {
	require.BPF(t)
	cfg := config(t, filepath.Join(t.TempDir(), "nowhere"), &logbook{})
	if err := run(t, context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("got %v", err)
	}
	cfg.Rules = func() (string, error) { return "", fs.ErrPermission }
	if err := run(t, context.Background(), cfg); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	require.BPF(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var out bytes.Buffer
	cfg := config(t, t.TempDir(), &logbook{})
	cfg.Output = &out
	if err := run(t, ctx, cfg); err != nil || out.Len() > 0 {
		t.Errorf("got %v and %q", err, out.String())
	}
}

func TestHooksAreReported(t *testing.T) {
	log := &logbook{}
	a := &Agent{log: log.logger()}
	refused := []loader.Refusal{{Name: "lsm/file_open", Reason: "not permitted here"}}
	for _, hook := range []loader.Hook{
		{Class: event.ProcessExec, Name: "tp_btf/sched_process_exec"},
		{Class: event.FileOpen, Name: "tp_btf/sys_exit", Misses: "opens by io_uring", Refused: refused},
		{Class: event.ProcessExit, Refused: refused},
	} {
		a.reportHook(hook)
	}
	want := []string{
		"INFO hook found class=process_exec hook=tp_btf/sched_process_exec",
		"WARN hook found, not the best class=file_open hook=tp_btf/sys_exit misses=opens by io_uring",
		"DEBUG hook not taken class=file_open hook=lsm/file_open reason=not permitted here",
		"WARN event class unsupported here class=process_exit error=unsupported here: this kernel offers no hook for process_exit (lsm/file_open: not permitted here)",
		"DEBUG hook not taken class=process_exit hook=lsm/file_open reason=not permitted here",
	}
	if diff := cmp.Diff(want, log.lines(t)); diff != "" {
		t.Error(diff)
	}
}
