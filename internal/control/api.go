package control

import (
	"context"
	"time"

	"bittern/internal/rules"
)

// Agent is what the server asks. What it returns is not changed any more.
type Agent interface {
	Status(ctx context.Context) (Status, error)
	Rules(ctx context.Context) ([]Rule, error)
	// Rule's error is ErrNoRule if nothing is known of such a rule.
	Rule(ctx context.Context, id string) (RuleDetail, error)
	States() map[string]rules.RuleState
	SetState(id string, state rules.RuleState, by string) error
	Hooks() []Hook
	Settings() map[string]Setting
}

// Status is how an agent is.
type Status struct {
	Version  string    `json:"version"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Ready    bool      `json:"ready"`
	Health   []Part    `json:"health"`
	RulesDir string    `json:"rules_dir"`
	Cgroup   string    `json:"cgroup,omitempty"` // "" if all processes are watched
	Epoch    uint64    `json:"epoch"`
	Rules    Counts    `json:"rules"`
	// RulesHash is the same on hosts where the same rules are live.
	RulesHash   string           `json:"rules_hash"`
	Problems    []Problem        `json:"problems"`
	Detections  uint64           `json:"detections"`
	Prefiltered uint64           `json:"prefiltered"`
	Classes     map[string]Class `json:"classes"`
	RingUsed    uint64           `json:"ring_used_bytes"`
	RingSize    uint64           `json:"ring_size_bytes"`
}

// Part is how a part of an agent is.
type Part struct {
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
	Error string    `json:"error,omitempty"` // "" if it does its work
}

// Counts are how many rules are in which condition; stale and clipped ones are among those that are live.
type Counts struct {
	Live     int `json:"live"`
	Stale    int `json:"stale"`
	Clipped  int `json:"clipped"`
	Disabled int `json:"disabled"`
	Refused  int `json:"refused"`
	Waiting  int `json:"waiting"`
}

// Class is what the kernel counts of an event class.
type Class struct {
	Hook      string            `json:"hook,omitempty"` // "" if none is needed, or there is none
	Events    uint64            `json:"events"`
	Matches   uint64            `json:"matches"`
	Lost      map[string]uint64 `json:"lost,omitempty"` // by reason
	SlotsUsed int               `json:"slots_used"`
	SlotsFree int               `json:"slots_free"`
}

// Problem is what is wrong with a file, and which rules stay in an older version because of it.
type Problem struct {
	Source   string   `json:"source"`
	Problems []string `json:"problems"`
	Stale    []string `json:"stale_rules,omitempty"`
}

// Condition is what an agent makes of a rule.
type Condition string

// The conditions.
const (
	Live     Condition = "live"     // the kernel judges by its newest version
	Stale    Condition = "stale"    // by an older one, since the newest is wrong or refused
	Disabled Condition = "disabled" // an operator has disabled it
	Refused  Condition = "refused"  // the kernel has no room or no hook for it
	Waiting  Condition = "waiting"  // for a hook
)

// Rule is a rule in a list.
type Rule struct {
	ID        string     `json:"id"`
	Version   int        `json:"version"` // that is live, or that would be
	Name      string     `json:"name"`
	Severity  string     `json:"severity,omitempty"`
	Condition Condition  `json:"condition"`
	State     *State     `json:"state,omitempty"` // of those that have one
	Kernel    string     `json:"kernel"`          // exact, narrowed or not narrowed: how much of it the kernel decides
	Classes   []string   `json:"classes"`
	Source    string     `json:"source"` // file:line
	Hits      uint64     `json:"hits"`   // detections since the agent started
	LastHit   *time.Time `json:"last_hit,omitempty"`
}

// RuleDetail is all of a rule.
type RuleDetail struct {
	Rule
	Description string `json:"description,omitempty"`
	Hash        string `json:"hash"`
	Document    string `json:"document"` // as it was read
	// NewestVersion and NewestHash are of the newest good version, which is not live if the rule is disabled or
	// refused.
	NewestVersion int      `json:"newest_version"`
	NewestHash    string   `json:"newest_hash"`
	Prefiltered   uint64   `json:"prefiltered"`       // events that the kernel let pass, and the exact matcher did not
	Problem       string   `json:"problem,omitempty"` // why it is refused or stale
	Warnings      []string `json:"warnings,omitempty"`
}

// State is the operational state of a rule.
type State struct {
	State         string     `json:"state"` // enabled, disabled or clipped
	ConfidenceMax *float64   `json:"confidence_max,omitempty"`
	ExpiresAt     *time.Time `json:"expires_at,omitempty"`
	Reason        string     `json:"reason,omitempty"`
	SetBy         string     `json:"set_by,omitempty"`
	SetAt         *time.Time `json:"set_at,omitempty"`
}

// Hook says where the events of a class come from.
type Hook struct {
	Class   string    `json:"class"`
	Hook    string    `json:"hook,omitempty"`
	Misses  string    `json:"misses,omitempty"`
	Refused []Refusal `json:"refused,omitempty"`
}

// Refusal says why a hook was not taken.
type Refusal struct {
	Hook   string `json:"hook"`
	Reason string `json:"reason"`
	Remedy string `json:"remedy,omitempty"`
}

// Setting is a value of the configuration.
type Setting struct {
	Value  string `json:"value"`
	Source string `json:"source"` // default, file, environment or flag
}

// Change is what became of a change of a rule. Its topic is rule.reloaded.ID or rule.state.ID.
type Change struct {
	Topic   string    `json:"topic"`
	Time    time.Time `json:"time"`
	RuleID  string    `json:"rule_id"`
	Result  string    `json:"result"` // live, deleted, rejected, refused, kept, or the state
	Version int       `json:"version,omitempty"`
	Epoch   uint64    `json:"epoch,omitempty"`
	By      string    `json:"by,omitempty"`
	Error   string    `json:"error,omitempty"`
}
