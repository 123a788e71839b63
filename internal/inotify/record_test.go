package inotify_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify"
)

// encode writes records as the kernel does: names end with NUL and are padded
// to whole headers.
func encode(events ...inotify.Event) []byte {
	var buf []byte
	for _, e := range events {
		size := 0
		if e.Name != "" {
			size = (len(e.Name)/unix.SizeofInotifyEvent + 1) * unix.SizeofInotifyEvent
		}
		buf = binary.NativeEndian.AppendUint32(buf, uint32(e.Watch))
		buf = binary.NativeEndian.AppendUint32(buf, e.Mask)
		buf = binary.NativeEndian.AppendUint32(buf, e.Cookie)
		buf = binary.NativeEndian.AppendUint32(buf, uint32(size))
		buf = append(buf, e.Name...)
		buf = append(buf, make([]byte, size-len(e.Name))...)
	}
	return buf
}

func TestParseReturnsRecordsInOrder(t *testing.T) {
	want := []inotify.Event{
		{Watch: 1, Mask: unix.IN_CREATE, Name: "a.yml"},
		{Watch: -1, Mask: unix.IN_Q_OVERFLOW},
		{Watch: 2, Mask: unix.IN_MOVED_TO, Cookie: 77, Name: strings.Repeat("n", 255)},
		{Watch: 2, Mask: unix.IN_DELETE_SELF},
		{Watch: 1, Mask: unix.IN_CREATE, Name: "fifteen-letters"},
		{Watch: 1, Mask: unix.IN_CREATE, Name: "sixteen--letters"},
	}
	got, err := inotify.Parse(encode(want...))
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestParseRefusesMalformedRecords(t *testing.T) {
	whole := encode(inotify.Event{Watch: 1, Mask: unix.IN_CREATE, Name: "a.yml"})
	unended := slices.Concat(whole[:16], []byte("sixteen--letters"))
	tooLong := slices.Clone(whole)
	binary.NativeEndian.PutUint32(tooLong[12:], 0xffffffff)
	for name, bad := range map[string][]byte{
		"header cut": whole[:15], "name cut": whole[:31], "name without NUL": unended, "name longer than memory": tooLong,
	} {
		got, err := inotify.Parse(slices.Concat(whole, bad))
		if !errors.Is(err, inotify.ErrRecord) {
			t.Errorf("%s: error %v, want ErrRecord", name, err)
		} else if !strings.Contains(err.Error(), "at byte 32") {
			t.Errorf("%s: %q does not say where", name, err)
		}
		if len(got) != 1 || got[0].Name != "a.yml" {
			t.Errorf("%s: the record before is %+v", name, got)
		}
	}
	if got, err := inotify.Parse(nil); got != nil || err != nil {
		t.Errorf("nothing parses to %v, %v", got, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	f.Add(encode(inotify.Event{Watch: 1, Mask: unix.IN_CREATE, Name: "a.yml"}))
	f.Add(encode(inotify.Event{Watch: -1, Mask: unix.IN_Q_OVERFLOW}, inotify.Event{Watch: 3, Mask: unix.IN_IGNORED})[:31])
	f.Fuzz(func(t *testing.T, data []byte) {
		events, err := inotify.Parse(data)
		if err != nil && !errors.Is(err, inotify.ErrRecord) {
			t.Fatalf("error %v is not ErrRecord", err)
		}
		if err == nil && len(data) > 0 && len(events) == 0 {
			t.Fatalf("%d bytes vanished", len(data))
		}
		if len(events)*unix.SizeofInotifyEvent > len(data) {
			t.Fatalf("%d records from %d bytes", len(events), len(data))
		}
		again, err := inotify.Parse(encode(events...))
		if err != nil || !slices.Equal(again, events) {
			t.Fatalf("round trip: %v, %+v; want %+v", err, again, events)
		}
	})
}
