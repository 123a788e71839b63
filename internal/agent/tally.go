package agent

import (
	"sync"
	"sync/atomic"
	"time"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// tally counts, by rule, what becomes of what the kernel lets pass. The pipeline writes it, and others
// read it without waiting for it. A nil tally counts nothing.
type tally struct {
	byRule sync.Map // id -> *ruleTally
}

// ruleTally is since the agent started, over all versions of a rule.
type ruleTally struct {
	passed, hits atomic.Uint64
	repeats      atomic.Uint64 // hits that a limit held back
	last         atomic.Int64  // hit, in nanoseconds since 1970; 0 if there is none
	miss         atomic.Pointer[nearMiss]
}

// nearMiss is an event that the kernel let pass, and the exact matcher did not.
type nearMiss struct {
	event *event.Event
	rule  *rules.Rule // the version
}

func (t *tally) of(id string) *ruleTally {
	if found, ok := t.byRule.Load(id); ok {
		return found.(*ruleTally)
	}
	made, _ := t.byRule.LoadOrStore(id, new(ruleTally))
	return made.(*ruleTally)
}

func (t *tally) hit(id string, at time.Time) {
	if t == nil {
		return
	}
	r := t.of(id)
	r.passed.Add(1)
	r.hits.Add(1)
	r.last.Store(at.UnixNano())
}

// held is a hit that is counted, and not written.
func (t *tally) held(id string, at time.Time) {
	if t == nil {
		return
	}
	t.hit(id, at)
	t.of(id).repeats.Add(1)
}

func (t *tally) missed(r *rules.Rule, ev *event.Event) {
	if t == nil {
		return
	}
	of := t.of(r.ID)
	of.passed.Add(1)
	of.miss.Store(&nearMiss{ev, r})
}

// lastHit is nil if there is none.
func (r *ruleTally) lastHit() *time.Time {
	nanos := r.last.Load()
	if nanos == 0 {
		return nil
	}
	at := time.Unix(0, nanos).UTC()
	return &at
}
