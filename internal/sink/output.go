package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"

	"bittern/internal/outbox"
)

// Format is the form of a line.
type Format int32

// The formats.
const (
	JSON Format = iota
	Text
)

func (f Format) String() string {
	switch f {
	case Text:
		return "text"
	case JSON:
		return "json"
	}
	return fmt.Sprintf("format %d", int32(f))
}

// OutputConfig is how records are written to an output.
type OutputConfig struct {
	Format Format
	Colour bool // of text; for a terminal only
}

// Validate says what is wrong.
func (c OutputConfig) Validate() error {
	if c.Format != Text && c.Format != JSON {
		return fmt.Errorf("writing records: no such %s", c.Format)
	}
	return nil
}

// Output writes records to a writer that somebody else owns, standard output above all, one a line.
//
// If that is a regular file, and the format JSON, no record is written twice, also if the agent is killed; lines of text don't
// name their record, so that the last ones can be there twice. Nothing is synced: what the machine lost with its power,
// the file has lost. A File has more to offer.
type Output struct {
	out    io.Writer
	colour bool
	format atomic.Int32

	place place
	buf   []byte
	ends  []lineEnd
	torn  []byte // the rest of a line that was written in part
}

// lineEnd is where the line of a record ends in a buffer, behind its newline.
type lineEnd struct {
	at     int
	record *outbox.Record
}

// NewOutput looks at what is there already, if the writer is a file, and ends a line that was torn there.
func NewOutput(out io.Writer, cfg OutputConfig) (*Output, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	before, err := writtenBefore(out)
	if err != nil {
		return nil, err
	}
	o := &Output{out: out, colour: cfg.Colour, place: place{before: before}}
	o.format.Store(int32(cfg.Format))
	return o, nil
}

// Format is the form that lines have. Anybody may call it.
func (o *Output) Format() Format { return Format(o.format.Load()) }

// SetFormat has later batches written in that form. Anybody may call it at any time.
func (o *Output) SetFormat(f Format) { o.format.Store(int32(f)) }

// writeBytes is how much is written at once, if a line is not longer.
const writeBytes = 64 << 10

// Deliver writes the batch, whole lines at a time. A *GoneError says that nobody will read them any more.
func (o *Output) Deliver(_ context.Context, batch []outbox.Record) error {
	if len(o.torn) > 0 {
		n, err := o.out.Write(o.torn)
		o.torn = o.torn[n:]
		if err != nil {
			return outputError(err)
		}
	}
	format := Format(o.format.Load())
	rest := o.place.rest(batch)
	for i := range rest {
		o.add(&rest[i], format)
		if len(o.buf) >= writeBytes || i == len(rest)-1 {
			if err := o.flush(batch); err != nil {
				return err
			}
		}
	}
	o.place.done()
	return nil
}

func (o *Output) add(r *outbox.Record, format Format) {
	if format == JSON {
		o.buf = append(o.buf, document(r)...)
	} else {
		o.buf = append(o.buf, Line(*r, o.colour)...)
	}
	o.buf = append(o.buf, '\n')
	o.ends = append(o.ends, lineEnd{len(o.buf), r})
}

// flush writes the buffer, and remembers what could not be written of a line that was begun.
func (o *Output) flush(batch []outbox.Record) error {
	n, err := o.out.Write(o.buf)
	if err == nil && n < len(o.buf) {
		err = io.ErrShortWrite
	}
	begin := 0
	for _, end := range o.ends {
		if n <= begin {
			break
		}
		o.place.reached(batch, end.record)
		if n < end.at {
			o.torn = append([]byte(nil), o.buf[n:end.at]...)
		}
		begin = end.at
	}
	clear(o.ends)
	o.buf, o.ends = trim(o.buf), o.ends[:0]
	if err != nil {
		return outputError(err)
	}
	return nil
}

// trim empties a buffer, and gives it back if one huge record has made it huge.
func trim(buf []byte) []byte {
	if cap(buf) > 8*writeBytes {
		return nil
	}
	return buf[:0]
}

func outputError(err error) error {
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.EBADF) || errors.Is(err, os.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return &GoneError{err}
	}
	return fmt.Errorf("writing records: %w", err)
}

// Close does nothing: the writer is somebody else's.
func (o *Output) Close() error { return nil }
