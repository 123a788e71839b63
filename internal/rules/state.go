package rules

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"
)

// State says whether a rule is to detect.
type State uint8

// The states.
const (
	Enabled  State = iota // as the rule says
	Disabled              // not at all: the kernel does not hold it
	Clipped               // with no more confidence than RuleState.ConfidenceMax
)

var stateNames = []string{Enabled: "enabled", Disabled: "disabled", Clipped: "clipped"}

// String returns "enabled", "disabled" or "clipped".
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state %d", s)
}

// ParseState is the reverse of String.
func ParseState(name string) (s State, known bool) {
	at := slices.Index(stateNames, name)
	return State(max(at, 0)), at >= 0
}

// RuleState is what an operator has decided about a rule. It is apart from the rule's
// definition, and outlives it. The zero value is "enabled, no overrides", and is what
// a rule has of which nothing was decided.
type RuleState struct {
	State         State
	ConfidenceMax float64   // Clipped: 0 to 1
	ExpiresAt     time.Time // when the zero value takes its place by itself; zero for never
	Reason        string
	SetBy         string
	SetAt         time.Time
	// Scope says for which hosts a fleet's operators have decided it: "host", "group" or
	// "fleet". "" if it is a decision of this host alone, of which no fleet knows.
	Scope string
}

// Limits of what a state says, in bytes.
const (
	maxReason = 1024
	maxSetBy  = 256
)

// IsZero reports whether nothing was decided.
func (s RuleState) IsZero() bool { return s.Equal(RuleState{}) }

// Equal reports whether two states say the same.
func (s RuleState) Equal(other RuleState) bool {
	return s.SameAs(other) && s.SetAt.Equal(other.SetAt)
}

// SameAs is Equal, whenever they were set.
func (s RuleState) SameAs(other RuleState) bool {
	return s.State == other.State && s.ConfidenceMax == other.ConfidenceMax && s.ExpiresAt.Equal(other.ExpiresAt) &&
		s.Reason == other.Reason && s.SetBy == other.SetBy && s.Scope == other.Scope
}

// ExpiredAt reports whether the state no longer holds at a time of day.
func (s RuleState) ExpiredAt(now time.Time) bool {
	return !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt)
}

// Clamp returns the confidence that a tag of the rule has: never more than its own.
func (s RuleState) Clamp(confidence float64) float64 {
	if s.State == Clipped {
		return min(confidence, s.ConfidenceMax)
	}
	return confidence
}

// Normal returns the state with its times as they are stored: in UTC, and without a
// monotonic reading.
func (s RuleState) Normal() RuleState {
	s.ExpiresAt, s.SetAt = s.ExpiresAt.Round(0).UTC(), s.SetAt.Round(0).UTC()
	return s
}

// Validate reports all that is wrong with a state.
func (s RuleState) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	switch {
	case int(s.State) >= len(stateNames):
		fail("%s is unknown", s.State)
	case s.State == Clipped && (math.IsNaN(s.ConfidenceMax) || s.ConfidenceMax < 0 || s.ConfidenceMax > 1):
		fail("confidence_max is %v, want a number from 0 to 1", s.ConfidenceMax)
	case s.State != Clipped && s.ConfidenceMax != 0:
		fail("confidence_max is of state clipped only, not of %s", s.State)
	}
	switch year := s.ExpiresAt.Year(); {
	case s.ExpiresAt.IsZero():
	case s.State == Enabled && s.Scope == "": // of a fleet's states, the next one counts then
		fail("enabled is what a rule reverts to, so it can't expire")
	case year < 1970 || year > 9999:
		fail("expires_at is in the year %d, want 1970 to 9999", year)
	}
	if !slices.Contains([]string{"", "host", "group", "fleet"}, s.Scope) {
		fail("scope is %q, want host, group or fleet", s.Scope)
	}
	for _, text := range []struct {
		what, value string
		limit       int
	}{{"reason", s.Reason, maxReason}, {"set_by", s.SetBy, maxSetBy}} {
		switch {
		case len(text.value) > text.limit:
			fail("%s has %d bytes, the limit is %d", text.what, len(text.value), text.limit)
		case !plain(text.value):
			fail("%s is not one line of printable text", text.what)
		}
	}
	return errors.Join(errs...)
}

func plain(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

// CheckID reports what is wrong with a rule id.
func CheckID(id string) error {
	switch {
	case len(id) > maxID:
		return fmt.Errorf("rule id has %d bytes, the limit is %d", len(id), maxID)
	case !ruleID.MatchString(id):
		return fmt.Errorf("rule id %q is malformed: use letters, digits and _ only", id)
	}
	return nil
}

// Stated is a rule with its state. The rule is shared, and immutable.
type Stated struct {
	*Rule
	State RuleState
}
