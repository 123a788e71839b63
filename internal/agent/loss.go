package agent

import (
	"bittern/internal/event"
	"bittern/internal/loader"
	"bittern/internal/outbox"
)

// losses are all records that were lost and have not been reported: by the kernel, before they became detections, and by the outbox.
func (a *Agent) losses() ([]loss, error) {
	byKernel, err := a.kernel.Losses()
	if err != nil {
		return nil, err
	}
	var all []loss
	for _, l := range byKernel {
		all = append(all, a.kernelLoss(l))
	}
	byOutbox, err := a.box.Untold()
	if err != nil {
		// It is counted in memory, and told; an agent after us may tell it again.
		a.log.Error("reporting what the outbox has lost", "error", err)
	}
	for _, l := range byOutbox {
		all = append(all, loss{
			reason: string(l.Cause), sink: l.Sink, rule: l.Rule, count: l.Count, first: l.First, last: l.Last,
			id:       []any{"outbox", l.Cause, l.Sink, l.Rule, l.Class, l.Told},
			reported: func(*event.Gap) error { a.kept(a.box.Told(l)); return nil },
		})
	}
	return all, nil
}

func (a *Agent) kernelLoss(l loader.Loss) loss {
	found := loss{reason: l.Reason.String(), class: l.Class, count: l.New, id: l.ID()}
	found.reported = func(gap *event.Gap) error {
		id, err := outbox.ParseID(gap.ID)
		if err != nil {
			return err
		}
		noted := outbox.Loss{Cause: outbox.Cause(found.reason), Count: found.count, First: gap.First, Last: gap.Last}
		if l.Class != event.ClassUnknown {
			noted.Class = l.Class.String()
		}
		a.kept(a.box.Note(id, noted)) // which counts it once, however often it is reported
		l.Reported()
		return nil
	}
	return found
}

// kept tells of a ledger that can't be written. It goes on in memory.
func (a *Agent) kept(err error) {
	if err != nil {
		a.log.Error("keeping what was lost in the ledger", "error", err)
	}
}
