package repeat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"bittern/internal/event"
	"bittern/internal/rules"
)

// A place in the journal holds two copies of its window, each a magic number that says the format, a checksum of the
// rest, a count of how often the place was written, and the window. Each change overwrites the older copy.
const (
	copyBytes  = 512
	placeBytes = 2 * copyBytes // divides a page, so that a copy lies in one
	magic      = "BRW\x01"     // ends in the format
	copyHead   = len(magic) + 4
)

// Longest texts in a copy; the executable has what is left.
const (
	maxRuleID   = 64
	maxBoot     = 40
	maxInstance = 64
)

// What a copy can be wrong in.
var (
	errDamaged = errors.New("it is damaged")
	errFormat  = errors.New("it is of another version of Bittern")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendCopy appends a copy of a window, of one that is free if it is nil.
func appendCopy(dst []byte, win *Window, writes uint64) []byte {
	start := len(dst)
	dst = append(dst, magic...)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, writes)
	if win == nil {
		dst = append(dst, 0)
	} else {
		dst = appendWindow(append(dst, 1), win, start+copyBytes)
	}
	dst = append(dst, make([]byte, start+copyBytes-len(dst))...)
	binary.LittleEndian.PutUint32(dst[start+len(magic):], crc32.Checksum(dst[start+copyHead:], castagnoli))
	return dst
}

func appendWindow(dst []byte, win *Window, end int) []byte {
	le, limit := binary.LittleEndian, win.Rule.Limit
	dst = append(dst, win.Rule.Hash[:]...)
	dst = append(dst, byte(win.Source.Per), byte(win.Record.Class), boolByte(win.LastHeld))
	for _, n := range []uint32{uint32(win.Rule.Version), uint32(limit.Max), win.Source.PID, win.Source.User, win.Record.CPU} {
		dst = le.AppendUint32(dst, n)
	}
	for _, n := range []uint64{
		uint64(limit.Window), uint64(win.Source.Start), uint64(win.Opened), uint64(win.ToldAt), nanos(win.Began), nanos(win.First), nanos(win.Last),
		win.Written, win.Held, win.Announced, win.Told, win.Record.Sequence,
	} {
		dst = le.AppendUint64(dst, n)
	}
	dst = appendText(dst, win.Rule.ID, maxRuleID)
	dst = appendText(dst, win.Boot, maxBoot)
	dst = appendText(dst, win.Record.Instance, maxInstance)
	return appendText(dst, win.Executable, end-len(dst)-1)
}

// readCopy reads a copy. win is nil if the place is free; writes is 0 if it was never written.
func readCopy(data []byte) (win *Window, writes uint64, err error) {
	d := decoder{rest: data}
	switch head := string(d.take(len(magic))); {
	case head == "\x00\x00\x00\x00":
		return nil, 0, nil
	case head[:3] != magic[:3]:
		return nil, 0, errDamaged
	case head != magic:
		return nil, 0, fmt.Errorf("%w: format %d, want %d", errFormat, head[3], magic[3])
	}
	if d.uint32() != crc32.Checksum(d.rest, castagnoli) {
		return nil, 0, errDamaged
	}
	writes = d.uint64()
	if d.byte() == 0 {
		return nil, writes, nil
	}
	win = d.window()
	if d.short || win.Source.Per > rules.PerProcess {
		return nil, 0, errDamaged
	}
	return win, writes, nil
}

// decoder takes a copy apart.
type decoder struct {
	rest  []byte
	short bool
}

func (d *decoder) window() *Window {
	limit, rule := new(rules.Limit), new(rules.Rule)
	rule.Limit = limit
	win := &Window{Rule: rule}
	copy(rule.Hash[:], d.take(len(rule.Hash)))
	win.Source.Per, win.Record.Class, win.LastHeld = rules.Per(d.byte()), event.Class(d.byte()), d.byte() != 0
	limit.Per = win.Source.Per
	rule.Version, limit.Max = int(d.uint32()), int(d.uint32())
	win.Source.PID, win.Source.User, win.Record.CPU = d.uint32(), d.uint32(), d.uint32()
	limit.Window, win.Source.Start = time.Duration(d.uint64()), time.Duration(d.uint64())
	win.Opened, win.ToldAt = time.Duration(d.uint64()), time.Duration(d.uint64())
	win.Began, win.First, win.Last = moment(d.uint64()), moment(d.uint64()), moment(d.uint64())
	win.Written, win.Held, win.Announced, win.Told, win.Record.Sequence = d.uint64(), d.uint64(), d.uint64(), d.uint64(), d.uint64()
	rule.ID, win.Boot, win.Record.Instance, win.Executable = d.text(), d.text(), d.text(), d.text()
	return win
}

func (d *decoder) take(n int) []byte {
	if n > len(d.rest) {
		d.short = true
		return make([]byte, n)
	}
	taken := d.rest[:n]
	d.rest = d.rest[n:]
	return taken
}

func (d *decoder) byte() byte     { return d.take(1)[0] }
func (d *decoder) uint32() uint32 { return binary.LittleEndian.Uint32(d.take(4)) }
func (d *decoder) uint64() uint64 { return binary.LittleEndian.Uint64(d.take(8)) }
func (d *decoder) text() string   { return string(d.take(int(d.byte()))) }

// appendText appends the length of a text, and the text, cut to so many bytes.
func appendText(dst []byte, text string, most int) []byte {
	text = text[:min(len(text), most, 255)]
	return append(append(dst, byte(len(text))), text...)
}

func boolByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// nanos returns a time since 1970, 0 for none.
func nanos(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(t.UnixNano())
}

func moment(nanos uint64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(nanos))
}
