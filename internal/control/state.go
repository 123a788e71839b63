package control

import (
	"errors"
	"fmt"
	"time"

	"bittern/internal/rules"
)

// StateOf is a state as it is shown.
func StateOf(s rules.RuleState) State {
	out := State{State: s.State.String(), Reason: s.Reason, SetBy: s.SetBy, Scope: s.Scope}
	if s.State == rules.Clipped {
		out.ConfidenceMax = &s.ConfidenceMax
	}
	if !s.ExpiresAt.IsZero() {
		out.ExpiresAt = &s.ExpiresAt
	}
	if !s.SetAt.IsZero() {
		out.SetAt = &s.SetAt
	}
	return out
}

// parse reads a state that somebody asks for. Who and when is not for them to say.
func (s State) parse() (rules.RuleState, error) {
	state, known := rules.ParseState(s.State)
	out := rules.RuleState{State: state, Reason: s.Reason}
	if !known {
		return out, fmt.Errorf("unknown state %q: want enabled, disabled or clipped", s.State)
	}
	if (out.State == rules.Clipped) != (s.ConfidenceMax != nil) {
		return out, errors.New("confidence_max belongs to state clipped, which needs it")
	}
	if s.ConfidenceMax != nil {
		out.ConfidenceMax = *s.ConfidenceMax
	}
	if s.SetBy != "" || s.SetAt != nil || s.Scope != "" {
		return out, errors.New("set_by, set_at and scope are filled in by the agent")
	}
	if s.ExpiresAt != nil {
		if !s.ExpiresAt.After(time.Now()) {
			return out, fmt.Errorf("expires_at is %s, which is past", s.ExpiresAt.Format(time.RFC3339))
		}
		out.ExpiresAt = *s.ExpiresAt
	}
	return out, nil
}
