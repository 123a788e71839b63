package agent

import (
	"cmp"
	"strings"

	"bittern/internal/metrics"
	"bittern/internal/rules"
)

// reject reports an edit that is wrong, and what goes on in its stead.
func (c *committer) reject(change rules.Change) {
	stays := ""
	if change.RuleID != "" {
		if old := c.live[change.RuleID]; old != nil {
			stays = versionOf(old)
		}
	}
	if change.Problems.Failed() {
		c.metrics.Changed(metrics.Rejected, 0)
	}
	for _, p := range change.Problems {
		if p.Warning {
			c.log.Warn("rule warning", "rule_id", p.RuleID, "problem", p.Error())
			continue
		}
		attrs := []any{}
		if p.RuleID != "" {
			attrs = append(attrs, "rule_id", p.RuleID)
		}
		if stays := cmp.Or(stays, c.heldUp(change, p)); stays != "" {
			attrs = append(attrs, "stays_live", stays)
		}
		c.log.Error("rule file rejected", append(attrs, "problem", p.Error())...)
		c.announceRejected(change, p)
	}
}

// announceRejected tells of each rule that an edit was to change, as far as that is known.
func (c *committer) announceRejected(change rules.Change, p rules.Problem) {
	ids := []string{cmp.Or(p.RuleID, change.RuleID)}
	if ids[0] == "" && p.Pos.File != "" {
		ids = append(ids, c.staleIn(p.Pos.File)...)
	}
	if len(ids) > 1 {
		ids = ids[1:]
	}
	for _, id := range ids {
		c.announce(rejected(id, c.live[id], p))
	}
}

// heldUp names the versions that stay live because of a problem that belongs to a
// whole file.
func (c *committer) heldUp(change rules.Change, p rules.Problem) string {
	if change.RuleID != "" || p.Pos.File == "" {
		return ""
	}
	var held []string
	for _, id := range c.staleIn(p.Pos.File) {
		if old := c.live[id]; old != nil {
			held = append(held, id+" "+versionOf(old))
		}
	}
	return strings.Join(held, ", ")
}

// problems reports warnings of a definition.
func (c *committer) problems(warnings rules.Problems) {
	for _, p := range warnings {
		c.log.Warn("rule warning", "rule_id", p.RuleID, "problem", p.Error())
	}
}
