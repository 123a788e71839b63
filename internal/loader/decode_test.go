package loader

import (
	"errors"
	"testing"
	"time"

	"bittern/internal/event"
)

// FuzzDecode gives the decoder any bytes: it answers with an event or a
// *DecodeError, and never reads outside of the record.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 16))
	rec := make([]byte, 200)
	rec[0] = byte(execEventClassEVENT_PROCESS_EXEC)
	f.Add(rec)
	f.Fuzz(func(t *testing.T, raw []byte) {
		d := decoder{bootTime: func() time.Time { return time.Unix(0, 0) }}
		ev, ids, _, err := d.decode(raw, recordBytes)
		var decodeErr *DecodeError
		switch {
		case errors.As(err, &decodeErr):
		case err != nil:
			t.Fatalf("%v is not a *DecodeError", err)
		case ev.Class != event.ProcessExec:
			t.Fatalf("class %v", ev.Class)
		case len(ids)*8 > len(raw):
			t.Fatalf("%d ids in %d bytes", len(ids), len(raw))
		}
	})
}

func TestDecodeArguments(t *testing.T) {
	for _, c := range []struct {
		block       string
		count       uint32
		truncated   bool
		args        int
		commandLine string
	}{
		{"", 0, false, 0, ""},
		{"\x00", 1, false, 1, ""},
		{"a\x00", 1, false, 1, "a"},
		{"a\x00b c\x00\x00", 3, false, 3, "a b c "},
		{"a\x00bb", 9, true, 2, "a bb"},
		{"", 3, true, 0, ""},
	} {
		p := event.Process{ArgsCount: c.count, CommandLineTruncated: c.truncated}
		setArgs(&p, c.block)
		if len(p.Args) != c.args || p.CommandLine != c.commandLine {
			t.Errorf("%q: %d arguments, command line %q; want %d, %q", c.block, len(p.Args), p.CommandLine, c.args, c.commandLine)
		}
	}
}
