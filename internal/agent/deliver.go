package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"bittern/internal/control"
	"bittern/internal/outbox"
	"bittern/internal/sink"
)

// stdout is the name of the sink that writes to Config.Output.
const stdout = "stdout"

// drainWithin is how long sinks may take at a stop for what they have not delivered. What is left then goes to the next agent's.
const drainWithin = 5 * time.Second

// drainPoll is how often they are looked at then.
const drainPoll = 50 * time.Millisecond

// Alerts are the kinds of records that say what was detected, and what may not have been.
var alerts = outbox.KindsOf(outbox.Detection, outbox.Repeats, outbox.Gap)

// Sink is where records are delivered to, beside Config.Output.
type Sink struct {
	Name string // its place in the outbox is kept by it
	sink.Sink
	pace sink.Pace // of what it lacks after it was away, see sink.RunnerConfig; nil: none
}

// openOutbox opens the outbox, with a reader for each sink.
func (a *Agent) openOutbox() (err error) {
	var readers []outbox.ReaderConfig
	if a.cfg.Output != nil {
		if a.out, err = sink.NewOutput(a.cfg.Output, sink.OutputConfig{Format: a.cfg.Format, Colour: a.cfg.Colour}); err != nil {
			return err
		}
		readers = append(readers, outbox.ReaderConfig{Name: stdout, Kinds: alerts})
		a.sinks = append(a.sinks, Sink{Name: stdout, Sink: a.out})
	}
	a.sinks = append(a.sinks, a.cfg.Sinks...)
	for _, s := range a.cfg.Sinks {
		readers = append(readers, outbox.ReaderConfig{Name: s.Name, Kinds: outbox.AllKinds})
	}
	if a.cfg.Fleet != nil {
		readers = append(readers, outbox.ReaderConfig{Name: postgres, Kinds: outbox.AllKinds})
	}
	a.box, err = outbox.Open(outbox.Config{
		Dir: a.cfg.Outbox, Quota: a.cfg.OutboxBytes, Readers: readers, Log: a.cfg.Log.With("component", "outbox"),
	})
	if err != nil {
		return err
	}
	if a.cfg.Fleet != nil {
		to, err := a.fleetSink()
		if err != nil {
			return err
		}
		a.sinks = append(a.sinks, to)
	}
	a.records = &recorder{box: a.box, publish: func(r Record) { a.control.Records.Publish(streamed(r)) }}
	return nil
}

// delivery has sinks deliver what is in the outbox.
type delivery struct {
	runners []*sink.Runner
	names   []string
	ended   []atomic.Bool
	running sync.WaitGroup
	cancel  context.CancelFunc
	log     *slog.Logger
}

// deliver starts all sinks. fail is told of one that can't deliver any more.
func deliver(box *outbox.Log, sinks []Sink, log *slog.Logger, fail func(error)) (*delivery, error) {
	ctx, cancel := context.WithCancel(context.Background())
	d := &delivery{cancel: cancel, log: log, ended: make([]atomic.Bool, len(sinks))}
	for _, s := range sinks {
		runner, err := sink.NewRunner(box.Reader(s.Name), s.Sink, sink.RunnerConfig{Log: log, Pace: s.pace})
		if err != nil {
			cancel()
			return nil, err
		}
		d.runners, d.names = append(d.runners, runner), append(d.names, s.Name)
	}
	for i, runner := range d.runners {
		d.running.Go(func() {
			defer d.ended[i].Store(true)
			switch err := runner.Run(ctx); {
			case err == nil:
			case ctx.Err() != nil:
				d.log.Warn("not all records were delivered, the next agent does it", "sink", d.names[i], "error", err)
			default:
				fail(err)
			}
		})
	}
	return d, nil
}

// stats are those of the sinks, by name.
func (d *delivery) stats() map[string]sink.Stats {
	all := make(map[string]sink.Stats, len(d.runners))
	for i, runner := range d.runners {
		all[d.names[i]] = runner.Stats()
	}
	return all
}

// queue is the outbox with its sinks, as metrics and status ask it.
type queue struct {
	*outbox.Log
	delivery *delivery
}

// SinkStats are those of the sinks, by name.
func (q queue) SinkStats() map[string]sink.Stats { return q.delivery.stats() }

// status tells of the outbox at the control socket.
func (q queue) status() *control.Outbox {
	stats, sinks := q.Stats(), q.SinkStats()
	s := &control.Outbox{Quota: stats.Quota, Sinks: []control.Sink{}}
	for _, tier := range stats.Tiers {
		s.Records += tier.Records
		s.Bytes += tier.Bytes
		s.Memory += tier.Memory
	}
	for _, r := range stats.Readers {
		of := sinks[r.Name]
		one := control.Sink{Name: r.Name, Pending: r.Pending, Backlog: of.Backlog, Delivered: of.Delivered, Errors: of.Errors}
		if !r.Oldest.IsZero() {
			one.Oldest = &r.Oldest
		}
		if !of.Last.IsZero() {
			last := of.Last.UTC()
			one.Last = &last
		}
		s.Sinks = append(s.Sinks, one)
	}
	for _, l := range q.Losses() {
		s.Lost += l.Count
	}
	return s
}

// drain waits until sinks have delivered what is in a closed outbox, for a while, and for none that fails or has only a backlog that
// waits for its pace.
func (d *delivery) drain(within time.Duration) {
	done := make(chan struct{})
	go func() { d.running.Wait(); close(done) }()
	ticker := time.NewTicker(drainPoll)
	defer ticker.Stop()
	for began := time.Now(); time.Since(began) < within && d.delivering(); {
		select {
		case <-done:
			return
		case <-ticker.C:
		}
	}
	d.cancel()
	<-done // each one is given up soon
}

// delivering reports whether a sink is at work, and neither fails nor waits for its pace.
func (d *delivery) delivering() bool {
	for i, runner := range d.runners {
		if !d.ended[i].Load() && runner.Health() == nil && !runner.Paced() {
			return true
		}
	}
	return false
}

// closeOutbox has sinks deliver what is left, and lets go of the outbox.
func (a *Agent) closeOutbox() error {
	if a.box == nil {
		return nil
	}
	err := a.box.Close()
	if a.delivery != nil {
		a.delivery.drain(drainWithin)
	}
	return errors.Join(err, a.box.Release())
}
