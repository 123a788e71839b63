package control

import (
	"context"
	"time"

	"bittern/internal/rules"
)

// Agent is what the server asks. What it returns is not changed any more.
//
// Before the agent has started, all but Status and Settings return ErrStarting.
type Agent interface {
	Status(ctx context.Context) (Status, error)
	Rules(ctx context.Context) ([]Rule, error)
	// Rule and Why return ErrNoRule if nothing is known of such a rule.
	Rule(ctx context.Context, id string) (RuleDetail, error)
	Why(ctx context.Context, id string) (Why, error)
	States(ctx context.Context) (map[string]rules.RuleState, error)
	// SetState returns once the state counts for every event to come, with all that was filled in.
	SetState(ctx context.Context, id string, state rules.RuleState, by string) (rules.RuleState, error)
	Doctor(ctx context.Context) (Doctor, error)
	Settings() map[string]Setting
}

// Status is how an agent is.
type Status struct {
	Version  string    `json:"version"`
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Ready    bool      `json:"ready"` // all rules are live that can be, and all parts do their work
	Health   []Part    `json:"health"`
	RulesDir string    `json:"rules_dir"`
	Cgroup   string    `json:"cgroup,omitempty"` // "" if all processes are watched
	Epoch    uint64    `json:"epoch"`
	Rules    Counts    `json:"rules"`
	// RulesHash is the same on hosts where the same rules are live.
	RulesHash   string           `json:"rules_hash,omitempty"`
	Problems    []Problem        `json:"problems"`
	Detections  uint64           `json:"detections"`  // written since the agent started
	Repeats     uint64           `json:"repeats"`     // detections that limits of rules held back
	Prefiltered uint64           `json:"prefiltered"` // pairs of event and rule that the kernel let pass, and the exact matcher did not
	Classes     map[string]Class `json:"classes"`
	RingUsed    uint64           `json:"ring_used_bytes"`
	RingSize    uint64           `json:"ring_size_bytes"`
	Outbox      *Outbox          `json:"outbox,omitempty"` // nil before the start
	Fleet       *Fleet           `json:"fleet,omitempty"`  // nil without one, and before the start
}

// Fleet is how the link to the fleet's store is.
type Fleet struct {
	Connected         bool              `json:"connected"`
	Since             time.Time         `json:"since"`                 // that it is connected, or that it is not
	Host              string            `json:"host,omitempty"`        // as which the store knows this host; "" if it has never been asked
	Schema            int               `json:"schema,omitempty"`      // version of the store's
	Synced            *time.Time        `json:"synced,omitempty"`      // when states were asked for last
	LagSeconds        *float64          `json:"lag_seconds,omitempty"` // since then
	RoundTripSeconds  float64           `json:"round_trip_seconds"`
	SyncSeconds       float64           `json:"sync_seconds"`      // how often the store wants that, on average
	HeartbeatSeconds  float64           `json:"heartbeat_seconds"` // and how often it wants to hear how the host is
	ClockAheadSeconds float64           `json:"clock_ahead_seconds"`
	Generation        int64             `json:"generation"`            // up to which states count
	States            int               `json:"states"`                // rules to which the fleet gives one
	Held              map[string]string `json:"held,omitempty"`        // rules of which it does not count, and why
	Publication       string            `json:"publication,omitempty"` // of rules that was taken in
	Wanted            string            `json:"wanted,omitempty"`      // that is to be
	Clone             bool              `json:"clone,omitempty"`       // several machines say that they are this host
	Errors            uint64            `json:"errors"`                // since the agent started
	Error             string            `json:"error,omitempty"`       // why it is not connected
	Stale             []string          `json:"stale,omitempty"`       // what is older than it should be, and why
}

// Outbox is how the queue of records is.
type Outbox struct {
	Records uint64 `json:"records"`                // also those that all sinks have, until they are removed
	Bytes   int64  `json:"bytes"`                  // on the disk
	Memory  int64  `json:"memory_bytes,omitempty"` // in memory only, since the disk has failed
	Quota   int64  `json:"quota_bytes"`
	Lost    uint64 `json:"lost"` // records, ever, here and before
	Sinks   []Sink `json:"sinks"`
}

// Sink is how one sink is.
type Sink struct {
	Name      string     `json:"name"`
	Pending   uint64     `json:"pending"`           // records that it has still to get
	Backlog   uint64     `json:"backlog,omitempty"` // those of them that others are delivered ahead of
	Oldest    *time.Time `json:"oldest,omitempty"`  // of those that it is about to deliver
	Delivered uint64     `json:"delivered"`         // records, since the agent started
	Errors    uint64     `json:"errors"`            // since the agent started
	Last      *time.Time `json:"last_delivery,omitempty"`
}

// Part is how a part of an agent is.
type Part struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"` // "" if it does its work
}

// Counts are how many rules are in which condition. Clipped ones are live or stale.
type Counts struct {
	Live     int `json:"live"`
	Stale    int `json:"stale"`
	Clipped  int `json:"clipped"`
	Disabled int `json:"disabled"`
	Refused  int `json:"refused"`
	Rejected int `json:"rejected"`
	Waiting  int `json:"waiting"`
}

// Class is what the kernel counts of an event class.
type Class struct {
	Hook      string            `json:"hook,omitempty"` // "" if no rule needs one, or there is none
	Events    uint64            `json:"events"`         // judged since the agent started
	Matches   uint64            `json:"matches"`        // let pass
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
	Rejected Condition = "rejected" // its file is wrong, and there is no version from before
	Waiting  Condition = "waiting"  // for a hook
)

// Rule is a rule in a list.
type Rule struct {
	ID        string     `json:"id"`
	Version   int        `json:"version,omitempty"` // that is live, or that would be; 0 if there is none
	Name      string     `json:"name,omitempty"`
	Severity  string     `json:"severity,omitempty"`
	Condition Condition  `json:"condition"`
	Problem   string     `json:"problem,omitempty"`  // why it is refused, rejected or stale
	State     *State     `json:"state,omitempty"`    // of those that have one
	Hash      string     `json:"hash,omitempty"`     // of the content of that version
	Coverage  string     `json:"coverage,omitempty"` // exact, narrowed or not narrowed: how much of it the kernel decides
	Classes   []string   `json:"classes,omitempty"`
	Source    string     `json:"source,omitempty"`  // file:line
	Slots     int        `json:"slots"`             // of the kernel's tables
	Keys      int        `json:"keys"`              // the kernel looks up for it; rules share them
	Passed    uint64     `json:"passed"`            // events that the kernel let pass for it, since the agent started
	Hits      uint64     `json:"hits"`              // detections among them
	Repeats   uint64     `json:"repeats,omitempty"` // hits that its limit held back
	LastHit   *time.Time `json:"last_hit,omitempty"`
}

// RuleDetail is all of a rule.
type RuleDetail struct {
	Rule
	Description string `json:"description,omitempty"`
	Document    string `json:"document,omitempty"` // as it was read
	Plan        string `json:"plan,omitempty"`     // what the kernel holds, as "bittern rules explain" shows it
	// NewestVersion and NewestHash are of the newest good version, which is not live if the rule is refused.
	NewestVersion int    `json:"newest_version,omitempty"`
	NewestHash    string `json:"newest_hash,omitempty"`
}

// Why says why a rule detects nothing, or what it has detected.
type Why struct {
	Rule     Rule      `json:"rule"`
	Findings []Finding `json:"findings"`
}

// Finding is one thing that is known of a rule.
type Finding struct {
	Silencing bool     `json:"silencing"` // it alone keeps the rule from detecting
	Text      string   `json:"text"`
	Details   []string `json:"details,omitempty"`
	Hint      string   `json:"hint,omitempty"`
}

// State is the operational state of a rule.
type State struct {
	State         string     `json:"state"` // enabled, disabled or clipped
	ConfidenceMax *float64   `json:"confidence_max,omitempty"`
	ExpiresAt     *time.Time `json:"expires_at,omitempty"`
	Reason        string     `json:"reason,omitempty"`
	SetBy         string     `json:"set_by,omitempty"`
	SetAt         *time.Time `json:"set_at,omitempty"`
	Scope         string     `json:"scope,omitempty"` // of a state from a fleet: host, group or fleet, which hosts it was given to
}

// Doctor says what a host offers an agent.
type Doctor struct {
	Kernel        string   `json:"kernel"`
	Machine       string   `json:"machine"`
	BTF           bool     `json:"btf"`
	LSMs          []string `json:"lsms"` // null if not known
	Missing       []string `json:"missing_capabilities"`
	Classes       []Hook   `json:"classes"`
	Problem       string   `json:"problem,omitempty"`
	MinimumKernel string   `json:"minimum_kernel"`
}

// Hook says where the events of a class come from.
type Hook struct {
	Class   string    `json:"class"`
	Hook    string    `json:"hook,omitempty"` // "" if there is none
	Misses  string    `json:"misses,omitempty"`
	Refused []Refusal `json:"refused"`
}

// Refusal says why a hook was not taken.
type Refusal struct {
	Hook   string `json:"hook"`
	Reason string `json:"reason"`
	Remedy string `json:"remedy,omitempty"` // what would make it work; "" if nothing is known
}

// Setting is a value of the configuration.
type Setting struct {
	Value   string  `json:"value"`            // in force; passwords are taken out
	Source  string  `json:"source"`           // default, file:line:column, the name of a variable, or --flag
	Changes string  `json:"changes"`          // take effect "live", or at a "restart"
	Wanted  *string `json:"wanted,omitempty"` // what an edit asks for, if that is not in force
}

// Change is what became of a change of a rule or of its state. Its topic is rule.reloaded.ID or
// rule.state.ID; of a file of which no rule is known, "rule.reloaded." alone.
type Change struct {
	Topic   string    `json:"topic"`
	Time    time.Time `json:"time"`
	RuleID  string    `json:"rule_id,omitempty"`
	Result  Result    `json:"result"`
	Version int       `json:"version,omitempty"` // that is live now, or that would be
	Hash    string    `json:"hash,omitempty"`    // of that version
	Epoch   uint64    `json:"epoch,omitempty"`   // from which on it counts; 0 if the kernel has no part in it
	State   *State    `json:"state,omitempty"`   // of rule.state
	By      string    `json:"by,omitempty"`      // who set the state, or "expiry"
	Error   string    `json:"error,omitempty"`
}

// Result is what became of a change.
type Result string

// The results.
const (
	WentLive    Result = "live"     // the version counts from the epoch on
	WasDeleted  Result = "deleted"  // the rule is gone from the epoch on
	WasKept     Result = "kept"     // the version is known, and the rule disabled
	WasRefused  Result = "refused"  // the kernel has no room or no hook
	WasRejected Result = "rejected" // the file is wrong
	WasSet      Result = "set"      // the state counts
	HasExpired  Result = "expired"  // the state has reverted
)

// The topics of changes, in front of the id of the rule.
const (
	TopicReloaded = "rule.reloaded."
	TopicState    = "rule.state."
)
