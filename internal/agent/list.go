package agent

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"bittern/internal/control"
	"bittern/internal/rules"
)

// view is what the committer knows of a rule.
type view struct {
	live   *rules.Rule // by which the kernel judges, or nil
	newest *rules.Rule // good version
	state  rules.RuleState
	is     control.Condition
	// problem says why the newest version is not live; "" if it is, or if nothing is wrong with it.
	problem string
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
		v.problem = refused.err.Error()
	} else if j != nil && j.refused {
		v.problem = j.err.Error()
	}
	switch _, waits := c.waiting[id]; {
	case v.live == nil && c.disabled(id):
		v.is = control.Disabled
	case v.problem != "" && v.live != nil:
		v.is = control.Stale
	case v.problem != "":
		v.is = control.Refused
	case waits, j != nil:
		v.is = control.Waiting
	}
	return v
}

// views are of all rules.
func (c *committer) views() map[string]view {
	all := make(map[string]view, len(c.live)+len(c.off))
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

// overview is what is known of all rules at a moment, also of those of which there is no good version.
func (up *running) overview(ctx context.Context) (map[string]view, error) {
	var views map[string]view
	if err := up.committer.ask(ctx, func() { views = up.committer.views() }); err != nil {
		return nil, err
	}
	for id, p := range problemsByRule(up.store.Problems()) {
		views[id] = views[id].with(p)
	}
	return views, nil
}

// with adds what is wrong with the rule's file.
func (v view) with(p ruleProblem) view {
	v.problem = cmp.Or(v.problem, p.text)
	switch {
	case v.shown() == nil:
		v.is = control.Rejected
	case p.stale && v.is == control.Live:
		v.is = control.Stale
	}
	return v
}

// list is all rules, by id.
func (up *running) list(ctx context.Context) ([]control.Rule, error) {
	views, err := up.overview(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]control.Rule, 0, len(views))
	for _, id := range slices.Sorted(maps.Keys(views)) {
		all = append(all, up.describe(id, views[id]))
	}
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

func (up *running) describe(id string, v view) control.Rule {
	out := control.Rule{ID: id, Condition: v.is, Problem: v.problem}
	r := v.shown()
	if r == nil {
		return out
	}
	out.Version, out.Name, out.Severity, out.Hash = r.Version, r.Name, string(r.Metadata.Severity), r.Hash.String()
	out.Coverage, out.Source = CoverageOf(r).Name(), r.Pos.String()
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
	if p, wrong := problemsByRule(up.store.Problems())[id]; wrong {
		v = v.with(p)
	}
	r := v.shown()
	switch {
	case r == nil && v.problem == "":
		return control.RuleDetail{}, v, control.ErrNoRule
	case r == nil:
		return control.RuleDetail{Rule: up.describe(id, v)}, v, nil
	}
	d := control.RuleDetail{
		Rule: up.describe(id, v), Description: r.Description, Document: string(r.Document()),
		NewestVersion: v.newest.Version, NewestHash: v.newest.Hash.String(),
	}
	for _, plan := range r.Plans() {
		d.Plan += plan.String()
	}
	return d, v, nil
}
