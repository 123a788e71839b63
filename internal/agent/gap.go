package agent

import (
	"fmt"
	"log/slog"
	"time"

	"bittern/internal/event"
)

// loss is one counter of records that never became detections.
type loss struct {
	reason string
	class  event.Class // ClassUnknown: any
	count  uint64      // since the start
}

// lossKey tells counters apart.
type lossKey struct {
	reason string
	class  event.Class
}

// gapReporter says in the output itself what is missing from it.
type gapReporter struct {
	losses func() ([]loss, error)
	sink   recordWriter
	host   *event.Host
	log    *slog.Logger
	now    func() time.Time

	seen   map[lossKey]uint64
	looked time.Time // when the counters were read last
}

func newGapReporter(losses func() ([]loss, error), out recordWriter, host *event.Host, log *slog.Logger, now func() time.Time) *gapReporter {
	return &gapReporter{losses: losses, sink: out, host: host, log: log, now: now, seen: make(map[lossKey]uint64), looked: now()}
}

// run polls at each tick until quit is closed. That the counters can't be read is
// an error: loss must never be silent.
func (g *gapReporter) run(ticks <-chan time.Time, quit <-chan struct{}) error {
	for {
		select {
		case <-quit:
			return nil
		case <-ticks:
		}
		if err := g.poll(); err != nil {
			return err
		}
	}
}

// poll writes a gap record for each reason and class whose counter has grown.
func (g *gapReporter) poll() error {
	losses, err := g.losses()
	if err != nil {
		return fmt.Errorf("looking for lost records: %w", err)
	}
	now := g.now()
	for _, l := range losses {
		key := lossKey{l.reason, l.class}
		grown := l.count - g.seen[key]
		if grown == 0 {
			continue
		}
		g.log.Warn("records lost", "reason", l.reason, "class", l.class.String(), "count", grown)
		gap := &event.Gap{ID: event.NewID(now), Class: l.class, Count: grown, Reason: l.reason, First: g.looked, Last: now, Host: g.host}
		if err := g.sink.Write(gap); err != nil {
			return err
		}
		g.seen[key] = l.count
	}
	g.looked = now
	return nil
}
