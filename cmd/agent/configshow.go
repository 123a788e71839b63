package main

import (
	"bytes"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"
)

// setting is a setting as people and programs are told of it.
type setting struct {
	Key     string `json:"key"`
	Value   string `json:"value"` // passwords are taken out
	Source  source `json:"source"`
	Changes string `json:"changes"` // take effect "live", or at a "restart"
}

// report returns all settings, by key.
func (s *settings) report() (all []setting) {
	for _, flag := range s.names() {
		changes := "restart"
		if traits[flag].tune != nil {
			changes = "live"
		}
		value := shown(s.flags.Lookup(flag))
		if flag == "config" {
			value = s.read.path // that may not be there
		}
		all = append(all, setting{key(flag), value, s.source(flag), changes})
	}
	return all
}

const configShowLong = `Show every setting as "bittern run" would have it with the same flags, environment and
configuration file: its value, where that comes from, and whether a change takes
effect while an agent runs (live) or when it starts (restart). Passwords are not shown.

All flags of "bittern run" can be given but --output, which here is the form of what
is shown. With --output yaml it is a configuration file that gives the same settings.`

func newConfigShow(a *app) *cobra.Command {
	s := newSettings(a.paths)
	var output string
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "show every setting, and where it comes from",
		Long:    configShowLong,
		Example: "  bittern config show\n  BITTERN_LOG_LEVEL=debug bittern config show --output json",
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			if err := s.resolve(a); err != nil {
				return err
			}
			switch output {
			case "json":
				return writeJSON(a.out, s.report())
			case "yaml":
				return s.writeYAML(a.out)
			}
			return writeSettings(a.out, s.report())
		},
	}
	s.flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "output" {
			s.addTo(cmd, f.Name)
		}
	})
	addForms(cmd, &output, "`form`: text, json or yaml", "text", "json", "yaml")
	return cmd
}

func writeSettings(out io.Writer, all []setting) error {
	table := newTable(out)
	for _, s := range all {
		row(table, s.Key, dash(s.Value), s.Changes, s.Source.String())
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("writing settings: %w", err)
	}
	return nil
}

// writeYAML writes a configuration file that says the same. What is "" can't be said, and is the default.
func (s *settings) writeYAML(out io.Writer) error {
	var text bytes.Buffer
	for _, one := range s.report() {
		if one.Value == "" || one.Key == "config" {
			continue
		}
		tag := map[string]string{"bool": "!!bool", "int": "!!int"}[s.flags.Lookup(flagOf(one.Key)).Value.Type()]
		if tag == "" {
			tag = "!!str"
		}
		line, err := yaml.Marshal(map[string]*yaml.Node{one.Key: {Kind: yaml.ScalarNode, Tag: tag, Value: one.Value, LineComment: one.Source.String()}})
		if err != nil {
			return fmt.Errorf("writing settings: %w", err)
		}
		text.Write(line)
	}
	if _, err := out.Write(text.Bytes()); err != nil {
		return fmt.Errorf("writing settings: %w", err)
	}
	return nil
}
