package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"bittern/internal/attack"
	"bittern/internal/event"
	"bittern/internal/loader"
	"bittern/internal/metrics"
	"bittern/internal/rules"
)

// matchSource hands out what the kernel let pass.
type matchSource interface {
	Next() (loader.Match, error)
}

// recordWriter takes what is to be shown.
type recordWriter interface {
	Write(Record) error
}

// pipeline turns matches into detections. One goroutine runs it.
type pipeline struct {
	source    matchSource
	sink      recordWriter
	users     *users
	host      *event.Host
	catalogue *attack.Catalogue
	before    written // by the agents before us
	clips     *clips
	log       *slog.Logger
	metrics   *metrics.Set
	tally     *tally

	detections, prefiltered, undecodable atomic.Uint64
}

// pipelineStats are sums since the start.
type pipelineStats struct {
	Detections  uint64
	Prefiltered uint64 // pairs of event and rule that the kernel let pass, and the exact matcher did not
	Undecodable uint64 // records that made no sense
}

func (p *pipeline) stats() pipelineStats {
	return pipelineStats{p.detections.Load(), p.prefiltered.Load(), p.undecodable.Load()}
}

// run works until the source is closed and empty.
func (p *pipeline) run() error {
	for {
		m, err := p.source.Next()
		var malformed *loader.DecodeError
		switch {
		case errors.Is(err, os.ErrClosed):
			return nil
		case errors.As(err, &malformed):
			p.undecodable.Add(1)
			p.log.Error("kernel record dropped", "error", err)
			continue
		case err != nil:
			return fmt.Errorf("reading matches: %w", err)
		}
		if err := p.judge(m); err != nil {
			return err
		}
	}
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
		d := p.detection(m, r)
		if m.Inherited && p.before.has(d.ID) {
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

// enrich adds what the kernel doesn't know. Nobody else has the event yet.
func (p *pipeline) enrich(ev *event.Event) {
	ev.User.Name = p.users.name(ev.User.ID)
	for _, process := range []*event.Process{&ev.Process, &ev.Parent} {
		if process.PID != 0 && process.StartRel != 0 {
			process.EntityID = event.EntityID(p.host.BootID, process.PID, process.StartRel)
		}
	}
}

func (p *pipeline) detection(m loader.Match, r *rules.Rule) *event.Detection {
	ev, state := m.Event, p.clips.of(r.ID)
	d := &event.Detection{
		ID:    event.NewID(ev.Time, p.host.BootID, m.Instance, ev.Class, ev.CPU, ev.Sequence, r.ID, r.Hash),
		Event: ev,
		Rule: event.Rule{
			ID: r.ID, Version: r.Version, Name: r.Name, Description: r.Description,
			Severity: string(r.Metadata.Severity), Hash: r.Hash.String(),
		},
		Tags:     p.tags(r.Emits, state),
		Evidence: r.EvidenceFields,
		Host:     p.host,
	}
	if state.State == rules.Clipped {
		d.State = state.State.String()
	}
	return d
}

func (p *pipeline) tags(emits []rules.Emit, state rules.RuleState) []event.Tag {
	tags := make([]event.Tag, 0, len(emits))
	for _, e := range emits {
		tag := event.Tag{
			Tactic:     event.Ref{ID: e.Tactic},
			Technique:  p.technique(e.Technique),
			Confidence: state.Clamp(e.Confidence),
		}
		if t, ok := p.catalogue.Tactic(e.Tactic); ok {
			tag.Tactic.Name = t.Name
		}
		if e.SubTechnique != "" {
			tag.SubTechnique = p.technique(e.SubTechnique)
		}
		tags = append(tags, tag)
	}
	return tags
}

func (p *pipeline) technique(id string) event.Ref {
	ref := event.Ref{ID: id}
	if t, ok := p.catalogue.Technique(id); ok {
		ref.Name = t.Name
	}
	return ref
}
