// Package sink delivers records of the outbox: to standard output, a file, syslog, journald. Each sink has a reader and a
// runner of its own, so that one which is slow or fails holds back no other one.
//
// A record is delivered at least once. Where what was written can be looked at, in files of JSON lines, it is there
// exactly once, also if the agent is killed at any point.
package sink

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"bittern/internal/outbox"
)

// Source is a reader of the outbox with its own place in it.
type Source interface {
	// Name is the sink's name; its place is kept under it.
	Name() string
	// Read waits for at least one record. A batch has at most 256 KiB, or one record, and is valid until the next Read.
	// The error wraps os.ErrClosed if nothing is left and nothing more will come, and is ctx.Err() if ctx is done.
	Read(ctx context.Context) ([]outbox.Record, error)
	// Ack says that the last batch has been delivered.
	Ack() error
}

// Sink is where records go. One goroutine at a time uses it, but for methods that say otherwise.
type Sink interface {
	// Deliver returns nil once the whole batch is where it belongs. After an error it is given the same batch again, and
	// goes on behind what it has delivered of it. A *GoneError says that it never will.
	Deliver(ctx context.Context, batch []outbox.Record) error
	Close() error
}

// A GoneError says that whoever took the records is gone for good.
type GoneError struct{ Err error }

func (e *GoneError) Error() string {
	if errors.Is(e.Err, syscall.EPIPE) {
		return "writing records: whoever read them is gone: broken pipe"
	}
	return fmt.Sprintf("writing records: %v", e.Err)
}

func (e *GoneError) Unwrap() error { return e.Err }

// place is how far a sink has come.
type place struct {
	before      known  // what an earlier agent has written
	first, last uint64 // numbers of the first record of the batch, and of the last one in it that is delivered; 0: none is
}

// rest is what remains of a batch, which may be the one that failed, to be delivered.
func (p *place) rest(batch []outbox.Record) []outbox.Record {
	rest := batch
	if len(batch) > 0 && p.last != 0 && batch[0].Seq == p.first {
		for i := range batch {
			if batch[i].Seq == p.last {
				rest = batch[i+1:]
			}
		}
	}
	if n := p.before.skip(rest); n > 0 {
		p.reached(batch, &rest[n-1])
		rest = rest[n:]
	}
	return rest
}

// reached says that the records of the batch up to that one have been delivered.
func (p *place) reached(batch []outbox.Record, last *outbox.Record) {
	p.first, p.last = batch[0].Seq, last.Seq
}

// done says that all have been.
func (p *place) done() { p.first, p.last = 0, 0 }
