package agent

import (
	"context"
	"maps"
	"slices"
	"strings"

	"bittern/internal/control"
	"bittern/internal/rules"
)

// view is what the committer knows of a rule.
type view struct {
	live   *rules.Rule // by which the kernel judges, or nil
	newest *rules.Rule // good version
	state  rules.RuleState
	is     control.Condition
	err    error // of the newest version
}

// shown is the version that counts, or would.
func (v view) shown() *rules.Rule {
	if v.live != nil {
		return v.live
	}
	return v.newest
}

// view is to be called by the committer's goroutine.
func (c *committer) view(id string) view {
	v := view{live: c.live[id], state: c.states[id], is: control.Live}
	j := c.jointOf(id)
	for _, r := range []*rules.Rule{c.waiting[id].Rule, c.inJoint(id), c.refused[id].Rule, c.off[id], v.live} {
		if v.newest == nil {
			v.newest = r
		}
	}
	if refused, ok := c.refused[id]; ok {
		v.err = refused.err
	} else if j != nil && j.refused {
		v.err = j.err
	}
	switch _, waits := c.waiting[id]; {
	case v.live == nil && c.disabled(id):
		v.is = control.Disabled
	case v.err != nil && v.live != nil:
		v.is = control.Stale
	case v.err != nil:
		v.is = control.Refused
	case waits, j != nil:
		v.is = control.Waiting
	}
	return v
}

// views are of all rules.
func (c *committer) views() map[string]view {
	all := make(map[string]view)
	add := func(id string) { all[id] = c.view(id) }
	for _, versions := range []map[string]*rules.Rule{c.live, c.off} {
		for id := range versions {
			add(id)
		}
	}
	for id := range c.refused {
		add(id)
	}
	for id := range c.waiting {
		add(id)
	}
	for _, j := range c.joints {
		for _, change := range j.changes {
			add(change.RuleID)
		}
	}
	maps.DeleteFunc(all, func(_ string, v view) bool { return v.shown() == nil }) // about to be deleted
	return all
}

// list is all rules, by id, also those of which there is no good version. also is called at the same moment,
// between two changes.
func (up *running) list(ctx context.Context, also func()) ([]control.Rule, error) {
	var views map[string]view
	if err := up.committer.ask(ctx, func() { views = up.committer.views(); also() }); err != nil {
		return nil, err
	}
	problems := problemsByRule(up.store.Problems())
	all := make([]control.Rule, 0, len(views))
	for id, v := range views {
		all = append(all, up.describe(id, v, problems[id]))
	}
	for id, p := range problems {
		if _, ok := views[id]; !ok {
			all = append(all, control.Rule{ID: id, Condition: control.Rejected, Problem: p.text})
		}
	}
	slices.SortFunc(all, func(a, b control.Rule) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

// ruleProblem is what is wrong with a rule's file.
type ruleProblem struct {
	text  string
	stale bool // an older version of the rule is the newest good one
}

// problemsByRule sorts problems by rule: its own come before those of its whole file.
func problemsByRule(sources []rules.SourceProblems) map[string]ruleProblem {
	all := make(map[string]ruleProblem)
	for _, source := range sources {
		if source.States {
			continue
		}
		var whole string
		for _, p := range source.Problems {
			switch {
			case p.Warning:
			case p.RuleID == "":
				whole = p.Error()
			case all[p.RuleID].text == "":
				all[p.RuleID] = ruleProblem{text: p.Error()}
			}
		}
		for _, id := range source.Stale {
			p := all[id]
			if p.stale = true; p.text == "" {
				p.text = whole
			}
			all[id] = p
		}
	}
	return all
}

func (up *running) describe(id string, v view, p ruleProblem) control.Rule {
	r := v.shown()
	out := control.Rule{
		ID: id, Version: r.Version, Name: r.Name, Severity: string(r.Metadata.Severity), Condition: v.is,
		Hash: r.Hash.String(), Coverage: CoverageOf(r).Name(), Source: r.Pos.String(),
	}
	switch {
	case v.err != nil:
		out.Problem = v.err.Error()
	case p.text != "":
		out.Problem = p.text
	}
	if p.stale && v.is == control.Live {
		out.Condition = control.Stale
	}
	if !v.state.IsZero() {
		state := control.StateOf(v.state)
		out.State = &state
	}
	for _, plan := range r.Plans() {
		out.Classes = append(out.Classes, plan.Class.String())
		out.Slots += len(plan.Clauses)
		for _, clause := range plan.Clauses {
			for _, g := range clause.Groups {
				out.Keys += len(g)
			}
			out.Keys += len(clause.Not)
		}
	}
	counts := up.pipeline.tally.of(id)
	out.Passed, out.Hits, out.LastHit = counts.passed.Load(), counts.hits.Load(), counts.lastHit()
	out.Repeats = counts.repeats.Load()
	return out
}

// detail is all of one rule.
func (up *running) detail(ctx context.Context, id string) (control.RuleDetail, view, error) {
	var v view
	if err := up.committer.ask(ctx, func() { v = up.committer.view(id) }); err != nil {
		return control.RuleDetail{}, v, err
	}
	p, wrong := problemsByRule(up.store.Problems())[id]
	r := v.shown()
	if r == nil && !wrong {
		return control.RuleDetail{}, v, control.ErrNoRule
	}
	if r == nil {
		return control.RuleDetail{Rule: control.Rule{ID: id, Condition: control.Rejected, Problem: p.text}}, v, nil
	}
	d := control.RuleDetail{
		Rule: up.describe(id, v, p), Description: r.Description, Document: string(r.Document()),
		NewestVersion: v.newest.Version, NewestHash: v.newest.Hash.String(),
	}
	for _, plan := range r.Plans() {
		d.Plan += plan.String()
	}
	return d, v, nil
}
