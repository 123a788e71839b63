package agent

import (
	"time"

	"bittern/internal/control"
	"bittern/internal/event"
	"bittern/internal/rules"
)

// reloaded says what became of a version of a rule.
func reloaded(r *rules.Rule, result control.Result, epoch uint64, err error) control.Change {
	c := control.Change{
		Topic: control.TopicReloaded + r.ID, Time: time.Now(), RuleID: r.ID, Result: result,
		Version: r.Version, Hash: r.Hash.String(), Epoch: epoch,
	}
	if err != nil {
		c.Error = err.Error()
	}
	return c
}

// rejected says that an edit is wrong. The id is "" if that can't be told, and r nil if no version of the
// rule is live.
func rejected(id string, r *rules.Rule, problem rules.Problem) control.Change {
	c := control.Change{Topic: control.TopicReloaded + id, Time: time.Now(), RuleID: id, Result: control.WasRejected, Error: problem.Error()}
	if r != nil {
		c.Version, c.Hash = r.Version, r.Hash.String()
	}
	return c
}

// stateChange says that a state counts. r is nil if there is no such rule.
func stateChange(change rules.Change, r *rules.Rule, epoch uint64) control.Change {
	state := control.StateOf(change.State)
	c := control.Change{
		Topic: control.TopicState + change.RuleID, Time: time.Now(), RuleID: change.RuleID, Result: control.WasSet,
		Epoch: epoch, State: &state, By: change.By,
	}
	if change.By == rules.ByExpiry {
		c.Result = control.HasExpired
	}
	if r != nil {
		c.Version, c.Hash = r.Version, r.Hash.String()
	}
	return c
}

// streamed is a record for those who listen at the control socket.
func streamed(r Record) control.Record {
	c := control.Record{Encoder: r}
	var tags []event.Tag
	switch r := r.(type) {
	case *event.Detection:
		c.RuleID, c.Severity, c.Class, tags = r.Rule.ID, r.Rule.Severity, r.Event.Class.String(), r.Tags
	case *event.Repeats:
		c.RuleID, c.Severity, c.Repeats, tags = r.Rule.ID, r.Rule.Severity, true, r.Tags
	}
	for _, t := range tags {
		for _, ref := range []event.Ref{t.Tactic, t.Technique, t.SubTechnique} {
			if ref.ID != "" {
				c.Attack = append(c.Attack, ref.ID)
			}
		}
	}
	return c
}
