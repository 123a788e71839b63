package agent

import (
	"fmt"
	"log/slog"
	"time"

	"bittern/internal/event"
	"bittern/internal/metrics"
)

// loss is records that are lost, and have not been reported.
type loss struct {
	reason      string
	class       event.Class // ClassUnknown: any
	sink, rule  string      // "": all, and not known
	count       uint64
	first, last time.Time // zero: between two looks
	id          []any     // names it for good
	// reported is to be called once a record tells of it.
	reported func(*event.Gap) error
}

// gapReporter says in the output itself what is missing from it.
type gapReporter struct {
	losses func() ([]loss, error)
	done   func() error // all losses have been reported
	sink   recordWriter
	before recent // records of the agents before us
	host   *event.Host
	log    *slog.Logger
	now    func() time.Time
	looked time.Time // when the counters were read last
	counts *metrics.Set
}

func newGapReporter(losses func() ([]loss, error), done func() error, out recordWriter, before recent, host *event.Host, log *slog.Logger, now func() time.Time) *gapReporter {
	return &gapReporter{losses: losses, done: done, sink: out, before: before, host: host, log: log, now: now, looked: now()}
}

// run polls at each tick until quit is closed, and once when what agents before us have left was read: what they hold in the
// kernel goes then, or agents that die again and again, each within a tick, would pile it up. That the counters can't be read is an error: loss
// must never be silent.
func (g *gapReporter) run(ticks <-chan time.Time, caughtUp, quit <-chan struct{}) error {
	for {
		select {
		case <-quit:
			return nil
		case <-ticks:
		case <-caughtUp:
			caughtUp = nil
		}
		if err := g.poll(); err != nil {
			return err
		}
	}
}

// poll writes a gap record for each loss. Of what an agent before us had begun to report that part
// comes first, as it would have reported it, and the rest in a second round.
func (g *gapReporter) poll() error {
	now := g.now()
	for range 2 {
		losses, err := g.losses()
		if err != nil {
			return fmt.Errorf("looking for lost records: %w", err)
		}
		for _, l := range losses {
			if err := g.report(l, now); err != nil {
				return err
			}
		}
	}
	g.looked = now
	return g.done()
}

func (g *gapReporter) report(l loss, now time.Time) error {
	log := g.log
	if l.sink != "" {
		log = log.With("sink", l.sink)
	}
	if l.rule != "" {
		log = log.With("rule_id", l.rule)
	}
	log.Warn("records lost", "reason", l.reason, "class", l.class.String(), "count", l.count)
	gap := &event.Gap{ID: event.NewID(now, l.id...), Class: l.class, Count: l.count, Reason: l.reason, Sink: l.sink, Rule: l.rule, First: g.looked, Last: now, Host: g.host}
	if !l.last.IsZero() {
		gap.First, gap.Last = l.first, l.last
	}
	if !has(g.before, gap.ID) {
		if err := g.sink.Write(gap); err != nil {
			return err
		}
	}
	g.counts.Lost(l.class.String(), l.reason, l.count)
	return l.reported(gap)
}
