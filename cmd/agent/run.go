package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"bittern/internal/agent"
	"bittern/internal/loader"
)

// errInterrupted is the end after a second signal.
var errInterrupted = errors.New("stopped by a second signal: what was not written yet is lost")

const runLong = `Watch this host in the foreground. Each event that a rule matches is printed to
standard output as one line; the log goes to standard error. Where records of
events were lost, a gap record says so in their place.

The rules directory is watched: save, add, remove or rename a rule file, and the
change is live at once. An edit that makes no event, such as one of the target of
a symbolic link, is found within the time of --rescan. A file that is wrong
changes nothing: the log says what is wrong with file, line and column, and the
last good version of the rule stays live.

Rules that have a state, see "bittern state", are disabled or clipped from the start, or
as soon as the state is set.

The first SIGINT or SIGTERM stops the agent after all that the kernel has handed
over is printed; the second one ends it at once. An agent that is killed leaves the
kernel at work: the next one takes over without a gap and prints what happened in
between. With --keep a stop does the same; "bittern unload" ends it for good.

It needs root, or the capabilities CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE, and
Linux 5.10 or later with BTF.

Every flag is also a key of the configuration file, with _ for -, and an
environment variable: log_level and BITTERN_LOG_LEVEL for --log-level. A flag
comes before the environment, which comes before the file. With NO_COLOR set
nothing is coloured.`

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
	if err := s.resolve(a); err != nil {
		return err
	}
	colour := func(w io.Writer) bool { return isTerminal(w) && wantsColour(a.env) }
	log := newLogger(a.err, s.logLevel, s.logFormat, colour(a.err))
	cfg := agent.Config{
		Rules:  func() (string, error) { return rulesDir(s, a.paths, log.With("component", "agent")) },
		States: statesDir(s),
		Rescan: s.rescan,
		Kernel: loader.Config{Cgroup: s.cgroup, Slots: s.slots, RingBytes: s.ringBytes, Log: log.With("component", "kernel")},
		Keep:   s.keep,
		Output: a.out,
		Colour: colour(a.out),
		Log:    log,

		ProgramStats: s.stats,
	}
	if s.metrics != off {
		cfg.Metrics = s.metrics
	}
	if s.socket != off {
		cfg.Socket = s.socket
	}
	if s.pins != off {
		cfg.Kernel.Pins, cfg.Kernel.Journal, cfg.Kernel.Restore = s.pins, filepath.Join(s.state, "journal"), agent.Restore
	}
	if err := cfg.Kernel.Validate(); err != nil {
		return usagef(cmd, "%w", err)
	}
	cfg.Format = agent.JSON
	if s.output == "text" || s.output == "auto" && isTerminal(a.out) {
		cfg.Format = agent.Text
	}
	// A write to a pipe that nobody reads must be an error, not the end by a signal.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	return untilSignalled(signals, func(ctx context.Context) error { return agent.Run(ctx, cfg) })
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
