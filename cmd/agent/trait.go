package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"bittern/internal/agent"
	"bittern/internal/db"
	"bittern/internal/rules"
	"bittern/internal/rules/mirror"
	"bittern/internal/sink"
)

// trait is what there is to know of a setting beside its flag.
type trait struct {
	// tune says in the knobs what the setting says. Nil: it counts from the next start on.
	tune func(k *knobs, s *settings)
	// host says what is wrong with the value on this host, "" for nothing; nil if there is nothing to look at.
	host func(value string) (message, hint string, warning bool)
}

// traits are those of all settings, by flag.
var traits = map[string]trait{
	"config":          {},
	"rules":           {host: rulesSource},
	"state":           {host: possible},
	"rescan":          {tune: func(k *knobs, s *settings) { k.Rescan = s.rescan }},
	"output":          {tune: func(k *knobs, s *settings) { k.Format = formatOf(s.output, k.terminal) }},
	"cgroup":          {host: watchable},
	"pins":            {host: pinnable},
	"keep":            {tune: func(k *knobs, s *settings) { k.Keep = s.keep }},
	"log-level":       {tune: func(k *knobs, s *settings) { k.level = logLevels[s.logLevel] }},
	"log-format":      {},
	"slots":           {},
	"socket":          {host: reachable},
	"ring-bytes":      {},
	"metrics":         {tune: func(k *knobs, s *settings) { k.Metrics = unlessOff(s.metrics) }},
	"outbox-bytes":    {},
	"no-stdout":       {},
	"file":            {host: appendable},
	"file-bytes":      {},
	"file-keep":       {},
	"syslog":          {host: syslogAddress},
	"syslog-facility": {},
	"journald":        {},
	"database":        {host: connectable},
	"rules-keys":      {host: verifying},
	"rules-unsigned":  {},
	"floor":           {},
	"program-stats":   {tune: func(k *knobs, s *settings) { k.ProgramStats = s.stats }},
}

// knobs are what can be changed while the agent runs.
type knobs struct {
	agent.Tunables
	level    slog.Level
	terminal bool // the output is one; it stays so
}

// knobs are set as the settings say.
func (s *settings) knobs(terminal bool) knobs {
	k := knobs{terminal: terminal}
	for _, t := range traits {
		if t.tune != nil {
			t.tune(&k, s)
		}
	}
	return k
}

func formatOf(output string, terminal bool) sink.Format {
	if output == "text" || output == "auto" && terminal {
		return sink.Text
	}
	return sink.JSON
}

// unlessOff is "" if there is to be none.
func unlessOff(value string) string {
	if value == off {
		return ""
	}
	return value
}

// hostProblems says what is wrong with the values of those settings on this host.
func (s *settings) hostProblems(of func(flag string) bool) (problems rules.Problems) {
	for _, flag := range s.names() {
		look := traits[flag].host
		if look == nil || !of(flag) {
			continue
		}
		value := s.flags.Lookup(flag).Value.String()
		message, hint, warning := look(value)
		if message == "" {
			continue
		}
		from := s.source(flag)
		p := rules.Problem{Message: key(flag) + " is " + redact(value) + ": " + message, Hint: hint, Warning: warning}
		if from.Kind == fromFile {
			p.Pos = rules.Position{File: from.File, Line: from.Line, Column: from.Column}
		} else if from.Kind != fromDefault {
			p.Message = from.Name + ": " + p.Message
		}
		problems = append(problems, p)
	}
	return problems
}

// existing is for directories that must be there; "" is for none.
func existing(path string) (message, hint string, warning bool) {
	if path == "" {
		return "", "", false
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return reason(err), "create it, or name another", false
	case !info.IsDir():
		return "it is not a directory", "", false
	}
	return "", "", false
}

// rulesSource is for a directory that must be there, or the database.
func rulesSource(path string) (message, hint string, warning bool) {
	if path == fromPostgres {
		return "", "", false
	}
	return existing(path)
}

// possible is for directories that are made if need be.
func possible(path string) (message, hint string, warning bool) {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return existing(path)
	}
	if above := filepath.Dir(path); above != path {
		return possible(above)
	}
	return "", "", false
}

func watchable(path string) (message, hint string, warning bool) {
	if message, hint, _ = existing(path); path == "" || message != "" {
		return message, hint, false
	}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err == nil && st.Type != unix.CGROUP2_SUPER_MAGIC {
		return "it is not in a cgroup v2 hierarchy", "", false
	}
	return "", "", false
}

// reachable is for the path of a socket, whose directory is made if need be.
func reachable(path string) (message, hint string, warning bool) {
	if path == off {
		return "", "", false
	}
	return possible(filepath.Dir(path))
}

// appendable is for the path of a file, whose directory is made if need be; "" is for none.
func appendable(path string) (message, hint string, warning bool) {
	if path == "" {
		return "", "", false
	}
	if err := (sink.FileConfig{Path: path}).Validate(); err != nil {
		return err.Error(), "", false
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return "it is not a file", "", false
	}
	return possible(filepath.Dir(path))
}

func syslogAddress(address string) (message, hint string, warning bool) {
	if address == "" {
		return "", "", false
	}
	if err := (sink.SyslogConfig{Address: address, Log: slog.New(slog.DiscardHandler)}).Validate(); err != nil {
		return err.Error(), "", false
	}
	return "", "", false
}

func connectable(dsn string) (message, hint string, warning bool) {
	if dsn == "" {
		return "", "", false
	}
	if _, err := db.Parse(dsn); err != nil {
		return err.Error(), "", false
	}
	return "", "", false
}

// verifying is for files of public keys; "" is for none.
func verifying(files string) (message, hint string, warning bool) {
	if files == "" {
		return "", "", false
	}
	if _, err := mirror.ReadKeys(strings.Split(files, ",")...); err != nil {
		return err.Error(), "bittern db key makes one", false
	}
	return "", "", false
}

// pinnable warns only: without pins an agent runs all the same.
func pinnable(path string) (message, hint string, warning bool) {
	if path == off {
		return "", "", false
	}
	var st unix.Statfs_t
	err := unix.Statfs(path, &st)
	for above := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && above != filepath.Dir(above); above = filepath.Dir(above) {
		err = unix.Statfs(above, &st)
	}
	if err == nil && st.Type != unix.BPF_FS_MAGIC {
		return "it is not in a BPF file system, so that nothing outlives the agent", "mount -t bpf bpf /sys/fs/bpf, or say " + off, true
	}
	return "", "", false
}

// reason is an error without the path that it is about.
func reason(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
