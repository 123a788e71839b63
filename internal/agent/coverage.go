package agent

import "bittern/internal/rules"

// Coverage is how much of a rule the kernel decides.
type Coverage uint8

// The coverages, from most to least.
const (
	Exact       Coverage = iota // all of it
	Narrowed                    // it leaves out most events, and user space decides
	NotNarrowed                 // nothing: each event of a class goes to user space
)

// String returns "exact", "narrowed" or "not narrowed", the last with what it costs.
func (c Coverage) String() string {
	switch c {
	case Exact:
		return "exact"
	case Narrowed:
		return "narrowed"
	}
	return "not narrowed: every event of its classes goes to user space"
}

// CoverageOf returns the coverage of a rule: the least of its plans.
func CoverageOf(r *rules.Rule) Coverage {
	c := Exact
	for _, p := range r.Plans() {
		switch {
		case !p.Narrowed():
			return NotNarrowed
		case !p.Exact:
			c = Narrowed
		}
	}
	return c
}
