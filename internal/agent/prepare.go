package agent

import (
	"context"

	"bittern/internal/rules"
)

// prepared says that the hooks of a rule are there, or why not.
type prepared struct {
	rule    *rules.Rule
	release func() error // nil if err is not
	err     error
}

// prepare has the hooks found and attached that a change needs. That takes a while if
// they are the first of their class, and other rules don't wait for it.
func (c *committer) prepare(change rules.Change) {
	c.waiting[change.RuleID] = change
	c.preparing++
	go func() {
		release, err := c.kernel.Prepare(change.Rule)
		c.prepared <- prepared{change.Rule, release, err}
	}()
}

// ready commits a change whose hooks are there, unless a later one of the rule has taken
// its place meanwhile.
func (c *committer) ready(p prepared) {
	c.preparing--
	change, ok := c.waiting[p.rule.ID]
	if ok && change.Rule == p.rule {
		delete(c.waiting, p.rule.ID)
		if p.err != nil {
			c.refuse(p.rule, p.err)
		} else {
			c.commit(change)
		}
	}
	c.release(p)
}

// release lets go of hooks that no live rule needs.
func (c *committer) release(p prepared) {
	if p.release == nil {
		return
	}
	if err := p.release(); err != nil {
		c.log.Error("detaching hooks", "rule_id", p.rule.ID, "error", err)
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
