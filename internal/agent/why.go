package agent

import (
	"context"
	"fmt"
	"time"

	"bittern/internal/control"
	"bittern/internal/event"
	"bittern/internal/loader"
	"bittern/internal/rules"
)

// Why says what keeps a rule from detecting, from the operator's decision to the last event that came close.
func (a controlled) Why(ctx context.Context, id string) (control.Why, error) {
	up, err := a.up()
	if err != nil {
		return control.Why{}, err
	}
	detail, v, err := up.detail(ctx, id)
	if err != nil {
		return control.Why{}, err
	}
	d := &diagnosis{rule: detail, view: v}
	d.condition()
	if v.live == nil {
		return d.why(), nil
	}
	if err := a.board.Healthy(); err != nil {
		d.note("the agent is not healthy: " + err.Error())
	}
	if cgroup := a.cfg.Kernel.Cgroup; cgroup != "" {
		d.note("only processes of cgroup " + cgroup + " are watched")
	}
	counters, err := up.kernel.Counters()
	if err != nil {
		return control.Why{}, fmt.Errorf("reading the kernel's counters: %w", err)
	}
	d.classes(up.kernel.Caps(false).Hooks, counters)
	if d.rule.Passed == 0 {
		details, err := obstacles(v.live, up.kernel.Hit)
		if err != nil {
			return control.Why{}, err
		}
		d.add(control.Finding{Text: "the kernel has let no event pass: none has hit a key of each line of a clause", Details: details})
	}
	d.hits(up.pipeline.tally.of(id), a.began)
	return d.why(), nil
}

// diagnosis collects findings.
type diagnosis struct {
	rule     control.RuleDetail
	view     view
	findings []control.Finding
}

func (d *diagnosis) why() control.Why { return control.Why{Rule: d.rule.Rule, Findings: d.findings} }

func (d *diagnosis) add(f control.Finding) { d.findings = append(d.findings, f) }
func (d *diagnosis) note(text string)      { d.add(control.Finding{Text: text}) }

// condition says what the rule's state and its file do to it.
func (d *diagnosis) condition() {
	id := d.rule.ID
	switch d.rule.Condition {
	case control.Rejected:
		d.add(control.Finding{Silencing: true, Text: "its file is wrong, and there is no good version from before: " + d.rule.Problem, Hint: "mend the file"})
	case control.Refused:
		d.add(control.Finding{Silencing: true, Text: "the kernel does not take it: " + d.rule.Problem, Hint: "bittern doctor says which hooks there are, bittern status which slots are free"})
	case control.Waiting:
		d.add(control.Finding{Silencing: d.view.live == nil, Text: "its newest version waits for its hook to be attached"})
	case control.Stale:
		d.add(control.Finding{Text: fmt.Sprintf("it is live in version %d, since its newest one can't be: %s", d.rule.Version, d.rule.Problem)})
	}
	s := d.rule.State
	if s == nil || s.State == "enabled" {
		return
	}
	text := "it is " + s.State
	if s.ConfidenceMax != nil {
		text = fmt.Sprintf("it is clipped: no detection has more confidence than %v", *s.ConfidenceMax)
	}
	if s.SetBy != "" {
		text += ", by " + s.SetBy
	}
	hint := "bittern state clear " + id
	if s.Scope != "" {
		text += fmt.Sprintf(", in the fleet's database, for the %s", s.Scope)
		hint = "bittern state set " + id + " enabled --reason ... comes before it on this host"
	}
	if s.Reason != "" {
		text += fmt.Sprintf(" (%s)", s.Reason)
	}
	if s.ExpiresAt != nil {
		text += ", until " + s.ExpiresAt.Format(time.RFC3339)
	}
	d.add(control.Finding{Silencing: s.State == "disabled", Text: text, Hint: hint})
}

// classes says whether there are events that the rule could match.
func (d *diagnosis) classes(hooks []loader.Hook, counters loader.Counters) {
	byClass := make(map[event.Class]loader.Hook)
	for _, h := range hooks {
		byClass[h.Class] = h
	}
	for _, class := range d.view.live.AppliesTo {
		h, n := byClass[class], counters.Classes[class]
		if h.Name == "" {
			d.note(fmt.Sprintf("%s: there is no hook", class))
			continue
		}
		text := fmt.Sprintf("%s: %d events judged since the agent started, from hook %s", class, n.Events, h.Name)
		if lost := n.LostRingFull + n.LostBusy + n.LostSkipped; lost > 0 {
			text += fmt.Sprintf("; %d were lost, see the gap records", lost)
		}
		f := control.Finding{Text: text}
		if h.Misses != "" {
			f.Details = []string{"the hook misses " + h.Misses}
		}
		d.add(f)
	}
}

// obstacles says of each clause of a rule how far events have come: the kernel looks for the groups in their
// order, and for the second only in events that hit a first one.
func obstacles(r *rules.Rule, hit func(event.Class, rules.Key) (bool, error)) ([]string, error) {
	var lines []string
	for _, plan := range r.Plans() {
		for i, clause := range plan.Clauses {
			line, err := obstacle(plan.Class, clause, hit)
			if err != nil {
				return nil, fmt.Errorf("asking the kernel about rule %s: %w", r.ID, err)
			}
			lines = append(lines, fmt.Sprintf("%s, clause %d: %s", plan.Class, i+1, line))
		}
	}
	return lines, nil
}

func obstacle(class event.Class, clause rules.Clause, hit func(event.Class, rules.Key) (bool, error)) (string, error) {
	first := func(g rules.Group) (int, error) {
		for i, k := range g {
			if is, err := hit(class, k); is || err != nil {
				return i, err
			}
		}
		return -1, nil
	}
	for i, g := range clause.Groups {
		at, err := first(g)
		switch {
		case err != nil:
			return "", err
		case at < 0 && i == 0:
			return "no event has hit " + g.String(), nil
		case at < 0:
			return "events have hit " + clause.Groups[0].String() + ", and none has hit " + g.String(), nil
		}
	}
	excluded, err := first(clause.Not)
	if err != nil || excluded < 0 {
		return "each of its lines has been hit, but never all by one event", err
	}
	return "what hits all of its lines is excluded by " + rules.Group(clause.Not[excluded:excluded+1]).String() + ", or no event hits them all", nil
}

// hits says what has come of the events that the kernel let pass.
func (d *diagnosis) hits(counts *ruleTally, since time.Time) {
	passed, hits := counts.passed.Load(), counts.hits.Load()
	if hits > 0 {
		d.note(fmt.Sprintf("it has detected %d times since %s, the last time at %s", hits, since.Format(time.RFC3339), counts.lastHit().Format(time.RFC3339)))
	}
	miss := counts.miss.Load()
	if miss == nil {
		return
	}
	f := control.Finding{
		Text: fmt.Sprintf("the kernel has let %d events pass, and the exact matcher %d of them; the last that it did not, at %s, was of %s (pid %d)",
			passed, hits, miss.event.Time.Format(time.RFC3339), miss.event.Process.Executable, miss.event.Process.PID),
	}
	for _, r := range miss.rule.WhyNot(miss.event) {
		verdict := "does not hold"
		if r.Holds {
			verdict = "holds"
		}
		f.Details = append(f.Details, fmt.Sprintf("%s: %s %s", r.Pos, r.Literal, verdict))
	}
	d.add(f)
}
