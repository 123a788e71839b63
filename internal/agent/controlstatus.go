package agent

import (
	"context"
	"fmt"
	"os"
	"time"

	"bittern/internal/control"
	"bittern/internal/event"
	"bittern/internal/loader"
)

// Status is also there before the agent has started.
func (a controlled) Status(ctx context.Context) (control.Status, error) {
	s := control.Status{
		Version: Version(), PID: os.Getpid(), Started: a.began, Ready: a.board.Ready() == nil, Cgroup: a.cfg.Kernel.Cgroup,
		Health: []control.Part{}, Problems: []control.Problem{}, Classes: map[string]control.Class{},
	}
	for _, r := range a.board.Reports() {
		part := control.Part{Name: r.Part}
		if r.Err != nil {
			part.Error = r.Err.Error()
		}
		s.Health = append(s.Health, part)
	}
	up, err := a.up()
	if err != nil {
		return s, nil
	}
	s.RulesDir = up.dir
	if err := up.kernelStatus(&s); err != nil {
		return s, err
	}
	s.Outbox, s.Fleet = up.queue.status(), a.fleetStatus(time.Now())
	done := up.pipeline.stats()
	s.Detections, s.Repeats, s.Prefiltered = done.Detections, done.Repeats, done.Prefiltered
	for _, source := range up.store.Problems() {
		p := control.Problem{Source: source.Source, Stale: source.Stale, Problems: []string{}}
		for _, problem := range source.Problems {
			p.Problems = append(p.Problems, problem.Error())
		}
		s.Problems = append(s.Problems, p)
	}
	s.Rules, s.RulesHash, err = up.counts(ctx)
	return s, err
}

// kernelStatus is what the kernel's side knows.
func (up *running) kernelStatus(s *control.Status) error {
	counters, err := up.kernel.Counters()
	if err != nil {
		return fmt.Errorf("reading the kernel's counters: %w", err)
	}
	usage, ring := up.kernel.Usage(), up.kernel.Ring()
	s.Epoch, s.RingUsed, s.RingSize = usage.Epoch, ring.Used, ring.Size
	hooks := make(map[event.Class]string)
	for _, h := range up.kernel.Caps(false).Hooks {
		hooks[h.Class] = h.Name
	}
	for _, class := range event.Classes() {
		n, slots := counters.Classes[class], usage.Slots[class]
		c := control.Class{Hook: hooks[class], Events: n.Events, Matches: n.Matches, SlotsUsed: slots.Taken, SlotsFree: slots.Free}
		for reason, lost := range map[loader.LossReason]uint64{loader.RingFull: n.LostRingFull, loader.Busy: n.LostBusy, loader.Skipped: n.LostSkipped} {
			if lost > 0 {
				if c.Lost == nil {
					c.Lost = make(map[string]uint64)
				}
				c.Lost[reason.String()] = lost
			}
		}
		s.Classes[class.String()] = c
	}
	return nil
}
