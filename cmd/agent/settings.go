package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"bittern/internal/rules"
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

	flags *pflag.FlagSet // all of them, whether the command has them or not
}

func newSettings(p paths) *settings {
	s := &settings{flags: pflag.NewFlagSet("settings", pflag.ContinueOnError)}
	f := s.flags
	f.StringVar(&s.config, "config", "", "configuration `file` (default "+p.config+" if it exists)")
	f.StringVar(&s.rules, "rules", "", "`directory` of rule files (default "+p.rules+" if it exists, else the shipped rules in the state directory)")
	f.StringVar(&s.state, "state", p.state, "`directory` for what Bittern keeps")
	f.Var(newSpan(&s.rescan, 5*time.Minute), "rescan", "`time` in which all rule files are read once more, for edits that make no event; 0 is never")
	f.Var(newChoice(&s.output, "auto", "auto", "text", "json"), "output", "`form` of detections: text, json, or auto: text on a terminal, else json")
	f.StringVar(&s.cgroup, "cgroup", "", "watch only processes of this cgroup v2 `directory` and those below it")
	f.StringVar(&s.pins, "pins", p.pins, "`directory` of the BPF file system for what goes on when the agent is killed, until it runs again; "+off+" is none")
	f.BoolVar(&s.keep, "keep", false, "go on in the kernel after a stop as well, until the agent runs again or bittern unload")
	f.Var(newChoice(&s.logLevel, "info", "debug", "info", "warn", "error"), "log-level", "least `level` to log: debug, info, warn or error")
	f.Var(newChoice(&s.logFormat, "text", "text", "json"), "log-format", "`form` of the log: text or json")
	f.Var(newWhole(&s.slots, 8192), "slots", "`number` of clauses of rules that fit into the kernel")
	f.Var(newWhole(&s.ringBytes, 1<<20), "ring-bytes", "`bytes` of the ring buffer of matches, a power of two")
	f.StringVar(&s.metrics, "metrics", p.metrics, "`address`, host:port, at which to tell metrics (/metrics) and health (/healthz, /readyz) by HTTP; "+off+" is none")
	f.StringVar(&s.socket, "socket", p.socket, "`path` of the Unix socket at which the agent answers the other commands; "+off+" is none")
	f.BoolVar(&s.stats, "program-stats", false, "have the kernel measure its BPF programs for the metrics, which costs a little at each event")
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

// resolve fills in what no flag has set. All that is wrong is reported at once.
func (s *settings) resolve(a *app) error {
	fromFlag := make(map[string]bool)
	s.flags.VisitAll(func(f *pflag.Flag) { fromFlag[f.Name] = f.Changed })
	var errs []error
	fromEnv := make(map[string]bool)
	s.flags.VisitAll(func(f *pflag.Flag) {
		value, ok := a.env(variable(f.Name))
		if !ok || value == "" || fromFlag[f.Name] {
			return
		}
		fromEnv[f.Name] = true
		if err := f.Value.Set(value); err != nil {
			errs = append(errs, fmt.Errorf("reading the environment: %s is %q: %w", variable(f.Name), value, err))
		}
	})
	if err := s.resolveFile(a.paths.config, func(flag string) bool { return fromFlag[flag] || fromEnv[flag] }); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// resolveFile takes the configuration file in: the one that is named, or the
// default one if there is one.
func (s *settings) resolveFile(fallback string, overridden func(flag string) bool) error {
	path := s.config
	if path == "" {
		path = fallback
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && s.config == "" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	var known []string
	s.flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "config" {
			known = append(known, key(f.Name))
		}
	})
	entries, problems := parseConfig(path, data, known)
	for _, e := range entries {
		// Values that something else overrides must be right all the same: they come
		// into force when that goes away.
		if err := s.apply(e, overridden(e.flag)); err != nil {
			problems = append(problems, rules.Problem{Pos: e.pos, Message: err.Error()})
		}
	}
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b rules.Problem) int { return cmp.Compare(a.Pos.Line, b.Pos.Line) })
	return problems
}

// apply sets what an entry of the file says, or only tries it.
func (s *settings) apply(e entry, overridden bool) error {
	flag := s.flags.Lookup(e.flag)
	before := flag.Value.String()
	if err := flag.Value.Set(e.value); err != nil {
		return fmt.Errorf("%s is %q: %w", key(e.flag), e.value, err)
	}
	if overridden {
		return flag.Value.Set(before)
	}
	return nil
}

// choice is a flag with a fixed set of values.
type choice struct {
	value   *string
	allowed []string
}

func newChoice(value *string, fallback string, allowed ...string) *choice {
	*value = fallback
	return &choice{value, allowed}
}

func (c *choice) String() string { return *c.value }
func (c *choice) Type() string   { return "string" }

func (c *choice) Set(value string) error {
	if !slices.Contains(c.allowed, value) {
		return fmt.Errorf("want %s or %s", strings.Join(c.allowed[:len(c.allowed)-1], ", "), c.allowed[len(c.allowed)-1])
	}
	*c.value = value
	return nil
}

// whole is a flag with a whole number.
type whole struct{ value *int }

func newWhole(value *int, fallback int) *whole {
	*value = fallback
	return &whole{value}
}

func (w *whole) String() string { return strconv.Itoa(*w.value) }
func (w *whole) Type() string   { return "int" }

func (w *whole) Set(value string) error {
	n, err := strconv.Atoi(value)
	if err != nil {
		return errors.New("want a whole number")
	}
	*w.value = n
	return nil
}

// span is a flag with a time that something takes, or 0.
type span struct{ value *time.Duration }

// spanLeast keeps a typing error from making the agent do nothing else.
const spanLeast = time.Second

func newSpan(value *time.Duration, fallback time.Duration) *span {
	*value = fallback
	return &span{value}
}

func (s *span) Type() string { return "duration" }

// String leaves out what is zero at the end: 5m for 5m0s.
func (s *span) String() string {
	text := s.value.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

func (s *span) Set(value string) error {
	d, err := time.ParseDuration(value)
	if err != nil || d != 0 && d < spanLeast {
		return fmt.Errorf("want a time such as 90s or 5m, at least %v, or 0", spanLeast)
	}
	*s.value = d
	return nil
}
