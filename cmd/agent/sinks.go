package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"bittern/internal/agent"
	"bittern/internal/sink"
)

// outboxDir is where records outlive the agent until they are delivered.
func outboxDir(s *settings) string { return filepath.Join(s.state, "outbox") }

// sinks are those that the settings name, beside standard output. file is that of the setting of the same name, nil if there is none.
func (s *settings) sinks(log *slog.Logger) (all []agent.Sink, file *sink.File, err error) {
	if s.file != "" {
		if file, err = sink.NewFile(sink.FileConfig{Path: s.file, MaxBytes: int64(s.fileBytes), Keep: s.fileKeep}); err != nil {
			return nil, nil, err
		}
		all = append(all, agent.Sink{Name: "file", Sink: file})
	}
	if s.syslog != "" {
		to, err := sink.NewSyslog(sink.SyslogConfig{Address: s.syslog, Facility: s.syslogFacility, Log: log.With("component", "syslog")})
		if err != nil {
			return nil, nil, err
		}
		all = append(all, agent.Sink{Name: "syslog", Sink: to})
	}
	if s.journald {
		to, err := sink.NewJournal(sink.JournalConfig{})
		if err != nil {
			return nil, nil, err
		}
		all = append(all, agent.Sink{Name: "journald", Sink: to})
	}
	return all, file, nil
}

// onReopen opens the file anew at each SIGUSR1 until ctx is done, as log rotation wants it.
func onReopen(ctx context.Context, signals <-chan os.Signal, file *sink.File, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		if file == nil {
			log.Info("SIGUSR1: there is no file to open anew")
			continue
		}
		if err := file.Reopen(); err != nil {
			log.Error("the file of records can't be opened anew, it is tried again", "error", err)
			continue
		}
		log.Info("the file of records is opened anew")
	}
}
