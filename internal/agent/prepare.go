package agent

import (
	"context"

	"bittern/internal/rules"
)

// prepared says that the hooks of a rule, or of a set, are there, or why not.
type prepared struct {
	rule     *rules.Rule
	joint    *joint         // nil if it is one rule's
	rules    []*rules.Rule  // of the set
	releases []func() error // of what is attached
	err      error
}

// prepare has the hooks found and attached that a change needs. That takes a while if
// they are the first of their class, and other rules don't wait for it.
func (c *committer) prepare(change rules.Change) {
	c.waiting[change.RuleID] = change
	c.preparing++
	go func() {
		release, err := c.kernel.Prepare(change.Rule)
		p := prepared{rule: change.Rule, err: err}
		if err == nil {
			p.releases = append(p.releases, release)
		}
		c.prepared <- p
	}()
}

// ready commits a change whose hooks are there, unless a later one of the rule has taken
// its place meanwhile.
func (c *committer) ready(p prepared) {
	c.preparing--
	if p.joint != nil {
		c.readyJoint(p)
		return
	}
	change, ok := c.waiting[p.rule.ID]
	if ok && change.Rule == p.rule {
		delete(c.waiting, p.rule.ID)
		if p.err != nil {
			c.refuse(p.rule, p.err)
		} else {
			c.commit(change)
		}
	}
	for _, release := range p.releases {
		c.release(release)
	}
}

// release lets go of hooks that no live rule needs.
func (c *committer) release(release func() error) {
	if err := release(); err != nil {
		c.log.Error("detaching hooks", "error", err)
	}
}

// feed hands changes on until the source ends.
func feed(ctx context.Context, source changeSource, to chan<- rules.Change) {
	defer close(to)
	for {
		change, err := source.Next(ctx)
		if err != nil {
			return // the context's end, or the store's
		}
		select {
		case to <- change:
		case <-ctx.Done():
			return
		}
	}
}
