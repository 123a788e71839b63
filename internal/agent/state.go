package agent

import (
	"maps"
	"slices"
	"sync"
	"time"

	"bittern/internal/control"
	"bittern/internal/loader"
	"bittern/internal/rules"
)

// clips are the states of rules that are clipped. The committer writes them, in the order of all
// changes, and the pipeline reads them without waiting for anybody.
type clips struct {
	byRule sync.Map // id -> rules.RuleState
}

func (c *clips) set(id string, state rules.RuleState) {
	if state.State == rules.Clipped {
		c.byRule.Store(id, state)
	} else {
		c.byRule.Delete(id)
	}
}

// of returns the state of a rule if it is clipped, else that of one that is enabled.
func (c *clips) of(id string) rules.RuleState {
	if c == nil {
		return rules.RuleState{}
	}
	state, _ := c.byRule.Load(id)
	clipped, _ := state.(rules.RuleState)
	return clipped
}

// begin takes the states in, and then makes the rules live that are not disabled.
func (c *committer) begin(all []rules.Stated) error {
	on := make([]*rules.Rule, 0, len(all))
	for _, r := range all {
		c.remember(r.ID, r.State)
		if r.State.State == rules.Disabled {
			c.off[r.ID] = r.Rule
		} else {
			on = append(on, r.Rule)
		}
		if !r.State.IsZero() {
			c.log.Debug("rule state in force", c.stateAttrs(rules.Change{RuleID: r.ID, State: r.State, By: r.State.SetBy}, 0)...)
		}
	}
	return c.load(on)
}

func (c *committer) remember(id string, state rules.RuleState) {
	if c.states[id] = state; state.IsZero() {
		delete(c.states, id)
	}
	c.clips.set(id, state)
}

func (c *committer) disabled(id string) bool { return c.states[id].State == rules.Disabled }

// setState makes a state count. Only whether a rule is disabled concerns the kernel.
func (c *committer) setState(change rules.Change) {
	c.remember(change.RuleID, change.State)
	if c.disabled(change.RuleID) {
		c.disable(change)
		return
	}
	c.reportState(change, 0)
	c.enable(change)
}

// disable takes a rule out of the kernel. Its newest version is kept, and those that come.
func (c *committer) disable(change rules.Change) {
	id, old := change.RuleID, c.live[change.RuleID]
	if waiting, ok := c.waiting[id]; ok {
		c.off[id] = waiting.Rule
	} else if c.jointOf(id) != nil {
		if c.off[id] = c.inJoint(id); c.off[id] == nil {
			delete(c.off, id) // it is to be deleted
		}
	} else if refused := c.refused[id].Rule; refused != nil {
		c.off[id] = refused
	} else if old != nil {
		c.off[id] = old
	}
	delete(c.waiting, id)
	delete(c.refused, id)
	if old == nil {
		c.reportState(change, 0)
		if j := c.jointOf(id); j != nil && j.refused {
			c.retry() // the set may have room without it
		}
		return
	}
	epoch, err := c.withdraw(old)
	if err != nil {
		c.log.Error("rule not disabled, it stays live until it can be", "rule_id", id, "rule_version", old.Version, "error", err)
		failed := stateChange(change, old, 0)
		failed.Error = err.Error()
		c.announce(failed)
		return
	}
	c.reportState(change, epoch)
	c.retry()
}

// withdraw takes a version out of the kernel that is to come back.
func (c *committer) withdraw(old *rules.Rule) (epoch uint64, err error) {
	epoch, err = c.kernel.Commit(loader.Swap{RuleID: old.ID})
	if err == nil {
		delete(c.live, old.ID)
		c.before[old.ID] = old
	}
	return epoch, err
}

// enable makes the newest version of a rule live again.
func (c *committer) enable(change rules.Change) {
	next := c.off[change.RuleID]
	if next == nil {
		return
	}
	delete(c.off, change.RuleID)
	c.define(rules.Change{Kind: rules.Definition, RuleID: next.ID, Rule: next, State: change.State, Seen: change.Seen})
}

// keep takes in a new version of a rule that is disabled.
func (c *committer) keep(change rules.Change) {
	c.off[change.RuleID] = change.Rule
	delete(c.refused, change.RuleID)
	c.log.Info("rule kept, it is disabled", "rule_id", change.RuleID, "rule_version", change.Rule.Version)
	c.announce(reloaded(change.Rule, control.WasKept, 0, nil))
}

// fallBack makes the version live that was so before its rule was disabled, since the newer one
// can't be.
func (c *committer) fallBack(refused *rules.Rule) {
	old := c.before[refused.ID]
	delete(c.before, refused.ID)
	if old == nil || old == refused || c.live[refused.ID] != nil {
		return
	}
	epoch, err := c.kernel.Commit(loader.Swap{RuleID: old.ID, New: old})
	if err != nil {
		c.log.Error("rule is not live: neither is there room for its version from before", "rule_id", old.ID, "rule_version", old.Version, "error", err)
		return
	}
	c.live[old.ID] = old
	c.report(old, nil, epoch, time.Time{})
}

// withdrawAgain takes those rules out of the kernel that could not be when they were disabled.
func (c *committer) withdrawAgain() {
	for _, id := range slices.Sorted(maps.Keys(c.states)) {
		old := c.live[id]
		if old == nil || !c.disabled(id) {
			continue
		}
		if epoch, err := c.withdraw(old); err == nil {
			c.reportState(rules.Change{RuleID: id, State: c.states[id], By: c.states[id].SetBy}, epoch)
		}
	}
}

// reportState says that a state counts, from an epoch on if it concerns the kernel.
func (c *committer) reportState(change rules.Change, epoch uint64) {
	attrs := c.stateAttrs(change, epoch)
	c.announce(stateChange(change, c.known(change.RuleID), epoch))
	switch {
	case change.By == rules.ByExpiry:
		c.log.Info("rule state expired", attrs...)
	case c.known(change.RuleID) == nil && change.State.Scope == "" && change.By != rules.ByFleet: // a fleet has hosts with other rules
		c.log.Warn("rule state set, but there is no such rule", attrs...)
	default:
		c.log.Info("rule state set", attrs...)
	}
}

func (c *committer) stateAttrs(change rules.Change, epoch uint64) []any {
	attrs := []any{"rule_id", change.RuleID}
	if r := c.known(change.RuleID); r != nil {
		attrs = append(attrs, "rule_version", r.Version)
	}
	s := change.State
	attrs = append(attrs, "state", s.State.String())
	if s.State == rules.Clipped {
		attrs = append(attrs, "confidence_max", s.ConfidenceMax)
	}
	attrs = append(attrs, "by", change.By)
	if s.Scope != "" {
		attrs = append(attrs, "scope", s.Scope)
	}
	if !s.ExpiresAt.IsZero() {
		attrs = append(attrs, "expires", s.ExpiresAt.Format(time.RFC3339))
	}
	if epoch != 0 {
		attrs = append(attrs, "epoch", epoch)
	}
	if s.Reason != "" {
		attrs = append(attrs, "reason", s.Reason)
	}
	if !change.Seen.IsZero() {
		attrs = append(attrs, "after_ms", milliseconds(time.Since(change.Seen)))
	}
	return attrs
}

// known returns the version of a rule that is live or, if none is, that is to be.
func (c *committer) known(id string) *rules.Rule {
	waiting := c.waiting[id].Rule
	for _, r := range []*rules.Rule{c.live[id], c.off[id], waiting, c.inJoint(id), c.refused[id].Rule} {
		if r != nil {
			return r
		}
	}
	return nil
}

// rejectStates reports an edit of states that is wrong.
func (c *committer) rejectStates(change rules.Change) {
	for _, p := range change.Problems {
		attrs := []any{}
		if p.RuleID != "" {
			attrs = append(attrs, "rule_id", p.RuleID, "stays", c.states[p.RuleID].State.String())
		}
		c.log.Error("rule states rejected", append(attrs, "problem", p.Error())...)
	}
}
