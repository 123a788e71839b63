package agent

import (
	"errors"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"bittern/internal/control"
	"bittern/internal/loader"
	"bittern/internal/sink"
)

// Config is what an Agent needs. Rules, Output and Log are required.
type Config struct {
	// Rules returns the directory of rules, and may make it first. It is called once.
	Rules func() (dir string, err error)
	// States is the directory of the states of rules; "" for none.
	States string
	// Repeats is the directory in which the counts of detections that limits hold back outlive the agent; "" is to keep
	// them in memory.
	Repeats string
	Kernel  loader.Config // its Log may be left out
	// Outbox is the directory in which records outlive the agent until they are delivered; "" is to keep them in memory.
	Outbox      string
	OutboxBytes int64     // that it may take; 0 is outbox.DefaultQuota
	Output      io.Writer // detections, repeats and gap records, and nothing else; nil for none
	Colour      bool      // of text; for terminals
	Sinks       []Sink    // more to deliver all records to
	Fleet       *Fleet    // nil for none
	// Socket is the path of the control socket; "" for none.
	Socket string
	// Settings are told at the control socket; nil for none.
	Settings func() map[string]control.Setting
	Tunables
	Log *slog.Logger
}

// Tunables are what may change while an agent runs, see Agent.Reconfigure.
type Tunables struct {
	Format sink.Format // of Output
	// Rescan is how long it takes to read all rule files once more, for what events don't tell; 0 for never.
	Rescan time.Duration
	// Keep says that a Stop leaves the kernel's side to the next agent, if Kernel.Pins allows it.
	Keep bool
	// Metrics is the address, host:port, at which metrics and health are told by HTTP; "" for none.
	Metrics string
	// ProgramStats has the kernel measure its programs, which costs a little at each event.
	ProgramStats bool
}

// Validate reports what is missing.
func (c Config) Validate() error {
	switch {
	case c.Rules == nil:
		return errors.New("configuring the agent: no rules given")
	case c.Log == nil:
		return errors.New("configuring the agent: no logger given")
	}
	return c.Fleet.validate()
}

// Version is the version of the running program, "devel" if it was built from a
// work tree.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}
