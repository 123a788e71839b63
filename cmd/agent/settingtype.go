package main

import (
	"errors"
	"fmt"
	"math/bits"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// The types of settings are the values of their flags. Each accepts exactly what its schema does, see
// schemaOf, so that an editor and the agent agree.

// choice is one of a fixed set of values.
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

// toggle is true or false.
type toggle struct{ value *bool }

// addToggle adds a flag that is true if it is given without a value, and false at first.
func addToggle(f *pflag.FlagSet, value *bool, name, usage string) {
	f.Var(&toggle{value}, name, usage)
	f.Lookup(name).NoOptDefVal = "true"
}

func (t *toggle) String() string   { return strconv.FormatBool(*t.value) }
func (t *toggle) Type() string     { return "bool" }
func (t *toggle) IsBoolFlag() bool { return true }

func (t *toggle) Set(value string) error {
	on, err := strconv.ParseBool(value)
	if err != nil {
		return errors.New("want true or false")
	}
	*t.value = on
	return nil
}

// whole is a whole number in bounds, or a power of two in them.
type whole struct {
	value       *int
	least, most int
	power       bool
}

func newWhole(value *int, fallback, least, most int) *whole {
	*value = fallback
	return &whole{value: value, least: least, most: most}
}

func newPower(value *int, fallback, least, most int) *whole {
	w := newWhole(value, fallback, least, most)
	w.power = true
	return w
}

func (w *whole) String() string { return strconv.Itoa(*w.value) }
func (w *whole) Type() string   { return "int" }

func (w *whole) Set(value string) error {
	n, err := strconv.Atoi(value)
	inside := err == nil && w.least <= n && n <= w.most
	switch {
	case w.power && (!inside || bits.OnesCount(uint(n)) != 1):
		return fmt.Errorf("want a power of two from %d to %d", w.least, w.most)
	case !inside:
		return fmt.Errorf("want a whole number from %d to %d", w.least, w.most)
	}
	*w.value = n
	return nil
}

// span is a time that something takes, in whole seconds, or 0: a typing error must not make the agent do
// nothing else.
type span struct{ value *time.Duration }

// spanForm is that of a text that is not empty.
const spanForm = "^(0|([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?)$"

var spanPattern = regexp.MustCompile(spanForm)

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
	if err != nil || !spanPattern.MatchString(value) {
		return errors.New("want a time such as 90s, 5m or 1h30m, at least 1s, or 0")
	}
	*s.value = d
	return nil
}

// address is where to listen: host:port, or off.
type address struct{ value *string }

const addressForm = `^(off|([A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9._-]+)?\]):` +
	`([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))$`

var addressPattern = regexp.MustCompile(addressForm)

func newAddress(value *string, fallback string) *address {
	*value = fallback
	return &address{value}
}

func (a *address) String() string { return *a.value }
func (a *address) Type() string   { return "string" }

func (a *address) Set(value string) error {
	if !addressPattern.MatchString(value) {
		return errors.New("want host:port, such as 127.0.0.1:9435 or [::1]:9435, or off")
	}
	*a.value = value
	return nil
}
