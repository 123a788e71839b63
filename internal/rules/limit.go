package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Limit says how many detections of a rule are written one by one. Those that come after Max from one
// source, within Window of the first, are counted and told together.
type Limit struct {
	Per    Per
	Max    int           // at least 1
	Window time.Duration // whole seconds, from MinWindow to MaxWindow
}

// Per is what a limit counts apart: the sources of detections.
type Per uint8

// The kinds of sources.
const (
	PerRule    Per = iota // all detections of the rule
	PerUser               // each user
	PerProcess            // each process
)

var perNames = []string{PerRule: "rule", PerUser: "user", PerProcess: "process"}

func (p Per) String() string { return perNames[p] }

// Bounds of a window.
const (
	MinWindow = time.Second
	MaxWindow = 24 * time.Hour
)

// String returns "5 per process in 1m".
func (l *Limit) String() string {
	return fmt.Sprintf("%d per %s in %s", l.Max, l.Per, windowText(l.Window))
}

// windowText writes a window with the largest unit that leaves a whole number.
func windowText(d time.Duration) string {
	for _, u := range windowUnits {
		if d%u.size == 0 {
			return strconv.FormatInt(int64(d/u.size), 10) + u.name
		}
	}
	return d.String() // of whole seconds there is no such case
}

// windowUnit is a unit in which a window can be written.
type windowUnit struct {
	name string
	size time.Duration
}

var windowUnits = []windowUnit{{"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} // largest first

var windowForm = regexp.MustCompile(`^([1-9][0-9]*)([smh])$`)

// limit reads the limit of a rule.
func (r *reader) limit(n *yaml.Node) *Limit {
	entries, ok := r.mapping(n, "limit")
	if !ok {
		return nil
	}
	given, limit := make(map[string]*yaml.Node, len(entries)), new(Limit)
	for _, e := range entries {
		given[e.name] = e.value
		switch e.name {
		case "per":
			limit.Per = r.per(e.value)
		case "max":
			limit.Max = r.positive(e.value, "max of limit", "5")
		case "window":
			limit.Window = r.window(e.value)
		default:
			r.errorf(e.key, didYouMean(e.name, keyNames(limitKeys)), "unknown key %q in limit", clip(e.name))
		}
	}
	r.required(n, given, "per", "one of "+strings.Join(perNames, ", "))
	r.required(n, given, "max", "how many detections of one source are written one by one, for example 5")
	r.required(n, given, "window", "a time such as 30s, 5m or 1h")
	return limit
}

func (r *reader) per(n *yaml.Node) Per {
	name, ok := r.text(n, "per", maxName)
	if !ok {
		return 0
	}
	at := slices.Index(perNames, name)
	if at < 0 {
		r.errorf(n, didYouMean(name, perNames), "a limit can't be per %q", clip(name))
		return 0
	}
	return Per(at)
}

func (r *reader) window(n *yaml.Node) time.Duration {
	const what, want = "window of limit", "a time from 1s to 24h"
	if !isString(n) {
		hint := "write it as 30s, 5m or 1h"
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int" {
			hint = "write its unit as well: " + clip(n.Value) + "s, " + clip(n.Value) + "m or " + clip(n.Value) + "h"
		}
		r.wrongType(n, what, want, hint)
		return 0
	}
	form := windowForm.FindStringSubmatch(n.Value)
	if form == nil {
		r.wrongType(n, what, want, "write it as 30s, 5m or 1h")
		return 0
	}
	at := slices.IndexFunc(windowUnits, func(u windowUnit) bool { return u.name == form[2] })
	unit := windowUnits[at].size
	count, err := strconv.ParseInt(form[1], 10, 64)
	if err != nil || count > int64(MaxWindow/unit) {
		r.wrongType(n, what, want, "")
		return 0
	}
	return time.Duration(count) * unit
}
