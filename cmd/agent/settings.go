package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bittern/internal/loader"
	"bittern/internal/outbox"
	"bittern/internal/rules"
	"bittern/internal/sink"
)

// paths are where things lie unless the settings say otherwise.
type paths struct {
	config  string // file, read if it exists
	rules   string // directory, used if it exists
	state   string // directory, made if it is needed
	pins    string // directory, made if it is needed
	metrics string // host:port
	socket  string
}

// Bounds of sizes, in bytes.
const (
	mostOutbox    = 64 << 30
	mostFileBytes = 64 << 30
)

// fromPostgres is said in the place of the directory of rules if they are those of the database.
const fromPostgres = "postgres"

// off is said in the place of pins or of an address that there is none.
const off = "off"

// settings are all that can be set: by a flag, by an environment variable, by a
// key of the configuration file, or not at all, in this order.
type settings struct {
	config    string
	rules     string // "" is the default, see rulesDir
	state     string
	rescan    time.Duration
	output    string
	cgroup    string
	pins      string
	keep      bool
	logLevel  string
	logFormat string
	slots     int
	ringBytes int
	metrics   string
	socket    string
	stats     bool

	outboxBytes    int
	noStdout       bool
	file           string
	fileBytes      int
	fileKeep       int
	syslog         string
	syslogFacility string
	journald       bool
	database       string
	rulesKeys      string
	rulesUnsigned  bool
	floor          string

	flags   *pflag.FlagSet    // all of them, whether the command has them or not
	sources map[string]source // by flag; what is not in it has its default
	read    file
}

func newSettings(p paths) *settings {
	s := &settings{flags: pflag.NewFlagSet("settings", pflag.ContinueOnError), sources: make(map[string]source)}
	f := s.flags
	f.StringVar(&s.config, "config", "", "configuration `file` (default "+p.config+" if it exists)")
	f.StringVar(&s.rules, "rules", "", "`directory` of rule files, or "+fromPostgres+" for those of the database (default "+p.rules+" if it exists, else the shipped rules in the state directory)")
	f.StringVar(&s.state, "state", p.state, "`directory` for what Bittern keeps")
	f.Var(newSpan(&s.rescan, 5*time.Minute), "rescan", "`time` in which all rule files are read once more, for edits that make no event; 0 is never")
	f.Var(newChoice(&s.output, "auto", "auto", "text", "json"), "output", "`form` of detections: text, json, or auto: text on a terminal, else json")
	f.StringVar(&s.cgroup, "cgroup", "", "watch only processes of this cgroup v2 `directory` and those below it")
	f.StringVar(&s.pins, "pins", p.pins, "`directory` of the BPF file system for what goes on when the agent is killed, until it runs again; "+off+" is none")
	addToggle(f, &s.keep, "keep", "go on in the kernel after a stop as well, until the agent runs again or bittern unload")
	f.Var(newChoice(&s.logLevel, "info", "debug", "info", "warn", "error"), "log-level", "least `level` to log: debug, info, warn or error")
	f.Var(newChoice(&s.logFormat, "text", "text", "json"), "log-format", "`form` of the log: text or json")
	f.Var(newWhole(&s.slots, 8192, loader.LeastSlots, loader.MostSlots), "slots", "`number` of clauses of rules that fit into the kernel")
	f.Var(newPower(&s.ringBytes, 4<<20, loader.LeastRingBytes, loader.MostRingBytes), "ring-bytes", "`bytes` of the ring buffer of matches, a power of two")
	f.Var(newAddress(&s.metrics, p.metrics), "metrics", "`address`, host:port, at which to tell metrics (/metrics) and health (/healthz, /readyz) by HTTP; "+off+" is none")
	f.StringVar(&s.socket, "socket", p.socket, "`path` of the Unix socket at which the agent answers the other commands; "+off+" is none")
	f.Var(newWhole(&s.outboxBytes, outbox.DefaultQuota, outbox.LeastQuota, mostOutbox), "outbox-bytes", "`bytes` on the disk for records that are not delivered yet")
	addToggle(f, &s.noStdout, "no-stdout", "write no records to standard output")
	f.StringVar(&s.file, "file", "", "append all records to this file at `path`, as JSON lines, also those of changes of rules and states")
	f.Var(newWhole(&s.fileBytes, 100<<20, sink.LeastFileBytes, mostFileBytes), "file-bytes", "`bytes` at which that file is renamed to PATH.1, and PATH.1 to PATH.2")
	f.Var(newWhole(&s.fileKeep, 5, 1, 1000), "file-keep", "`number` of such renamed files to keep")
	f.StringVar(&s.syslog, "syslog", "", "send all records to syslog at this `address`: unix:///dev/log, udp://HOST:PORT, tcp://HOST:PORT or tls://HOST:PORT")
	f.Var(newChoice(&s.syslogFacility, "local0", sink.Facilities()...), "syslog-facility", "`facility` of these records")
	addToggle(f, &s.journald, "journald", "send all records to the journal of systemd")
	f.StringVar(&s.database, "database", "", "deliver all records to the fleet's store, in PostgreSQL, with this connection `string`, and take states of rules from there")
	f.StringVar(&s.rulesKeys, "rules-keys", "", "`files` of public keys, joined by commas, by one of which rules of the database must be signed")
	addToggle(f, &s.rulesUnsigned, "rules-unsigned", "take rules of the database that nobody has signed")
	f.Var(newFloor(&s.floor), "floor", "`rules`, ids or beginnings of ids with * and joined by commas, that the database can't disable")
	addToggle(f, &s.stats, "program-stats", "have the kernel measure its BPF programs for the metrics, which costs a little at each event")
	return s
}

// addTo gives a command the flags of these names, or all if none is named.
func (s *settings) addTo(cmd *cobra.Command, names ...string) {
	s.flags.VisitAll(func(f *pflag.Flag) {
		if len(names) > 0 && !slices.Contains(names, f.Name) {
			return
		}
		cmd.Flags().AddFlag(f)
		if c, ok := f.Value.(*choice); ok {
			// It fails only for flags that are not there.
			_ = cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(c.allowed, cobra.ShellCompDirectiveNoFileComp))
		}
		switch f.Name {
		case "rules", "state", "cgroup", "pins":
			_ = cmd.MarkFlagDirname(f.Name)
		case "config":
			_ = cmd.MarkFlagFilename(f.Name, "yaml", "yml")
		}
	})
}

// variable returns the environment variable of a flag: BITTERN_LOG_LEVEL.
func variable(flag string) string {
	return "BITTERN_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// key returns the key of a flag in the configuration file: log_level.
func key(flag string) string { return strings.ReplaceAll(flag, "-", "_") }

// flagOf is the reverse.
func flagOf(key string) string { return strings.ReplaceAll(key, "_", "-") }

// resolve fills in what no flag has set, and reads the configuration file for that. All that is wrong is
// reported at once, as rules.Problems.
func (s *settings) resolve(a *app) error {
	problems := s.resolveEnv(a.env)
	return asError(append(problems, s.resolveFile(readFile(s.configPath(a.paths)))...))
}

// again resolves the same anew, with the same flags, from what the file has now.
func (s *settings) again(a *app, now file) (*settings, rules.Problems) {
	next := newSettings(a.paths)
	var problems rules.Problems
	s.flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			if err := next.flags.Set(f.Name, f.Value.String()); err != nil {
				problems = append(problems, rules.Problem{Message: fmt.Sprintf("--%s: %v", f.Name, err)})
			}
		}
	})
	problems = append(problems, next.resolveEnv(a.env)...)
	return next, append(problems, next.resolveFile(now)...)
}

// resolveEnv takes in the environment, where no flag was given.
func (s *settings) resolveEnv(env func(name string) (string, bool)) (problems rules.Problems) {
	s.flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed {
			s.sources[f.Name] = source{Kind: fromFlag, Name: "--" + f.Name}
			return
		}
		name := variable(f.Name)
		value, ok := env(name)
		if !ok || value == "" {
			return
		}
		s.sources[f.Name] = source{Kind: fromEnvironment, Name: name}
		if err := f.Value.Set(value); err != nil {
			problems = append(problems, rules.Problem{Message: fmt.Sprintf("reading the environment: %s is %q: %v", name, redact(value), err)})
		}
	})
	return problems
}

// configPath returns the configuration file, and whether it must be there: one that is named must.
func (s *settings) configPath(p paths) (path string, must bool) {
	if s.config != "" {
		return s.config, true
	}
	return p.config, false
}

// resolveFile takes in the configuration file, where neither a flag nor the environment comes before it.
func (s *settings) resolveFile(f file) rules.Problems {
	s.read = f
	entries, problems := f.entries(s.keys())
	for _, e := range entries {
		_, overridden := s.sources[e.flag]
		// Values that something else overrides must be right all the same: they come
		// into force when that goes away.
		if problem := s.apply(e, overridden); problem != nil {
			problems = append(problems, *problem)
		}
	}
	slices.SortStableFunc(problems, func(a, b rules.Problem) int { return cmp.Compare(a.Pos.Line, b.Pos.Line) })
	return problems
}

// apply sets what an entry of the file says, or only tries it.
func (s *settings) apply(e entry, overridden bool) *rules.Problem {
	value := s.flags.Lookup(e.flag).Value
	before := value.String()
	if err := value.Set(e.value); err != nil {
		return &rules.Problem{Pos: e.pos, Message: fmt.Sprintf("%s is %q: %v", key(e.flag), redact(e.value), err)}
	}
	if overridden {
		_ = value.Set(before) // it was right before
	} else {
		s.sources[e.flag] = source{Kind: fromFile, File: e.pos.File, Line: e.pos.Line, Column: e.pos.Column}
	}
	if want, hint := wrongType(value.Type(), e.tag); want != "" {
		return &rules.Problem{Pos: e.pos, Message: fmt.Sprintf("%s must be %s", key(e.flag), want), Hint: hint}
	}
	return nil
}

// asError makes an error of problems, nil if there are none.
func asError(problems rules.Problems) error {
	if len(problems) == 0 {
		return nil
	}
	return problems
}

// names are all flags, sorted.
func (s *settings) names() (names []string) {
	s.flags.VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// keys are those of the configuration file, sorted.
func (s *settings) keys() (keys []string) {
	for _, name := range s.names() {
		if name != "config" {
			keys = append(keys, key(name))
		}
	}
	return keys
}

// value is that of a flag, as the flag reads it.
func value(s *settings, flag string) string { return s.flags.Lookup(flag).Value.String() }
