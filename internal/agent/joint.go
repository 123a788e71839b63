package agent

import (
	"slices"
	"time"

	"bittern/internal/loader"
	"bittern/internal/rules"
)

// joint is a set of changes that the kernel is to take in one commit. While it waits for hooks,
// or for room, a later change of one of its rules becomes a part of it: on its own, it would
// be live beside old versions of the others.
type joint struct {
	changes   []rules.Change // definitions and deletions, the latest of each rule, in order
	loose     bool           // without what is refused, the others are to be live
	refused   bool           // the kernel has no room, or no hook, for one of them
	err       error          // why
	preparing bool
	prepared  []*rules.Rule  // those whose hooks were attached for it
	releases  []func() error // of these hooks
}

// put makes a change the latest of its rule.
func (j *joint) put(change rules.Change) {
	if at := j.index(change.RuleID); at >= 0 {
		j.changes[at] = change
	} else {
		j.changes = append(j.changes, change)
	}
}

func (j *joint) index(id string) int {
	return slices.IndexFunc(j.changes, func(c rules.Change) bool { return c.RuleID == id })
}

// jointOf returns the set that waits and has a change of the rule, or nil.
func (c *committer) jointOf(id string) *joint {
	for _, j := range c.joints {
		if j.index(id) >= 0 {
			return j
		}
	}
	return nil
}

// inJoint returns the version of a rule that waits with a set, or nil.
func (c *committer) inJoint(id string) *rules.Rule {
	if j := c.jointOf(id); j != nil {
		return j.changes[j.index(id)].Rule
	}
	return nil
}

// collect gathers the changes of a set, and has them take effect when they are all there.
func (c *committer) collect(change rules.Change) {
	c.set = append(c.set, change)
	if len(c.set) < change.Set.Size {
		return
	}
	set := c.set
	c.set = nil
	j := &joint{loose: !change.Set.Whole}
	for _, change := range set {
		if change.Kind != rules.Definition && change.Kind != rules.Deleted {
			change.Set = rules.ChangeSet{}
			c.apply(change)
			continue
		}
		// What waits of the rule comes before it. A whole set has it join, so that neither of the
		// two is live by half.
		for other := c.jointOf(change.RuleID); other != nil; other = c.jointOf(change.RuleID) {
			c.drop(other)
			j.prepared, j.releases = append(j.prepared, other.prepared...), append(j.releases, other.releases...)
			j.changes = append(other.changes, j.changes...)
			j.loose = j.loose && other.loose
		}
		c.supersede(change)
		j.put(change)
	}
	if len(j.changes) > 0 {
		c.joints = append(c.joints, j)
		c.advance(j)
	}
}

// supersede forgets what was to become of a rule before a change.
func (c *committer) supersede(change rules.Change) {
	id := change.RuleID
	delete(c.waiting, id)
	delete(c.refused, id)
	if change.Kind == rules.Deleted {
		if off := c.off[id]; off != nil && c.live[id] == nil {
			c.reportForgotten(off)
		}
		delete(c.off, id)
		delete(c.before, id)
		return
	}
	c.problems(change.Problems)
	c.remember(id, change.State)
	if c.disabled(id) {
		c.keep(change)
	}
}

// drop takes a set out of those that wait.
func (c *committer) drop(j *joint) {
	c.joints = slices.DeleteFunc(c.joints, func(other *joint) bool { return other == j })
}

// advance commits a set, or first has the hooks attached that it needs.
func (c *committer) advance(j *joint) {
	if j.preparing {
		return
	}
	var unready []*rules.Rule
	for _, s := range c.swaps(j) {
		if s.New != nil && !slices.Contains(j.prepared, s.New) && !c.kernel.Ready(s.New) {
			unready = append(unready, s.New)
		}
	}
	if len(unready) > 0 {
		c.prepareJoint(j, unready)
		return
	}
	if err := c.commitJoint(j); err != nil {
		c.refuseJoint(j, err)
		return
	}
	c.retry()
}

// swaps are what a set changes in the kernel.
func (c *committer) swaps(j *joint) []loader.Swap {
	var swaps []loader.Swap
	for _, change := range j.changes {
		id, old := change.RuleID, c.live[change.RuleID]
		switch {
		case change.Kind == rules.Deleted && old == nil, change.Kind == rules.Definition && c.disabled(id):
		case change.Kind == rules.Definition && old != nil && old.Hash == change.Rule.Hash:
		default:
			swaps = append(swaps, loader.Swap{RuleID: id, New: change.Rule})
		}
	}
	return swaps
}

// commitJoint makes all of a set live at one moment, or nothing of it.
func (c *committer) commitJoint(j *joint) error {
	swaps := c.swaps(j)
	var epoch uint64
	if len(swaps) > 0 {
		var err error
		if epoch, err = c.kernel.Commit(swaps...); err != nil {
			return err
		}
	}
	c.drop(j)
	for _, change := range j.changes {
		if change.Kind == rules.Deleted {
			delete(c.before, change.RuleID)
		}
	}
	defined, deleted := 0, 0
	for _, s := range swaps {
		old, seen := c.live[s.RuleID], j.changes[j.index(s.RuleID)].Seen
		if j.refused {
			seen = time.Time{}
		}
		delete(c.before, s.RuleID)
		if s.New == nil {
			deleted++
			delete(c.live, s.RuleID)
			c.reportDeleted(old, epoch, seen)
			continue
		}
		defined++
		c.live[s.RuleID] = s.New
		c.report(s.New, old, epoch, seen)
	}
	if len(swaps) > 1 {
		c.log.Info("set of rules live", "defined", defined, "deleted", deleted, "epoch", epoch)
	}
	c.releaseJoint(j)
	return nil
}
