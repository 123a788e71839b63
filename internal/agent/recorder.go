package agent

import (
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"sync"

	"bittern/internal/control"
	"bittern/internal/event"
	"bittern/internal/health"
	"bittern/internal/outbox"
)

// Record is something to tell: a detection, repeats, a gap, or a change of a rule.
type Record interface {
	AppendJSON(dst []byte) []byte
	AppendText(dst []byte, colour bool) []byte
}

// recordWriter takes what is to be told.
type recordWriter interface {
	Write(Record) error
}

// recent are the last records that agents before us have kept. Killed between keeping a record and giving it back to the
// kernel, one has left us a record of the kernel that is kept already.
type recent interface {
	// Has knows an id whatever time it was made at.
	Has(id outbox.ID) bool
}

// has reports whether a record was kept.
func has(before recent, id string) bool {
	if before == nil {
		return false
	}
	parsed, err := outbox.ParseID(id)
	return err == nil && before.Has(parsed)
}

// journal is the part of an outbox.Log that records are written to.
type journal interface {
	Append(records ...outbox.Record) error
}

// recorder puts records into the outbox, and then tells those who listen. It is safe for use by several goroutines.
type recorder struct {
	box     journal
	working health.Work
	publish func(Record)

	mu         sync.Mutex // so that who listens is told in the order of the outbox
	json, text []byte
}

// Write returns when the record outlives the agent.
func (w *recorder) Write(r Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	record, err := boxed(r)
	if err != nil {
		return err
	}
	w.json, w.text = r.AppendJSON(w.json[:0]), r.AppendText(w.text[:0], true)
	record.JSON, record.Text = w.json, w.text
	w.working.Begin()
	defer w.working.End()
	if err := w.box.Append(record); err != nil {
		return fmt.Errorf("keeping a record: %w", err)
	}
	w.publish(r)
	return nil
}

// boxed says what the outbox is to know of a record.
func boxed(r Record) (box outbox.Record, err error) {
	var id string
	switch r := r.(type) {
	case *event.Detection:
		box = outbox.Record{Kind: outbox.Detection, Tier: tierOf(r.Rule.Severity), Time: r.Event.Time, Rule: r.Rule.ID, Group: groupOf(r)}
		id = r.ID
	case *event.Repeats:
		box = outbox.Record{Kind: outbox.Repeats, Tier: tierOf(r.Rule.Severity), Time: r.Last, Rule: r.Rule.ID}
		id = r.ID
	case *event.Gap:
		box = outbox.Record{Kind: outbox.Gap, Tier: outbox.System, Time: r.Last}
		id = r.ID
	case *event.Change:
		box = outbox.Record{Kind: outbox.RuleReport, Tier: outbox.System, Time: r.Time, Rule: r.RuleID}
		if r.State != nil {
			box.Kind = outbox.StateChange
		}
		id = r.ID
	}
	box.Rule = box.Rule[:min(len(box.Rule), 255)] // of a file that is wrong it can be anything
	box.ID, err = outbox.ParseID(id)
	return box, err
}

// tierOf is how long a rule's records are kept when there is no room.
func tierOf(severity string) outbox.Tier {
	switch severity {
	case "critical":
		return outbox.Critical
	case "high":
		return outbox.High
	case "low", "informational":
		return outbox.Low
	}
	return outbox.Medium
}

// groupOf is the same for detections that differ in process ids and times only, from one start of the agent to the next as well.
func groupOf(d *event.Detection) uint64 {
	g := group{fnv.New64a()}
	e := d.Event
	g.numbers(uint64(e.Class), uint64(e.User.ID), uint64(e.User.EffectiveID))
	g.texts(d.Rule.Hash, e.Process.Executable, e.Process.CommandLine, e.Process.WorkingDirectory, e.Parent.Executable, e.ContainerID, e.Operation)
	switch e.Class {
	case event.ProcessExit:
		g.numbers(uint64(e.Exit.Code), uint64(e.Exit.Signal))
	case event.NetworkConnect:
		g.texts(e.Network.Destination.String(), e.Network.Transport)
		g.numbers(uint64(e.Network.Port))
	case event.NetworkListen: // peers have a port of their own each time
		g.texts(e.Network.Destination.String(), e.Network.Source.String())
		g.numbers(uint64(e.Network.SourcePort))
	default:
		privilege := e.Privilege
		privilege.TargetPID = 0
		g.texts(fmt.Sprint(e.File, privilege, e.Kernel))
	}
	return max(g.Sum64(), 1)
}

type group struct{ hash.Hash64 }

func (g group) texts(all ...string) {
	for _, s := range all {
		g.numbers(uint64(len(s)))
		_, _ = g.Write([]byte(s)) // it never fails
	}
}

func (g group) numbers(all ...uint64) {
	for _, n := range all {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], n)
		_, _ = g.Write(b[:])
	}
}

// changed is a change as a record.
func changed(c control.Change, host *event.Host) *event.Change {
	r := &event.Change{
		ID:   event.NewID(c.Time, "change", host.BootID, c.Topic, c.Time.UnixNano(), c.Result, c.Hash, c.Epoch),
		Time: c.Time.Round(0), RuleID: c.RuleID, Version: c.Version, Hash: c.Hash, Result: string(c.Result), Epoch: c.Epoch, Error: c.Error, By: c.By, Host: host,
	}
	if c.State != nil {
		r.State = &event.State{State: c.State.State, ConfidenceMax: c.State.ConfidenceMax, Reason: c.State.Reason, Scope: c.State.Scope}
		if c.State.ExpiresAt != nil {
			r.State.ExpiresAt = *c.State.ExpiresAt
		}
	}
	return r
}
