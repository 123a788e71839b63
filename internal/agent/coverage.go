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

// Name returns "exact", "narrowed" or "not narrowed".
func (c Coverage) Name() string {
	switch c {
	case Exact:
		return "exact"
	case Narrowed:
		return "narrowed"
	}
	return "not narrowed"
}

// String is Name, and for NotNarrowed what that costs.
func (c Coverage) String() string {
	if c == NotNarrowed {
		return c.Name() + ": every event of its classes goes to user space"
	}
	return c.Name()
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
