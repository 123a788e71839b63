package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"bittern/internal/event"
	"bittern/internal/loader"
	"bittern/internal/metrics"
	"bittern/internal/rules"
)

// matchSource hands out what the kernel let pass.
type matchSource interface {
	Next() (loader.Match, error)
	Release() // gives the last match back
}

// pipeline turns matches into detections. One goroutine runs it.
type pipeline struct {
	*describer
	source  matchSource
	sink    recordWriter
	repeats *repeats
	before  recent // records of the agents before us
	log     *slog.Logger
	metrics *metrics.Set
	tally   *tally

	detections, repeated, prefiltered, undecodable atomic.Uint64
}

// pipelineStats are sums since the start.
type pipelineStats struct {
	Detections  uint64
	Repeats     uint64 // detections that were counted, not written
	Prefiltered uint64 // pairs of event and rule that the kernel let pass, and the exact matcher did not
	Undecodable uint64 // records that made no sense
}

func (p *pipeline) stats() pipelineStats {
	return pipelineStats{p.detections.Load(), p.repeated.Load(), p.prefiltered.Load(), p.undecodable.Load()}
}

// run works until the source is closed and empty.
func (p *pipeline) run() error {
	for {
		m, err := p.source.Next()
		var malformed *loader.DecodeError
		switch {
		case errors.Is(err, os.ErrClosed):
			p.repeats.drained()
			return nil
		case errors.As(err, &malformed):
			p.undecodable.Add(1)
			p.log.Error("kernel record dropped", "error", err)
			continue
		case err != nil:
			return fmt.Errorf("reading matches: %w", err)
		}
		if err := p.handle(m); err != nil {
			return err
		}
	}
}

// handle judges a match and gives it back.
func (p *pipeline) handle(m loader.Match) error {
	p.repeats.mu.Lock()
	defer p.repeats.mu.Unlock()
	if err := p.judge(m); err != nil {
		return err
	}
	p.source.Release()
	p.repeats.done(m.Event.Uptime)
	return nil
}

// judge asks the exact matcher about each rule that the kernel named.
func (p *pipeline) judge(m loader.Match) error {
	p.enrich(m.Event)
	for _, r := range m.Rules {
		if !r.Match(m.Event) {
			p.prefiltered.Add(1)
			p.metrics.Prefiltered()
			p.tally.missed(r, m.Event)
			continue
		}
		if r.Limit != nil {
			held, err := p.repeats.held(m, r)
			if err != nil {
				return err
			}
			if held {
				p.repeated.Add(1)
				p.tally.held(r.ID, m.Event.Time)
				continue
			}
		}
		d := p.detection(m, r)
		if m.Inherited && has(p.before, d.ID) {
			continue
		}
		if err := p.sink.Write(d); err != nil {
			return err
		}
		p.detections.Add(1)
		p.metrics.Detected(r.ID)
		p.tally.hit(r.ID, m.Event.Time)
	}
	return nil
}

func (p *pipeline) detection(m loader.Match, r *rules.Rule) *event.Detection {
	ev := m.Event
	d := &event.Detection{
		ID:       event.NewID(ev.Time, p.host.BootID, m.Instance, ev.Class, ev.CPU, ev.Sequence, r.ID, r.Hash),
		Event:    ev,
		Evidence: r.EvidenceFields,
		Host:     p.host,
	}
	d.Rule, d.Tags, d.State = p.rule(r)
	return d
}
