package sink

import (
	"maps"
	"slices"

	"bittern/internal/outbox"
)

// Severities of RFC 5424, which are the priorities of journald.
const (
	sevCritical = 2
	sevError    = 3
	sevWarning  = 4
	sevNotice   = 5
	sevInfo     = 6
)

// severity is that of a record: critical 2, high 3, medium 4, low 6; a gap, which says that records are missing, 4, and what becomes
// of rules 5.
func severity(r *outbox.Record) int {
	switch r.Kind {
	case outbox.Gap:
		return sevWarning
	case outbox.RuleReport, outbox.StateChange:
		return sevNotice
	}
	switch r.Tier {
	case outbox.Critical:
		return sevCritical
	case outbox.High:
		return sevError
	case outbox.Medium:
		return sevWarning
	case outbox.Low:
		return sevInfo
	}
	return sevNotice
}

// facilities are those of RFC 5424 that are not the kernel's or some other program's.
func facilities() map[string]int {
	return map[string]int{
		"user": 1, "daemon": 3, "auth": 4, "authpriv": 10, "audit": 13, "alert": 14,
		"local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23,
	}
}

// Facilities returns the names that SyslogConfig takes, sorted.
func Facilities() []string { return slices.Sorted(maps.Keys(facilities())) }
