package agent

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"

	"bittern/internal/health"
)

// Record is something to show: a detection or a gap.
type Record interface {
	AppendJSON(dst []byte) []byte
	AppendText(dst []byte, colour bool) []byte
}

// A SinkError says that detections can't be written any more.
type SinkError struct{ Err error }

func (e *SinkError) Error() string {
	if errors.Is(e.Err, syscall.EPIPE) {
		return "writing detections: whoever read them is gone: broken pipe"
	}
	return fmt.Sprintf("writing detections: %v", e.Err)
}

func (e *SinkError) Unwrap() error { return e.Err }

// sink writes records, one a line. It is safe for use by several goroutines.
type sink struct {
	colour bool

	mu     sync.Mutex
	format Format
	out    io.Writer
	buf    []byte
	failed error // the first error; nothing is written after it

	working health.Work
	publish func(Record) // is told what has been written
}

func newSink(out io.Writer, format Format, colour bool) *sink {
	return &sink{out: out, format: format, colour: colour, publish: func(Record) {}}
}

// SetFormat has the next record written in that form.
func (s *sink) SetFormat(format Format) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.format = format
}

// Write writes a record as one line, by one call of the writer below, so that
// nothing gets in between. After an error it returns that error, always.
func (s *sink) Write(r Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	if s.format == Text {
		s.buf = r.AppendText(s.buf[:0], s.colour)
	} else {
		s.buf = r.AppendJSON(s.buf[:0])
	}
	s.buf = append(s.buf, '\n')
	s.working.Begin()
	defer s.working.End()
	if _, err := s.out.Write(s.buf); err != nil {
		s.failed = &SinkError{err}
		return s.failed
	}
	s.publish(r)
	return nil
}
