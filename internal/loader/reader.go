package loader

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// Match is an event that the kernel let pass, with the rules whose clauses did so.
// Rules are the exact versions of Event.Epoch; the matcher has the last word.
type Match struct {
	Event *event.Event
	Rules []*rules.Rule
	// Instance says whose programs made the record. With the event's class, CPU and Sequence it names
	// the record for good.
	Instance string
	// Inherited says that the record was in the ring of an agent that is gone, which may have
	// handed it on already.
	Inherited bool
}

// Reader hands out matches in the order in which the ring holds them.
type Reader struct {
	own       *Instance
	inherited []*Instance // oldest first; read before our own
	decoder   decoder
	idle      atomic.Bool
	caughtUp  chan struct{} // closed when all that agents before us have left was read
	told      bool          // it is
}

// CaughtUp is closed when all that the agents before us have left has been read, and given back.
func (r *Reader) CaughtUp() <-chan struct{} { return r.caughtUp }

// Release gives the last match back to the kernel: the caller is done with it, and no agent after us
// will read it again.
func (r *Reader) Release() {
	from := r.own
	if len(r.inherited) > 0 {
		from = r.inherited[0]
	}
	from.ring.release()
}

// Idle reports whether all that the kernel had handed over was read and given back, also that of the agents
// before us. Any goroutine may ask.
func (r *Reader) Idle() bool { return r.idle.Load() }

// Next waits for the next match. The record before it is given back to the kernel at the latest
// now, so the caller must be done with that one. After Close of the kernel it
// returns what the ring still holds, and then os.ErrClosed. A *DecodeError concerns
// one record; the next call goes on behind it.
func (r *Reader) Next() (Match, error) {
	for len(r.inherited) > 0 {
		old := r.inherited[0]
		old.ring.release()
		if raw := old.ring.read(); raw != nil {
			m, err := r.match(old, raw)
			m.Inherited = true
			return m, err
		}
		// No program writes to it any more.
		r.inherited = r.inherited[1:]
		old.drained.Store(true)
	}
	if !r.told {
		r.told = true
		close(r.caughtUp)
	}
	closed := false
	for {
		r.own.ring.release()
		r.own.versions.drained(r.own.ring.consumed())
		if raw := r.own.ring.read(); raw != nil {
			return r.match(r.own, raw)
		}
		if closed {
			return Match{}, os.ErrClosed
		}
		r.idle.Store(true)
		err := r.own.ring.wait()
		r.idle.Store(false)
		if errors.Is(err, os.ErrClosed) {
			closed = true // one more look
		} else if err != nil {
			return Match{}, err
		}
	}
}

func (r *Reader) match(from *Instance, raw []byte) (m Match, err error) {
	defer func() {
		if err != nil {
			from.undecodable()
		}
	}()
	if !from.records.readable() {
		return Match{}, &DecodeError{fmt.Sprintf("it has format %d of another build, want %d", from.records.format, ownRecords.format)}
	}
	ev, ids, spilled, err := r.decoder.decode(raw, from.records.fixed)
	if err != nil {
		return Match{}, err
	}
	var found []*rules.Rule
	var unknown int
	if spilled {
		found, unknown = from.versions.liveAt(ev.Epoch)
	} else {
		found, unknown = from.versions.resolve(ids)
	}
	if unknown > 0 {
		return Match{}, &DecodeError{"it names a rule version that is not known"}
	}
	return Match{Event: ev, Rules: found, Instance: from.ID}, nil
}

// bootTime returns the wall clock time at which the boot clock was zero, as the
// two clocks stand now.
func bootTime() time.Time { return time.Now().Add(-Uptime()) }

// Uptime returns the time since boot, as events have it.
func Uptime() time.Duration {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return 0 // since 2.6.39 there is no such case
	}
	return time.Duration(up.Nano())
}
