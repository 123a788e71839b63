package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"bittern/internal/agent"
	"bittern/internal/control"
	"bittern/internal/loader"
)

// errInterrupted is the end after a second signal.
var errInterrupted = errors.New("stopped by a second signal: what was not delivered yet is when the agent runs again")

const runLong = `Watch this host in the foreground. Each event that a rule matches is printed to
standard output as one line; the log goes to standard error. Where records of
events were lost, a gap record says so in their place. --file, --syslog and
--journald send all records elsewhere as well, each at its own pace: what is not
delivered yet waits in the outbox below the state directory, and outlives the agent.

The rules directory is watched: save, add, remove or rename a rule file, and the
change is live at once. An edit that makes no event, such as one of the target of
a symbolic link, is found within the time of --rescan. A file that is wrong
changes nothing: the log says what is wrong with file, line and column, and the
last good version of the rule stays live.

Rules that have a state, see "bittern state", are disabled or clipped from the start, or
as soon as the state is set.

The first SIGINT or SIGTERM stops the agent after all that the kernel has handed
over is delivered, or is in the outbox; the second one ends it at once. SIGUSR1 has
the file of --file opened anew. An agent that is killed leaves the kernel at work:
the next one takes over without a gap and tells what happened in between. With --keep a stop does the same; "bittern unload" ends it for good.

It needs root, or the capabilities CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE, with
CAP_NET_ADMIN for events of the network; and Linux 5.10 or later with BTF.

Every flag is also a key of the configuration file, with _ for -, and an
environment variable: log_level and BITTERN_LOG_LEVEL for --log-level. A flag
comes before the environment, which comes before the file. The file is watched: an
edit of log_level, output, metrics, rescan, keep or program_stats takes effect at once,
and the log says what needs a restart. SIGHUP has the file read again. A file that is
wrong changes nothing. See "bittern config". With NO_COLOR set nothing is coloured.`

const runExample = `  bittern run
  bittern run --rules ./rules --output json
  bittern run --cgroup /sys/fs/cgroup/system.slice`

func newRun(a *app) *cobra.Command {
	s := newSettings(a.paths)
	cmd := &cobra.Command{
		Use:     "run",
		Short:   "watch this host and print detections",
		Long:    runLong,
		Example: runExample,
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return run(cmd, a, s) },
	}
	s.addTo(cmd)
	return cmd
}

func run(cmd *cobra.Command, a *app, s *settings) error {
	// First of all: from now on it does not end the agent.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	if err := s.resolve(a); err != nil {
		return err
	}
	colour := func(w io.Writer) bool { return isTerminal(w) && wantsColour(a.env) }
	now, level := s.knobs(isTerminal(a.out)), new(slog.LevelVar)
	level.Set(now.level)
	log := newLogger(a.err, level, s.logFormat, colour(a.err))
	var reload *reloader // there from before the start on
	sinks, file, err := s.sinks(log)
	if err != nil {
		return usagef(cmd, "%w", err)
	}
	store, err := s.fleet()
	if err != nil {
		return usagef(cmd, "%w", err)
	}
	cfg := agent.Config{
		Fleet:    store,
		Rules:    func() (string, error) { return rulesDir(s, a.paths, log.With("component", "agent")) },
		States:   statesDir(s),
		Repeats:  repeatsDir(s),
		Kernel:   kernelConfig(s, log),
		Outbox:   outboxDir(s),
		Colour:   colour(a.out),
		Sinks:    sinks,
		Socket:   unlessOff(s.socket),
		Settings: func() map[string]control.Setting { return reload.report() },
		Tunables: now.Tunables,
		Log:      log,
	}
	cfg.OutboxBytes = int64(s.outboxBytes)
	if !s.noStdout {
		cfg.Output = a.out
	}
	if err := cfg.Kernel.Validate(); err != nil {
		return usagef(cmd, "%w", err)
	}
	detector, err := agent.New(cfg)
	if err != nil {
		return err
	}
	reload = newReloader(a, s, detector, level, log)
	// A write to a pipe that nobody reads must be an error, not the end by a signal.
	signal.Ignore(syscall.SIGPIPE)
	reopen := make(chan os.Signal, 1)
	signal.Notify(reopen, syscall.SIGUSR1)
	defer signal.Stop(reopen)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	gone := func() { signals <- syscall.SIGHUP }
	return untilSignalled(signals, func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		var reloading sync.WaitGroup
		defer reloading.Wait()
		defer cancel()
		reloading.Go(func() { reload.follow(ctx) })
		reloading.Go(func() { reload.onHangup(ctx, hangups, gone) })
		reloading.Go(func() { onReopen(ctx, reopen, file, log.With("component", "sinks")) })
		return detector.Run(ctx)
	})
}

func kernelConfig(s *settings, log *slog.Logger) loader.Config {
	c := loader.Config{Cgroup: s.cgroup, Slots: s.slots, RingBytes: s.ringBytes, Log: log.With("component", "kernel")}
	if s.pins != off {
		c.Pins, c.Journal, c.Restore = s.pins, filepath.Join(s.state, "journal"), agent.Restore
	}
	return c
}

// repeatsDir is where counts of repeats outlive the agent, if anything does.
func repeatsDir(s *settings) string {
	if s.pins == off {
		return ""
	}
	return filepath.Join(s.state, "repeats")
}

// untilSignalled runs f, ends its context at the first signal, and does not wait
// for it any longer at the second.
func untilSignalled(signals <-chan os.Signal, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	for {
		select {
		case err := <-done:
			return err
		case <-signals:
			if ctx.Err() != nil {
				return errInterrupted
			}
			cancel()
		}
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// wantsColour honours the NO_COLOR convention.
func wantsColour(env func(string) (string, bool)) bool {
	no, _ := env("NO_COLOR")
	kind, _ := env("TERM")
	return no == "" && kind != "dumb"
}
