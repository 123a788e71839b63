package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"bittern/internal/control"
	"bittern/internal/health"
	"bittern/internal/loader"
	"bittern/internal/metrics"
	"bittern/internal/rules"
)

// swapper changes rules in the kernel.
type swapper interface {
	Commit(swaps ...loader.Swap) (epoch uint64, err error)
	// Ready and Prepare are about the hooks that a rule needs.
	Ready(r *rules.Rule) bool
	Prepare(r *rules.Rule) (release func() error, err error)
}

// changeSource hands out changes of rules, in order.
type changeSource interface {
	Next(ctx context.Context) (rules.Change, error)
}

// committer is the only one that changes rules in the kernel. One goroutine at a
// time may use it.
type committer struct {
	kernel  swapper
	staleIn func(file string) []string // ids of rules that a file holds up
	log     *slog.Logger
	live    map[string]*rules.Rule
	refused map[string]refusal // versions that found no room, or no hook

	states map[string]rules.RuleState // that are not the default
	clips  *clips
	off    map[string]*rules.Rule // newest versions of rules that are disabled
	before map[string]*rules.Rule // what was live when its rule was disabled, until the rule is again

	waiting   map[string]rules.Change // for hooks, by rule; the latest of each
	joints    []*joint                // sets that wait for hooks or for room
	set       []rules.Change          // of which not all changes have come yet
	preparing int                     // hooks that are being attached
	prepared  chan prepared

	metrics  *metrics.Set
	announce func(control.Change) // is told what becomes of changes
	tally    *tally
	working  health.Work
	asked    chan func()   // to be called between changes
	ended    chan struct{} // closed when there are no more changes
}

func newCommitter(kernel swapper, staleIn func(string) []string, log *slog.Logger) *committer {
	return &committer{
		kernel: kernel, staleIn: staleIn, log: log,
		states: make(map[string]rules.RuleState), clips: new(clips),
		off: make(map[string]*rules.Rule), before: make(map[string]*rules.Rule),
		live: make(map[string]*rules.Rule), refused: make(map[string]refusal),
		waiting: make(map[string]rules.Change), prepared: make(chan prepared),
		asked: make(chan func()), ended: make(chan struct{}),
		announce: func(control.Change) {}, tally: new(tally),
	}
}

// load makes all rules live, at one moment if there is room for all. Rules that
// the kernel refuses are left out. An error means that the kernel takes nothing.
func (c *committer) load(all []*rules.Rule) error {
	for len(all) > 0 {
		swaps := make([]loader.Swap, len(all))
		for i, r := range all {
			swaps[i] = loader.Swap{RuleID: r.ID, New: r}
		}
		epoch, err := c.kernel.Commit(swaps...)
		if err == nil {
			c.loaded(all, epoch)
			return nil
		}
		var refusal *loader.SwapError
		if !errors.As(err, &refusal) {
			return fmt.Errorf("loading rules: %w", err)
		}
		at := slices.IndexFunc(all, func(r *rules.Rule) bool { return r.ID == refusal.RuleID })
		if at < 0 {
			return fmt.Errorf("loading rules: %w", err)
		}
		// Those before it are known to fit. Were they tried again together with those
		// behind it, many refusals would cost the square of the number of rules.
		if err := c.load(all[:at]); err != nil {
			return err
		}
		c.refuse(all[at], refusal.Err)
		all = all[at+1:]
	}
	return nil
}

func (c *committer) loaded(all []*rules.Rule, epoch uint64) {
	for _, r := range all {
		c.live[r.ID] = r
		level := slog.LevelDebug
		if CoverageOf(r) == NotNarrowed {
			level = slog.LevelWarn
		}
		c.log.Log(context.Background(), level, "rule live", "rule_id", r.ID, "rule_version", r.Version, "epoch", epoch, "kernel", CoverageOf(r).String())
	}
}

// run takes changes until the source ends.
func (c *committer) run(ctx context.Context, source changeSource) {
	defer close(c.ended)
	changes := make(chan rules.Change)
	go feed(ctx, source, changes)
	for changes != nil || c.preparing > 0 {
		select {
		case change, ok := <-changes:
			if !ok {
				changes = nil
				clear(c.waiting) // nothing more is committed
				c.joints = nil
				continue
			}
			c.working.Begin()
			c.apply(change)
			c.working.End()
		case p := <-c.prepared:
			c.working.Begin()
			c.ready(p)
			c.working.End()
		case f := <-c.asked:
			f()
		}
	}
}

func (c *committer) apply(change rules.Change) {
	if change.Set.ID != 0 {
		c.collect(change)
		return
	}
	if change.Kind == rules.Definition || change.Kind == rules.Deleted {
		delete(c.waiting, change.RuleID) // this one comes after it
	}
	switch change.Kind {
	case rules.Definition:
		c.define(change)
	case rules.Deleted:
		c.remove(change)
	case rules.Rejected:
		c.reject(change)
	case rules.StateSet:
		c.setState(change)
	case rules.StatesRejected:
		c.rejectStates(change)
	}
}

func (c *committer) define(change rules.Change) {
	next, old := change.Rule, c.live[change.RuleID]
	c.problems(change.Problems)
	c.remember(change.RuleID, change.State) // which may be from a time when there was no such rule
	j := c.jointOf(change.RuleID)
	if j != nil {
		j.put(change)
	}
	if c.disabled(change.RuleID) {
		c.keep(change)
		return
	}
	delete(c.refused, change.RuleID)
	if j != nil {
		c.advance(j)
		return
	}
	if old != nil && old.Hash == next.Hash {
		return
	}
	if !c.kernel.Ready(next) {
		c.prepare(change)
		return
	}
	c.commit(change)
}

// commit makes a version live whose hooks are there.
func (c *committer) commit(change rules.Change) {
	next, old := change.Rule, c.live[change.RuleID]
	epoch, err := c.kernel.Commit(loader.Swap{RuleID: next.ID, New: next})
	if err != nil {
		c.refuse(next, err)
		return
	}
	c.live[next.ID] = next
	delete(c.before, next.ID)
	c.report(next, old, epoch, change.Seen)
	c.retry()
}

// report says that a version is live.
func (c *committer) report(next, old *rules.Rule, epoch uint64, seen time.Time) {
	attrs := []any{"rule_id", next.ID, "rule_version", next.Version}
	if old != nil {
		attrs = append(attrs, "replaces_version", old.Version)
	}
	attrs = append(attrs, "epoch", epoch, "kernel", CoverageOf(next).String())
	var after time.Duration
	if !seen.IsZero() {
		after = time.Since(seen)
		attrs = append(attrs, "after_ms", milliseconds(after))
	}
	c.metrics.Changed(metrics.Live, after)
	c.log.Info("rule live", attrs...)
	c.announce(reloaded(next, control.WentLive, epoch, nil))
	if old != nil && old.Version == next.Version && !next.SameText(old) {
		c.log.Warn("rule changed, its rule_version did not: detections can't tell the two apart",
			"rule_id", next.ID, "rule_version", next.Version, "hint", "count rule_version up with each edit")
	}
}

func (c *committer) remove(change rules.Change) {
	id := change.RuleID
	old, off := c.live[id], c.off[id]
	delete(c.refused, id)
	for _, versions := range []map[string]*rules.Rule{c.off, c.before} {
		delete(versions, id)
	}
	if j := c.jointOf(id); j != nil {
		j.put(change)
		c.advance(j)
		return
	}
	if old == nil {
		if off != nil {
			c.reportForgotten(off)
		}
		return
	}
	epoch, err := c.kernel.Commit(loader.Swap{RuleID: id})
	if err != nil {
		c.log.Error("rule not deleted, it stays live", "rule_id", id, "rule_version", old.Version, "error", err)
		return
	}
	delete(c.live, id)
	c.reportDeleted(old, epoch, change.Seen)
	c.retry()
}

// reportDeleted says that a version is no longer live.
func (c *committer) reportDeleted(old *rules.Rule, epoch uint64, seen time.Time) {
	attrs := []any{"rule_id", old.ID, "rule_version", old.Version, "epoch", epoch}
	var after time.Duration
	if !seen.IsZero() {
		after = time.Since(seen)
		attrs = append(attrs, "after_ms", milliseconds(after))
	}
	c.metrics.Changed(metrics.Deleted, after)
	c.metrics.Forget(old.ID)
	c.tally.byRule.Delete(old.ID)
	c.log.Info("rule deleted", attrs...)
	c.announce(reloaded(old, control.WasDeleted, epoch, nil))
}

// reportForgotten says that a rule is gone that was not live.
func (c *committer) reportForgotten(off *rules.Rule) {
	c.log.Info("rule deleted, it was disabled", "rule_id", off.ID, "rule_version", off.Version)
	c.announce(reloaded(off, control.WasDeleted, 0, nil))
}

// summary counts what is live.
type summary struct{ live, exact, narrowed, unnarrowed, refused, disabled, clipped int }

func (c *committer) summary() summary {
	s := summary{live: len(c.live), refused: len(c.refused), disabled: len(c.off)}
	for _, r := range c.live {
		if c.clips.of(r.ID).State == rules.Clipped {
			s.clipped++
		}
		switch CoverageOf(r) {
		case Exact:
			s.exact++
		case Narrowed:
			s.narrowed++
		case NotNarrowed:
			s.unnarrowed++
		}
	}
	return s
}

func versionOf(r *rules.Rule) string { return fmt.Sprintf("version %d", r.Version) }

// milliseconds rounds to microseconds, so that it reads well.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
