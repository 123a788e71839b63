package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"bittern/internal/attack"
	"bittern/internal/rules"
	"bittern/internal/rules/fsstore"
)

const transactionLong = `Hold the rules directory while a command edits it, so that an agent that runs takes
all of its edits in together: each event is judged by the rules before or after all
of them, and if any file is wrong, by those before. It is the same as

  touch rules/.hold; COMMAND; rm rules/.hold

and, at the end, checks the whole directory, as "bittern rules check" does. If
something is wrong, the exit code is 1: the agent leaves the old rules live until the
files are right, and then takes all of the edits in.

If the command fails and has changed rule files, the directory stays held, since what is
there may be half of what was meant: put it right, then remove the file .hold. If it fails
and has changed nothing, nothing is held any more.

No agent need run. Two transactions at once are an error.`

func newTransaction(a *app) *cobra.Command {
	s := newSettings(a.paths)
	cmd := &cobra.Command{
		Use:   "transaction [flags] -- COMMAND [ARG...]",
		Short: "have all that a command edits take effect together, or not at all",
		Long:  transactionLong,
		Example: `  bittern rules transaction -- git -C /etc/bittern/rules pull
  bittern rules transaction --rules ./rules -- sh -c 'cp new/*.yml rules/'`,
		Args: atLeastOne("a command, behind --"),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := s.resolve(a); err != nil {
				return err
			}
			catalogue, err := attack.Load()
			if err != nil {
				return err
			}
			dir, err := existingRules(s, a.paths)
			if err != nil {
				return err
			}
			return transact(a, dir, args, catalogue)
		},
	}
	cmd.Flags().SetInterspersed(false) // what follows the command is its own
	s.addTo(cmd, "rules", "state", "config")
	return cmd
}

// existingRules returns the directory of rules that bittern run would use, and makes none.
func existingRules(s *settings, p paths) (string, error) {
	if s.rules == fromPostgres {
		return "", errors.New("rules are those of the database: edit them where they are published (see bittern db publish)")
	}
	if s.rules != "" {
		return s.rules, nil
	}
	for _, dir := range []string{p.rules, filepath.Join(s.state, "rules")} {
		if isDir(dir) {
			return dir, nil
		}
	}
	return "", errors.New("there is no directory of rules yet (name one with --rules)")
}

// transact runs a command while a directory of rules is held.
func transact(a *app, dir string, command []string, catalogue *attack.Catalogue) error {
	// From here on a signal ends the command, and what follows is as if it had failed.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	hold, err := fsstore.Hold(dir, fmt.Sprintf("%s: bittern rules transaction, process %d: %s", whoami(a.env), os.Getpid(), strings.Join(command, " ")))
	if err != nil {
		return err
	}
	before := stampsOf(dir)
	failed := runUntilSignalled(a, command, signals)
	set := readRules([]string{dir}, catalogue)
	if err := writeProblems(a.err, "text", set.problems); err != nil {
		return errors.Join(err, hold.Release())
	}
	after := stampsOf(dir)
	if failed != nil && !maps.Equal(before, after) {
		return fmt.Errorf("running %s: %w: the old rules stay live, since it may have done half of its work (put %s in order, then: rm %s)",
			command[0], failed, dir, hold.Path)
	}
	if err := hold.Release(); err != nil {
		return err
	}
	switch {
	case failed != nil:
		return fmt.Errorf("running %s: %w: no rule file has changed", command[0], failed)
	case set.problems.Failed() && !slices.ContainsFunc(set.problems, func(p rules.Problem) bool {
		return !p.Warning && before[p.Pos.File] != after[p.Pos.File]
	}):
		return fmt.Errorf("%s: they were wrong before; what has changed is right, and takes effect", checkSummary(set))
	case set.problems.Failed():
		return fmt.Errorf("%s: the old rules stay live until the files are right, and then all of the edits take effect", checkSummary(set))
	}
	fmt.Fprintln(a.out, checkSummary(set))
	return nil
}

// runUntilSignalled runs a command with our own standard files. The first signal is handed
// on to it, the second kills it.
func runUntilSignalled(a *app, command []string, signals <-chan os.Signal) error {
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, a.out, a.err
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for signalled := false; ; signalled = true {
		select {
		case err := <-ended:
			if err == nil && signalled {
				return errors.New("interrupted") // by a signal that it has ignored
			}
			return err
		case s := <-signals:
			if signalled {
				kill()
			} else {
				_ = cmd.Process.Signal(s) // fails only if it has ended
			}
		}
	}
}

// fileStamp tells whether a file was written to.
type fileStamp struct {
	size         int64
	inode        uint64
	mtime, ctime time.Time
}

// stampsOf returns those of the rule files and lists of a directory, by path.
func stampsOf(dir string) map[string]fileStamp {
	stamps := make(map[string]fileStamp)
	addStamps(stamps, dir)
	addStamps(stamps, filepath.Join(dir, fsstore.ListsName))
	return stamps
}

func addStamps(stamps map[string]fileStamp, dir string) {
	entries, _ := os.ReadDir(dir) // that it can't be read shows when it is checked
	for _, e := range entries {
		if !fsstore.Accepts(e.Name()) {
			continue
		}
		stamp, path := fileStamp{}, filepath.Join(dir, e.Name())
		if info, err := os.Stat(path); err == nil {
			stamp.size, stamp.mtime = info.Size(), info.ModTime()
			if sys, ok := info.Sys().(*syscall.Stat_t); ok {
				stamp.inode, stamp.ctime = sys.Ino, time.Unix(sys.Ctim.Unix())
			}
		}
		stamps[path] = stamp
	}
}
