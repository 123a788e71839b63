// Package rules is the rule language: it parses rule files, reports every
// problem with its position, evaluates rules exactly (Rule.Match is the one
// definition of what a rule means), and plans what the kernel is to hold for
// them (Plan). It knows nothing of eBPF or Postgres.
package rules

import (
	"encoding/hex"

	"bittern/internal/event"
)

// Rule is one compiled version of a rule. It is immutable: an edit makes a new
// one. It is safe for use by several goroutines.
type Rule struct {
	ID          string // [A-Za-z0-9_]+
	Version     int    // the author's own count, at least 1
	Name        string
	Description string
	AppliesTo   []event.Class
	Emits       []Emit
	// EvidenceFields are copied into each detection.
	EvidenceFields []event.Field
	// Exceptions are a part of the match already.
	Exceptions []Exception
	Limit      *Limit // nil if each detection is written
	Metadata   Metadata
	Tests      []Test

	// Hash identifies the content, the values of lists included. Comments, layout and the
	// file's name do not change it, nor does the order of a list.
	Hash Hash
	// Pos is where the rule's document starts.
	Pos Position

	text  []byte  // that the rule was read from, its lists apart; see Document
	own   Hash    // of that text
	lists Lists   // that the rule uses; nil if none
	match expr    // root of the compiled condition, exceptions included
	plans []*Plan // one for each class of AppliesTo, in that order
}

// Metadata is what a rule says about itself that matching does not use.
type Metadata struct {
	Severity       Severity
	Author         string
	Date           string
	References     []string
	FalsePositives []string
	Tags           []string
	LastReviewed   string
	NextReview     string
}

// Severity is one of the five below; "" if the rule does not say.
type Severity string

// The severities, from least to most.
const (
	Informational Severity = "informational"
	Low           Severity = "low"
	Medium        Severity = "medium"
	High          Severity = "high"
	Critical      Severity = "critical"
)

// Severities lists the severities, from least to most.
func Severities() []Severity { return []Severity{Informational, Low, Medium, High, Critical} }

// Emit is one MITRE ATT&CK tag that a rule puts on its detections.
type Emit struct {
	Tactic       string  // "TA0011"
	Technique    string  // "T1105"
	SubTechnique string  // "T1059.004", or ""
	Confidence   float64 // 0 to 1
}

// Test is one example that a rule carries: an event and whether it must match.
type Test struct {
	Event event.Event
	Match bool
	Pos   Position
}

// Hash is the SHA-256 of a rule's content.
type Hash [32]byte

// String returns the hash in hexadecimal, 64 digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Match reports whether the rule matches the event. Events of classes that the
// rule does not apply to never match.
func (r *Rule) Match(ev *event.Event) bool {
	for _, p := range r.plans {
		if p.Class == ev.Class {
			return r.match.eval(ev)
		}
	}
	return false
}

// Plans returns what the kernel is to hold for the rule, one plan for each
// class of AppliesTo. The caller must not change them.
func (r *Rule) Plans() []*Plan { return r.plans }
