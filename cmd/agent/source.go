package main

import (
	"regexp"

	"github.com/spf13/pflag"

	"bittern/internal/rules"
)

// The kinds of sources of a setting, the last one first in precedence.
const (
	fromDefault     = "default"
	fromFile        = "file"
	fromEnvironment = "environment"
	fromFlag        = "flag"
)

// source says where the value of a setting comes from.
type source struct {
	Kind   string `json:"kind"`
	Name   string `json:"name,omitempty"` // of the variable, or of the flag with its dashes
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"` // from 1
	Column int    `json:"column,omitempty"`
}

func (s source) String() string {
	switch s.Kind {
	case fromFile:
		return rules.Position{File: s.File, Line: s.Line, Column: s.Column}.String()
	case fromEnvironment, fromFlag:
		return s.Name
	}
	return s.Kind
}

// source returns where the value of a flag comes from.
func (s *settings) source(flag string) source {
	if from, ok := s.sources[flag]; ok {
		return from
	}
	return source{Kind: fromDefault}
}

// shown is the value of a setting for people, logs and programs. Nothing else shows one.
func shown(f *pflag.Flag) string { return redact(f.Value.String()) }

// Passwords in connection strings: of URLs, and of keys and values.
var (
	passwordURL  = regexp.MustCompile(`(://[^:/@\s]*:)\S*@`)
	passwordPair = regexp.MustCompile(`(?i)(password|passwd)(\s*=\s*)('(?:[^'\\]|\\.)*'?|\S+)`)
)

// redact takes the passwords out of a value.
func redact(value string) string {
	value = passwordURL.ReplaceAllString(value, "${1}xxxxx@")
	return passwordPair.ReplaceAllString(value, "${1}${2}xxxxx")
}
