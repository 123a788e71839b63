package agent

import (
	"bittern/internal/rules"
	"bittern/internal/rules/fleetstate"
	"bittern/internal/rules/fsstore"
)

// Store keeps rules and their states. It is one contract of several methods, since what
// they promise, they promise about each other; package storetest is its conformance suite.
//
// A change is announced once for each rule of an edit, in order, definitions and states in
// one order. A subscription has all that happens from when it was made. State knows
// rules that are not there. SetState persists, then takes effect, then announces; if the first
// fails there is none of the others. A state that expires reverts at that time of day.
type Store interface {
	Load() []rules.Stated
	State(id string) rules.RuleState
	SetState(id string, state rules.RuleState, by string) error
	Changes() *rules.Subscription
	// Subscribe is Load, and Changes from exactly there on.
	Subscribe() ([]rules.Stated, *rules.Subscription)
	// Problems is what is wrong at present.
	Problems() []rules.SourceProblems
	// Health is nil while edits take effect. It waits for nobody.
	Health() error
	Close() error
}

var (
	_ Store = (*fsstore.Store)(nil)
	_ Store = (*fleetstate.Store)(nil)
)
