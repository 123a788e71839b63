package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"bittern/internal/control"
	"bittern/internal/loader"
	"bittern/internal/rules"
)

// running is what can be asked about once all rules are live.
type running struct {
	dir       string // of rules
	store     Store
	committer *committer
	kernel    *loader.Kernel
	pipeline  *pipeline
	queue     queue
}

// controlled is the agent as the control socket sees it. It takes none of the agent's locks: they are held
// throughout the start.
type controlled struct{ *Agent }

// listen begins to answer at the control socket. That it can't is no reason not to detect.
func (a *Agent) listen() {
	if a.cfg.Socket == "" {
		return
	}
	log := a.cfg.Log.With("component", "control")
	l, err := control.Listen(a.cfg.Socket)
	if err != nil {
		log.Error("the control socket can't be had: commands do not reach this agent", "error", err)
		return
	}
	a.control.Serve(l)
	log.Info("answering commands", "socket", a.cfg.Socket)
}

func (a controlled) up() (*running, error) {
	if up := a.running.Load(); up != nil {
		return up, nil
	}
	return nil, control.ErrStarting
}

// Settings is the configuration in force.
func (a controlled) Settings() map[string]control.Setting {
	if a.cfg.Settings == nil {
		return map[string]control.Setting{}
	}
	return a.cfg.Settings()
}

// Rules lists all rules, by id.
func (a controlled) Rules(ctx context.Context) ([]control.Rule, error) {
	up, err := a.up()
	if err != nil {
		return nil, err
	}
	return up.list(ctx)
}

// Rule describes one rule.
func (a controlled) Rule(ctx context.Context, id string) (control.RuleDetail, error) {
	up, err := a.up()
	if err != nil {
		return control.RuleDetail{}, err
	}
	d, _, err := up.detail(ctx, id)
	return d, err
}

// States are those in force, but the default ones.
func (a controlled) States(ctx context.Context) (map[string]rules.RuleState, error) {
	up, err := a.up()
	if err != nil {
		return nil, err
	}
	return up.committer.statesNow(ctx)
}

// SetState persists a state, and waits until the kernel and the pipeline have it.
func (a controlled) SetState(ctx context.Context, id string, state rules.RuleState, by string) (rules.RuleState, error) {
	up, err := a.up()
	if err != nil {
		return rules.RuleState{}, err
	}
	changes := a.control.Changes.Listen(setStateLimit, 0)
	defer changes.Close()
	if err := up.store.SetState(id, state, by); err != nil {
		return rules.RuleState{}, err
	}
	for {
		is, counts, err := up.stateCounts(ctx, id)
		if counts || err != nil {
			return is, err
		}
		if _, _, err := changes.Next(ctx); err != nil {
			return is, fmt.Errorf("waiting for state of rule %s to count: %w", id, err)
		}
	}
}

// setStateLimit is how many changes may wait while a state is being set. That more are lost does no
// harm, since each of them says only that it is time for another look.
const setStateLimit = 1

// errStillLive is the answer where the kernel can't be rid of a rule at present.
var errStillLive = errors.New("the state is kept, but the rule stays live until the kernel takes a commit (see the agent's log)")

// stateCounts returns the state in force, and whether it is the one that the store has.
func (up *running) stateCounts(ctx context.Context, id string) (is rules.RuleState, counts bool, err error) {
	c, stillLive := up.committer, false
	err = c.ask(ctx, func() {
		is = c.states[id]
		counts = is.Equal(up.store.State(id))
		stillLive = c.disabled(id) && c.live[id] != nil
	})
	if err == nil && counts && stillLive {
		err = errStillLive
	}
	return is, counts, err
}

func (c *committer) statesNow(ctx context.Context) (all map[string]rules.RuleState, err error) {
	err = c.ask(ctx, func() { all = maps.Clone(c.states) })
	return all, err
}

// Doctor says what the kernel offers, also to classes that no rule needs.
func (a controlled) Doctor(context.Context) (control.Doctor, error) {
	up, err := a.up()
	if err != nil {
		return control.Doctor{}, err
	}
	report, err := loader.Describe()
	if err != nil {
		return control.Doctor{}, err
	}
	report.Hooks = up.kernel.Caps(true).Hooks
	return DoctorOf(report), nil
}

// DoctorOf is a report as it is told.
func DoctorOf(r loader.Report) control.Doctor {
	d := control.Doctor{
		Kernel: r.Kernel, Machine: r.Machine, BTF: r.BTF, LSMs: r.LSMs, MinimumKernel: loader.Needs,
		Missing: append([]string{}, r.Missing...), Classes: []control.Hook{},
	}
	if r.Problem != nil {
		d.Problem = r.Problem.Error()
	}
	for _, h := range r.Hooks {
		hook := control.Hook{Class: h.Class.String(), Hook: h.Name, Misses: h.Misses, Refused: []control.Refusal{}}
		for _, refused := range h.Refused {
			hook.Refused = append(hook.Refused, control.Refusal{Hook: refused.Name, Reason: refused.Reason, Remedy: refused.Remedy})
		}
		d.Classes = append(d.Classes, hook)
	}
	return d
}
