package agent

import (
	"errors"
	"slices"

	"bittern/internal/control"
	"bittern/internal/loader"
	"bittern/internal/metrics"
	"bittern/internal/rules"
)

// prepareJoint has the hooks of rules attached, and then goes on with their set.
func (c *committer) prepareJoint(j *joint, unready []*rules.Rule) {
	j.preparing = true
	c.preparing++
	go func() {
		p := prepared{joint: j, rules: unready}
		for _, r := range unready {
			release, err := c.kernel.Prepare(r)
			if err != nil {
				p.err = errors.Join(p.err, err)
				break
			}
			p.releases = append(p.releases, release)
		}
		c.prepared <- p
	}()
}

// readyJoint goes on with a set whose hooks are there. It may have got further changes, or
// be part of another set by now.
func (c *committer) readyJoint(p prepared) {
	j := p.joint
	j.preparing = false
	j.prepared, j.releases = append(j.prepared, p.rules...), append(j.releases, p.releases...)
	switch {
	case !slices.Contains(c.joints, j):
		c.releaseJoint(j)
	case p.err != nil:
		c.refuseJoint(j, p.err)
	default:
		c.advance(j)
	}
}

// refuseJoint leaves everything as it is, and keeps the set for when there is room. Of a loose
// one, each change has a chance of its own.
func (c *committer) refuseJoint(j *joint, err error) {
	defer c.releaseJoint(j)
	if j.loose {
		c.drop(j)
		for _, change := range j.changes {
			if change.Set, change.Problems = (rules.ChangeSet{}), nil; !c.disabled(change.RuleID) {
				c.apply(change) // its warnings were reported
			}
		}
		return
	}
	j.refused = true
	culprit := ""
	var swap *loader.SwapError
	if errors.As(err, &swap) {
		culprit, err = swap.RuleID, swap.Err
	}
	j.err = err
	c.log.Error("set of rules refused, nothing of it is live", "rules", len(j.changes), "rule_id", culprit, "error", err)
	for _, change := range j.changes {
		r := change.Rule
		switch old := c.live[change.RuleID]; {
		case r == nil && old != nil:
			c.log.Error("rule not deleted, it stays live", "rule_id", old.ID, "rule_version", old.Version, "error", errSetRefused)
		case r == nil || c.disabled(r.ID):
		default:
			attrs := []any{"rule_id", r.ID, "rule_version", r.Version}
			if old != nil {
				attrs = append(attrs, "stays_live", versionOf(old))
			}
			reason := errSetRefused
			if r.ID == culprit {
				reason = err
			}
			c.metrics.Changed(metrics.Refused, 0)
			c.log.Error("rule refused", append(attrs, "error", reason)...)
			c.announce(reloaded(r, control.WasRefused, 0, reason))
			c.fallBack(r)
		}
	}
}

var errSetRefused = errors.New("its set is refused")

func (c *committer) releaseJoint(j *joint) {
	for _, release := range j.releases {
		c.release(release)
	}
	j.prepared, j.releases = nil, nil
}
