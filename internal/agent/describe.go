package agent

import (
	"bittern/internal/attack"
	"bittern/internal/event"
	"bittern/internal/repeat"
	"bittern/internal/rules"
)

// describer says in records what the kernel doesn't know. One goroutine at a time may use it.
type describer struct {
	users     *users
	host      *event.Host
	catalogue *attack.Catalogue
	clips     *clips
}

// enrich adds to an event. Nobody else has it yet.
func (d *describer) enrich(ev *event.Event) {
	ev.User.Name = d.users.name(ev.User.ID)
	for _, process := range []*event.Process{&ev.Process, &ev.Parent} {
		if process.PID != 0 && process.StartRel != 0 {
			process.EntityID = event.EntityID(d.host.BootID, process.PID, process.StartRel)
		}
	}
}

// rule describes a rule version, with its tags as they are now, and its state if that concerns them.
func (d *describer) rule(r *rules.Rule) (rule event.Rule, tags []event.Tag, state string) {
	inForce := d.clips.of(r.ID)
	if inForce.State == rules.Clipped {
		state = inForce.State.String()
	}
	return event.Rule{
		ID: r.ID, Version: r.Version, Name: r.Name, Description: r.Description,
		Severity: string(r.Metadata.Severity), Hash: r.Hash.String(),
	}, d.tags(r.Emits, inForce), state
}

func (d *describer) tags(emits []rules.Emit, state rules.RuleState) []event.Tag {
	tags := make([]event.Tag, 0, len(emits))
	for _, e := range emits {
		tag := event.Tag{
			Tactic:     event.Ref{ID: e.Tactic},
			Technique:  d.technique(e.Technique),
			Confidence: state.Clamp(e.Confidence),
		}
		if t, ok := d.catalogue.Tactic(e.Tactic); ok {
			tag.Tactic.Name = t.Name
		}
		if e.SubTechnique != "" {
			tag.SubTechnique = d.technique(e.SubTechnique)
		}
		tags = append(tags, tag)
	}
	return tags
}

func (d *describer) technique(id string) event.Ref {
	ref := event.Ref{ID: id}
	if t, ok := d.catalogue.Technique(id); ok {
		ref.Name = t.Name
	}
	return ref
}

// repeats describes a part of a window's count.
func (d *describer) repeats(told repeat.Told) *event.Repeats {
	record := &event.Repeats{
		ID: event.NewID(told.Last, told.ID()...), Count: told.Count, Total: told.Announced, First: told.First, Last: told.Last, Began: told.Began, Over: told.Over,
		Limit: event.Limit{Per: told.Source.Per.String(), Max: told.Rule.Limit.Max, Window: told.Rule.Limit.Window},
		Host:  d.host,
	}
	record.Rule, record.Tags, record.State = d.rule(told.Rule)
	switch told.Source.Per {
	case rules.PerProcess:
		record.Source.Process = event.Process{PID: told.Source.PID, StartRel: told.Source.Start, Executable: told.Executable}
		if told.Source.PID != 0 && told.Source.Start != 0 {
			record.Source.Process.EntityID = event.EntityID(told.Boot, told.Source.PID, told.Source.Start)
		}
	case rules.PerUser:
		id := told.Source.User
		record.Source.User = event.User{ID: id, EffectiveID: id, Name: d.users.name(id)}
	}
	if told.Boot != d.host.BootID {
		host := *d.host
		host.BootID = told.Boot
		record.Host = &host
	}
	return record
}
