package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"bittern/internal/loader"
	"bittern/internal/metrics"
	"bittern/internal/repeat"
	"bittern/internal/rules"
)

const (
	repeatsPoll = time.Second     // how often windows are looked at
	repeatsLag  = time.Second     // how long an event may be on its way to the ring
	repeatsLog  = 5 * time.Second // at most one line in this time says that detections are held back
)

// repeats holds detections back that are over the limits of their rules, and tells how many.
type repeats struct {
	sink     recordWriter
	before   recent // records of the agents before us
	describe *describer
	log      *slog.Logger
	metrics  *metrics.Set
	idle     func() bool // all that the kernel had handed over has been read
	uptime   func() time.Duration

	// mu is held from when a record of the kernel is judged until it is given back, and whenever
	// windows are looked at: so they are looked at only while there is no such record.
	mu       sync.Mutex
	windows  *repeat.Windows // nil if the journal can't be used: then everything is written
	journal  *repeat.Journal // nil if they are kept in memory only
	settled  bool            // what an agent before us may have judged and not given back has been
	seen     time.Duration   // latest event that was judged, since boot
	logged   time.Time       // when a line said last that detections are held back
	unlogged int             // windows of which none did
	refused  bool            // a line has said that there is no room
}

// start takes up the windows of the agents before us, from a directory; "" is to keep ours in memory.
func (r *repeats) start(dir, boot string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var before []*repeat.Window
	if dir != "" {
		journal, found, damage, err := repeat.OpenJournal(dir, Restore)
		if err != nil {
			r.log.Error("limits of rules are not in force, each detection is written", "error", err)
			return nil
		}
		for _, err := range damage {
			r.log.Error("repeats that an agent before has counted may not all be told", "error", err)
		}
		r.journal, before = journal, found
	}
	var err error
	r.windows, err = repeat.New(repeat.Config{Boot: boot, Journal: r.journal, Tell: r.tell, Broken: r.broken}, before)
	r.metrics.LimitWindows(len(before))
	return err
}

func (r *repeats) broken(err error) {
	r.log.Error("limits of rules are not in force any more, each detection is written", "error", err)
}

// held reports whether a detection is held back. The record stays with the caller until it is given
// back, which mu covers.
func (r *repeats) held(m loader.Match, by *rules.Rule) (bool, error) {
	if r.windows == nil {
		return false, nil
	}
	ev := m.Event
	from, executable := repeat.SourceOf(by.Limit.Per, ev)
	forgotten := r.windows.Forgotten()
	verdict, err := r.windows.Judge(by, from, executable, repeat.Moment{
		Record: repeat.Record{Instance: m.Instance, Class: ev.Class, CPU: ev.CPU, Sequence: ev.Sequence},
		Time:   ev.Time, Uptime: ev.Uptime,
	})
	if err != nil {
		return false, err
	}
	r.metrics.LimitWindows(r.windows.Open())
	if r.windows.Forgotten() > forgotten {
		r.full(by, metrics.Forgotten)
	}
	switch verdict {
	case repeat.Unlimited:
		r.full(by, metrics.Unlimited)
	case repeat.HoldFirst:
		r.logHeld(m, by)
	}
	held := verdict == repeat.Hold || verdict == repeat.HoldFirst
	if held {
		r.metrics.Repeated(by.ID)
	}
	return held, nil
}

// full notes that a source found no room.
func (r *repeats) full(by *rules.Rule, outcome metrics.Overflow) {
	r.metrics.Overflowed(outcome)
	if !r.refused {
		r.refused = true
		r.log.Warn("more sources than limits of rules can count apart: more is written than they say", "rule_id", by.ID,
			"windows", r.windows.Open(), "hint", "see bittern_limit_overflows_total; a limit per user or per rule has fewer sources")
	}
}

// done notes that a record was judged and given back.
func (r *repeats) done(at time.Duration) { r.settled, r.seen = true, max(r.seen, at) }

// drained notes that there is nothing more to read.
func (r *repeats) drained() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settled = true
}

// run looks at the windows at each tick until quit is closed. live says which of some rules are live, in which versions.
func (r *repeats) run(ticks <-chan time.Time, quit <-chan struct{}, live func(context.Context, []*rules.Rule) (map[rules.Hash]bool, error)) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-quit:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		select {
		case <-quit:
			return nil
		case <-ticks:
		}
		versions, err := live(ctx, r.limited())
		if err != nil {
			return nil // the agent is being stopped
		}
		if err := r.look(versions); err != nil {
			return err
		}
	}
}

// limited returns the rules that have windows.
func (r *repeats) limited() []*rules.Rule {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.windows == nil {
		return nil
	}
	return r.windows.Rules()
}

// look ends windows that are over. live are the rule versions that are.
func (r *repeats) look(live map[rules.Hash]bool) error {
	// First: what happens now is read later.
	now, idle := r.uptime(), r.idle()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settled = r.settled || idle
	if r.windows == nil || !r.settled {
		return nil
	}
	horizon := r.seen
	if idle {
		horizon = max(horizon, now-repeatsLag)
	}
	err := r.windows.Tick(now, horizon, func(version rules.Hash) bool { return live[version] })
	r.metrics.LimitWindows(r.windows.Open())
	return err
}

// stop tells what is held back, when nothing more is read. With keep the windows go on in the next agent.
func (r *repeats) stop(keep bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var err error
	switch {
	case r.windows == nil:
	case r.journal != nil && !r.settled: // the next agent does it
	case r.journal != nil && keep:
		err = r.windows.Flush()
	default:
		err = r.windows.Close()
	}
	if closing := r.journal.Close(); err == nil {
		err = closing
	}
	return err
}

// tell writes a record.
func (r *repeats) tell(told repeat.Told) error {
	record := r.describe.repeats(told)
	r.log.Debug("repeats told", "rule_id", record.Rule.ID, "rule_version", record.Rule.Version, "count", record.Count, "over", record.Over)
	if has(r.before, record.ID) {
		return nil
	}
	return r.sink.Write(record)
}

// logHeld says that a source has reached its limit, when the first detection of its window is held back.
func (r *repeats) logHeld(m loader.Match, by *rules.Rule) {
	now := m.Event.Time
	r.unlogged++
	if span := now.Sub(r.logged); span >= 0 && span < repeatsLog {
		return
	}
	attrs := []any{"rule_id", by.ID, "rule_version", by.Version, "limit", by.Limit.String()}
	if r.unlogged > 1 {
		attrs = append(attrs, "held_back_since", r.unlogged)
	}
	r.log.Info("a limit was reached: detections are counted, not written", attrs...)
	r.logged, r.unlogged = now, 0
}
