package loader

import (
	"errors"
	"os"
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
}

// Reader hands out matches in the order in which the ring holds them.
type Reader struct {
	ring     *ring
	versions *versions
	decoder  decoder
}

// Next waits for the next match. The record before it is given back to the kernel
// only now, so the caller must be done with that one. After Close of the kernel it
// returns what the ring still holds, and then os.ErrClosed. A *DecodeError concerns
// one record; the next call goes on behind it.
func (r *Reader) Next() (Match, error) {
	closed := false
	for {
		r.ring.release()
		r.versions.drained(r.ring.consumed())
		if raw := r.ring.read(); raw != nil {
			return r.match(raw)
		}
		if closed {
			return Match{}, os.ErrClosed
		}
		if err := r.ring.wait(); errors.Is(err, os.ErrClosed) {
			closed = true // one more look
		} else if err != nil {
			return Match{}, err
		}
	}
}

func (r *Reader) match(raw []byte) (Match, error) {
	ev, ids, spilled, err := r.decoder.decode(raw)
	if err != nil {
		return Match{}, err
	}
	if spilled {
		return Match{Event: ev, Rules: r.versions.liveAt(ev.Epoch)}, nil
	}
	found, unknown := r.versions.resolve(ids)
	if unknown > 0 {
		return Match{}, &DecodeError{"it names a rule version that is not known"}
	}
	return Match{Event: ev, Rules: found}, nil
}

// bootTime returns the wall clock time at which the boot clock was zero, as the
// two clocks stand now.
func bootTime() time.Time {
	var up unix.Timespec
	now := time.Now()
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return now // since 2.6.39 there is no such case
	}
	return now.Add(-time.Duration(up.Nano()))
}
