package agent

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/control"
	"bittern/internal/db"
	"bittern/internal/event"
	"bittern/internal/rules"
)

// fleetHost is the host as the link tells it. One goroutine uses it.
type fleetHost struct {
	agent *Agent
	up    *running
	host  *event.Host
	since map[string]exceptionSince // of the last report, by rule
	used  time.Duration             // processor time, at the last heartbeat
	at    time.Time
}

// machineID tells machines apart, and says nothing else: what identifies a machine is not to be given away, see machine-id(5).
func machineID(id string) string {
	if id == "" {
		return ""
	}
	sum := hmac.New(sha256.New, []byte(id))
	_, _ = sum.Write([]byte("bittern")) // a hash takes everything
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// Inventory is what changes rarely.
func (h *fleetHost) Inventory() db.Inventory {
	i := db.Inventory{
		Hostname: h.host.Hostname, Kernel: h.host.OS.Kernel, Arch: h.host.Architecture, Distro: h.host.OS.Full,
		AgentVersion: Version(), Hooks: map[string]string{}, MachineID: machineID(h.host.ID), BootID: h.host.BootID,
	}
	for _, hook := range h.up.kernel.Caps(false).Hooks {
		i.Hooks[hook.Class.String()] = hook.Name
	}
	return i
}

// Heartbeat is how the host is.
func (h *fleetHost) Heartbeat() db.Heartbeat {
	var beat db.Heartbeat
	s := h.up.queue.Stats()
	for _, tier := range s.Tiers {
		beat.OutboxRecords += tier.Records
		beat.OutboxBytes += tier.Bytes + tier.Memory
	}
	for _, r := range s.Readers {
		if r.Name == postgres && !r.Oldest.IsZero() {
			beat.OldestUnsent = &r.Oldest
		}
	}
	for _, l := range h.up.queue.Losses() {
		beat.LostTotal += l.Count
	}
	beat.CPU, beat.RSS = h.cpu(), rss()
	return beat
}

// cpu is the share of a core since the last time.
func (h *fleetHost) cpu() float64 {
	var use unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &use); err != nil {
		return 0 // it can't fail for RUSAGE_SELF
	}
	used, now := time.Duration(use.Utime.Nano()+use.Stime.Nano()), time.Now()
	share := 0.0
	if !h.at.IsZero() && now.After(h.at) {
		share = float64(used-h.used) / float64(now.Sub(h.at))
	}
	h.used, h.at = used, now
	return share
}

// rss is the resident memory, in bytes; 0 if that can't be told.
func rss() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// exceptionSince is an exception, and since when it is one.
type exceptionSince struct {
	is    db.Exception // without the time
	since time.Time
}

// Report is which rules run: the set of the newest good versions, and how it is with those that don't simply run.
func (h *fleetHost) Report(ctx context.Context) (r db.Report, err error) {
	views, err := h.up.overview(ctx)
	if err != nil {
		return r, err
	}
	held := h.agent.fleet.states.Held()
	r.Rules = make(map[string]string, len(views))
	now, since := time.Now().UTC(), map[string]exceptionSince{}
	for _, id := range slices.Sorted(maps.Keys(views)) {
		if rules.CheckID(id) != nil {
			continue // of a file that is wrong
		}
		v := views[id]
		if newest := v.wanted(); newest != nil {
			r.Rules[id] = newest.Hash.String()
		}
		e, is := v.exception(id, held[id])
		if !is {
			continue
		}
		e.Kernel = h.host.OS.Kernel
		was, known := h.since[id]
		if !known || was.is != e {
			was = exceptionSince{e, now}
		}
		since[id] = was
		e.Since = was.since
		r.Exceptions = append(r.Exceptions, e)
	}
	h.since = since
	r.Ruleset = db.RulesetOf(r.Rules)
	return r, nil
}

// wanted is the version that is to run.
func (v view) wanted() *rules.Rule {
	if v.newest != nil {
		return v.newest
	}
	return v.live
}

// mostError is how much of an error is told, in bytes.
const mostError = 2048

// exception is how it is with a rule that does not simply run. held says why a state of the fleet does not count.
func (v view) exception(id, held string) (e db.Exception, is bool) {
	e = db.Exception{RuleID: id, Status: string(v.is), Error: v.problem}
	if v.live != nil {
		e.ContentHash = v.live.Hash.String()
	}
	if v.is == control.Live && v.state.State == rules.Clipped {
		e.Status = rules.Clipped.String()
	}
	if held != "" {
		if e.Error != "" {
			e.Error += "; "
		}
		e.Error += "a state of the fleet does not count: " + held
	}
	// It may quote a file that is wrong. The database's texts have no zero bytes.
	e.Error = strings.ToValidUTF8(strings.ReplaceAll(e.Error, "\x00", ""), "")
	if len(e.Error) > mostError {
		e.Error = strings.ToValidUTF8(e.Error[:mostError], "")
	}
	simply := v.live != nil && e.ContentHash == v.wanted().Hash.String() && e.Status == string(control.Live) && e.Error == ""
	return e, !simply
}
