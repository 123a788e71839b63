package rules

import (
	"net/netip"

	"bittern/internal/event"
)

// Plan is what the kernel is to hold for one rule in one event class. It is
// pure data and deterministic: the same rule gives the same plan.
//
// An event passes the plan if it passes at least one clause. Whatever the rule
// matches passes its plan (soundness); if Exact, whatever passes is matched.
type Plan struct {
	Class   event.Class
	Clauses []Clause
	Exact   bool   // the kernel decides the rule by itself
	Notes   []Note // what was weakened, and why; empty if Exact
}

// Clause is a conjunction: an event passes if, for each group, it hits at least
// one of the group's keys, and if it hits no key of Not.
type Clause struct {
	// Groups are ordered by how rarely they are expected to be hit, and by how much it
	// takes to find out: only hits of the first make the kernel look at the clause. With no
	// groups the kernel can't narrow the clause. At most MaxGroups.
	Groups []Group
	Not    []Key // only keys that the kernel decides exactly
}

// Group is a disjunction of keys, of any fields and kinds, without repeats, and
// without a key that another one of the group implies.
type Group []Key

// Key is one thing that the kernel can look up. Fields are those that
// KernelField reports.
type Key struct {
	Field  event.Field
	Kind   KeyKind
	Fold   bool   // ASCII letters compare without case; Text is then in lower case. Set for every Gram
	Text   string // Equals, Prefix, Suffix: at most MaxKeyBytes; Gram: 2 to 4 bytes
	Number uint64 // NumberEquals; of an enumerated field a code, see event.Event.Codes
	// InNetwork, masked: IPv4 and IPv6 are apart, and an address that is mapped is IPv4.
	Network netip.Prefix
}

// KeyKind says how a key is compared.
type KeyKind uint8

// The kinds of key.
const (
	Equals KeyKind = iota + 1
	Prefix
	Suffix
	Gram // Text occurs somewhere in the value; grams always fold
	NumberEquals
	InNetwork // of an address; one address is the smallest network
)

// Limits of the kernel's tables, see bpf/tables.h.
const (
	MaxGroups   = 7
	MaxKeyBytes = 126 // one byte of the 127 is kept for the NUL that ends an Equals
)

// Note says that one literal of a rule was weakened for the kernel.
type Note struct {
	Pos     Position
	Literal string // as written, for example "process.args|re: ^-c"
	Reason  string
}

// KernelField reports whether the kernel knows the values of f, so that keys
// can name it. The values it knows are those of event.Event.Strings and Number,
// to the byte; of an enumerated field those of Codes, which NumberEquals keys name; and
// addresses, which InNetwork keys name.
func KernelField(f event.Field) bool {
	switch f {
	case event.ProcessName, event.ProcessParentName, event.FileName, // parts of paths
		event.ProcessArgs, // parts of the command line
		event.UserName, event.FieldContainerID:
		return false
	}
	return f.String() != ""
}

// Narrowed reports whether the kernel can leave out events for this plan. A
// plan that is not narrowed sends every event of its class to user space.
func (p *Plan) Narrowed() bool {
	for _, c := range p.Clauses {
		if len(c.Groups) == 0 {
			return false
		}
	}
	return true
}
