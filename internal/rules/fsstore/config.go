package fsstore

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"bittern/internal/inotify"
	"bittern/internal/rules"
	"bittern/internal/rules/wallclock"
)

// Config is what a Store needs. Dir, Parse and Logger are required.
type Config struct {
	// Dir is the directory of rule files. It may be a symbolic link, or lie
	// below one.
	Dir string
	// Parse reads the content of one file, whose rules can use the given lists; see rules.Parse.
	// Of many files several are parsed at once, so it must be safe for that. An empty file is not
	// given to it, nor is the file of a list.
	Parse  func(path string, data []byte, lists rules.Lists) *rules.File
	Logger *slog.Logger
	// MaxBytes is the size above which a file is not read; 0 means
	// rules.DefaultMaxBytes.
	MaxBytes int64
	// DeleteGrace is how long the rules of a file that vanished stay live, so that
	// tools which save by removing the old file and then making the new one
	// (git checkout, vim, tar) leave no gap; 0 means 100 ms, below 0 none at all.
	// When the directory itself was away, its files have ten times as long.
	// It delays nothing but deletions.
	DeleteGrace time.Duration

	// HoldLong is how old a hold becomes before it is reported, see HoldName; 0 means
	// five minutes.
	HoldLong time.Duration

	// Rescan is how long it takes to read all files once more, a few at a time, for what
	// events don't tell; 0 means that this is not done.
	Rescan time.Duration

	// States is the directory of the file of states, see package statefile. It is made when
	// a state is set. "" means that states can't be set.
	States string
	// Clock is by what states expire; nil means that of the system.
	Clock wallclock.Clock

	// newWatcher is inotify.New; tests replace it to inject faults.
	newWatcher      func() (watcher, error)
	newStateWatcher func() (watcher, error)
	// stuck replaces stuckAfter in tests.
	stuck time.Duration
}

// watcher is the part of inotify.Watcher that the store uses.
type watcher interface {
	AddDir(path string, mask uint32) (inotify.Watch, error)
	Remove(watch inotify.Watch) error
	Read(deadline time.Time) (inotify.Batch, error)
	TryRead() (inotify.Batch, error)
	Wake()
	Close() error
}

const (
	defaultDeleteGrace = 100 * time.Millisecond
	returnGraceFactor  = 10
)

// Validate reports what is missing or out of range.
func (c Config) Validate() error {
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("no rules directory given"))
	}
	if c.Parse == nil {
		errs = append(errs, errors.New("no parse function given"))
	}
	if c.Logger == nil {
		errs = append(errs, errors.New("no logger given"))
	}
	if c.MaxBytes < 0 {
		errs = append(errs, fmt.Errorf("file size limit %d is negative", c.MaxBytes))
	}
	if c.Rescan < 0 {
		errs = append(errs, fmt.Errorf("time of a rescan %v is negative", c.Rescan))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("configuring rule store: %w", err)
	}
	return nil
}

func (c Config) withDefaults() (Config, error) {
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = rules.DefaultMaxBytes
	}
	if c.DeleteGrace == 0 {
		c.DeleteGrace = defaultDeleteGrace
	}
	if c.HoldLong == 0 {
		c.HoldLong = defaultHoldLong
	}
	if c.newWatcher == nil {
		c.newWatcher = func() (watcher, error) { return inotify.New() }
	}
	if c.newStateWatcher == nil {
		c.newStateWatcher = func() (watcher, error) { return inotify.New() }
	}
	if c.stuck == 0 {
		c.stuck = stuckAfter
	}
	if c.Clock == nil {
		c.Clock = wallclock.System{}
	}
	c.Dir = filepath.Clean(c.Dir)
	return c, nil
}

// Accepts reports whether a base name is that of a rule file: it fully matches
// [A-Za-z0-9_-]+\.ya?ml. Editors' scratch files and hidden files don't.
func Accepts(name string) bool {
	stem := len(name) - len(".yml")
	if stem > 0 && name[stem:] != ".yml" {
		stem = len(name) - len(".yaml")
		if stem > 0 && name[stem:] != ".yaml" {
			return false
		}
	}
	if stem <= 0 {
		return false
	}
	for i := range stem {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
