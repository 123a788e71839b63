package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"bittern/internal/agent"
	"bittern/internal/control"
	"bittern/internal/inotify/pathwatch"
)

// tuner is the part of an agent.Agent by which its settings change.
type tuner interface {
	Tunables() agent.Tunables
	Reconfigure(t agent.Tunables) error
	Configured(right bool)
}

// reloader keeps the settings of an agent that runs those of the configuration file.
type reloader struct {
	app      *app
	agent    tuner
	log      *slog.Logger
	level    *slog.LevelVar // of all logs
	terminal bool           // the output is one

	mu sync.Mutex // guards what follows, and orders reloads; it can be held until the agent has started
	// force are the settings in force, wanted those of the last file that was right: they differ in what needs
	// a restart, and in what could not be changed.
	force, wanted *settings
	read          file // the last one, right or wrong

	told atomic.Pointer[map[string]control.Setting] // is not changed any more
}

func newReloader(a *app, s *settings, detector tuner, level *slog.LevelVar, log *slog.Logger) *reloader {
	r := &reloader{
		app: a, agent: detector, log: log.With("component", "settings"), level: level, terminal: isTerminal(a.out),
		force: s, wanted: s, read: s.read,
	}
	r.tell()
	return r
}

// follow reloads at each edit of the file until ctx is done.
func (r *reloader) follow(ctx context.Context) {
	pathwatch.File{
		Path: r.read.path, Most: maxConfigBytes,
		Edited: func(data []byte, err error) {
			r.reload(file{r.read.path, r.read.must, data, err}, false)
		},
		Unwatched: func(err error) {
			if err != nil {
				r.log.Error("edits of the configuration file have no effect", "file", r.read.path, "error", err, "remedy", "send SIGHUP after an edit")
				return
			}
			r.log.Info("configuration file is watched again", "file", r.read.path)
		},
	}.Follow(ctx)
}

// onHangup reloads at each SIGHUP until ctx is done, whether the file has changed or not. One that comes since the
// terminal is gone calls gone instead.
func (r *reloader) onHangup(ctx context.Context, hangups <-chan os.Signal, gone func()) {
	attached := func() bool { return isTerminal(r.app.out) || isTerminal(r.app.err) }
	foreground := attached()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			if foreground && !attached() {
				gone()
				return
			}
			r.reload(readFile(r.read.path, r.read.must), true)
		}
	}
}

// reload takes in what the file has now. A file that is wrong changes nothing.
func (r *reloader) reload(now file, asked bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.same(r.read) && !asked {
		return
	}
	r.read = now
	next, problems := r.force.again(r.app, now)
	if !problems.Failed() {
		// Of what is as it was, the host may have changed since; that is no mistake of this edit.
		problems = append(problems, next.hostProblems(func(flag string) bool { return value(next, flag) != value(r.force, flag) })...)
	}
	if problems.Failed() {
		r.agent.Configured(false)
	}
	for _, p := range problems {
		if p.Warning {
			r.log.Warn("configuration has a flaw", "problem", p)
		} else {
			r.log.Error("configuration rejected, nothing has changed", "problem", p)
		}
	}
	if problems.Failed() {
		return
	}
	r.wanted = next
	said, err := r.enforce()
	r.tell()
	if err == nil {
		r.agent.Configured(true)
	}
	// Who reads it may ask at once how the settings are. The more is logged of the old and the new level.
	r.level.Set(min(r.level.Level(), logLevels[r.wanted.logLevel]))
	for _, say := range said {
		say()
	}
	r.level.Set(logLevels[r.force.logLevel])
	if err != nil {
		return
	}
	if asked {
		r.log.Info("configuration read again", "file", now.path)
	}
}

// enforce puts into force what can be, and returns what is to be logged of that, and of what can't. Its error is that
// the agent has stopped.
func (r *reloader) enforce() (said []func(), err error) {
	say := func(f func()) { said = append(said, f) }
	for _, flag := range r.wanted.names() {
		from, to := shown(r.force.flags.Lookup(flag)), shown(r.wanted.flags.Lookup(flag))
		changed := value(r.force, flag) != value(r.wanted, flag)
		tune := traits[flag].tune
		if tune == nil {
			if changed {
				say(func() { r.log.Warn("setting needs a restart", "key", key(flag), "running", from, "wanted", to) })
			} else {
				r.adopt(flag)
			}
			continue
		}
		switch err := r.tune(tune); {
		case errors.Is(err, agent.ErrStopped):
			return said, err
		case err != nil:
			say(func() {
				r.log.Error("setting can't be changed", "key", key(flag), "running", from, "wanted", to, "error", err)
			})
			continue
		case changed:
			say(func() { r.log.Info("setting changed", "key", key(flag), "from", from, "to", to) })
		}
		r.adopt(flag)
	}
	return said, nil
}

// tune turns one knob, if that is necessary: it can be right although the setting is another, or wrong although
// it is the same, if it could not be turned before.
func (r *reloader) tune(tune func(k *knobs, s *settings)) error {
	before := knobs{Tunables: r.agent.Tunables(), terminal: r.terminal}
	after := before
	tune(&after, r.wanted)
	if after.Tunables == before.Tunables {
		return nil
	}
	return r.agent.Reconfigure(after.Tunables)
}

// adopt notes that a setting is in force as it is wanted.
func (r *reloader) adopt(flag string) {
	// Others may be reading what needs a restart, which is the same here.
	if want := value(r.wanted, flag); want != value(r.force, flag) {
		_ = r.force.flags.Lookup(flag).Value.Set(want) // which has taken it once
	}
	if from, ok := r.wanted.sources[flag]; ok {
		r.force.sources[flag] = from
	} else {
		delete(r.force.sources, flag)
	}
}

// report says how the settings are, by key; it waits for nobody.
func (r *reloader) report() map[string]control.Setting { return *r.told.Load() }

// tell has report say how they are now.
func (r *reloader) tell() {
	all := make(map[string]control.Setting)
	for _, s := range r.force.report() {
		is, flag := control.Setting{Value: s.Value, Source: s.Source.String(), Changes: s.Changes}, flagOf(s.Key)
		if value(r.force, flag) != value(r.wanted, flag) {
			wanted := shown(r.wanted.flags.Lookup(flag))
			is.Wanted = &wanted
		}
		all[s.Key] = is
	}
	r.told.Store(&all)
}
