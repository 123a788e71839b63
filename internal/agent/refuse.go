package agent

import (
	"errors"
	"maps"
	"slices"
	"time"

	"bittern/internal/control"
	"bittern/internal/loader"
	"bittern/internal/metrics"
	"bittern/internal/rules"
)

// refusal is a version that the kernel does not take, and why.
type refusal struct {
	*rules.Rule
	err error
}

// refuse remembers a version that the kernel has no room or no hook for.
func (c *committer) refuse(r *rules.Rule, err error) {
	var swap *loader.SwapError
	if errors.As(err, &swap) {
		err = swap.Err // the rule is named beside it
	}
	c.refused[r.ID] = refusal{r, err}
	attrs := []any{"rule_id", r.ID, "rule_version", r.Version}
	if old := c.live[r.ID]; old != nil {
		attrs = append(attrs, "stays_live", versionOf(old))
	}
	c.metrics.Changed(metrics.Refused, 0)
	c.log.Error("rule refused", append(attrs, "error", err)...)
	c.announce(reloaded(r, control.WasRefused, 0, err))
	c.fallBack(r)
}

// retry gives the versions that found no room another chance after a change has
// made some. It ends at the first that does not fit, since each such attempt waits
// for a grace period of the kernel. A rule that no hook serves waits for none, and
// does not stand in the way of others.
func (c *committer) retry() {
	c.withdrawAgain()
	var unsupported *loader.UnsupportedError
	for _, j := range slices.Clone(c.joints) {
		if !j.refused || j.preparing {
			continue
		}
		if err := c.commitJoint(j); err != nil && !errors.As(err, &unsupported) {
			return
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.refused)) {
		next := c.refused[id].Rule
		epoch, err := c.kernel.Commit(loader.Swap{RuleID: id, New: next})
		if errors.As(err, &unsupported) {
			continue
		}
		if err != nil {
			return
		}
		delete(c.refused, id)
		old := c.live[id]
		c.live[id] = next
		c.report(next, old, epoch, time.Time{})
	}
}
