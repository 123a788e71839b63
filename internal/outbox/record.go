package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// Kind says what a record is.
type Kind uint8

// The kinds. Their numbers are in files.
const (
	Detection   Kind = iota + 1
	Repeats          // how many detections a limit held back
	Gap              // how many records were lost
	RuleReport       // what became of a version of a rule
	StateChange      // of a rule
	kinds
)

var kindNames = [kinds]string{Detection: "detection", Repeats: "repeats", Gap: "gap", RuleReport: "rule_report", StateChange: "state_change"}

func (k Kind) String() string {
	if k == 0 || k >= kinds {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kindNames[k]
}

// Kinds is a set of kinds.
type Kinds uint32

// KindsOf returns the set of some kinds.
func KindsOf(some ...Kind) (set Kinds) {
	for _, k := range some {
		set |= 1 << k
	}
	return set
}

// AllKinds are those that there are and that may come.
const AllKinds = ^Kinds(0)

// Has reports whether a kind is in the set.
func (s Kinds) Has(k Kind) bool { return k < 32 && s&(1<<k) != 0 }

// Tier is how much a record matters. When there is no room, the records of the last tier go first.
type Tier uint8

// The tiers. Their numbers are in files.
const (
	System Tier = iota // what is told about detecting itself: losses, rules, states
	Critical
	High
	Medium
	Low
	tiers
)

var tierNames = [tiers]string{"system", "critical", "high", "medium", "low"}

func (t Tier) String() string {
	if t >= tiers {
		return fmt.Sprintf("tier %d", uint8(t))
	}
	return tierNames[t]
}

// Tiers returns all tiers, the one that is kept longest first.
func Tiers() []Tier { return []Tier{System, Critical, High, Medium, Low} }

// ID names what a record tells for good: a UUID (RFC 9562) in its binary form.
type ID [16]byte

// Record is what goes through the outbox. It is not changed by anybody once it has been appended.
type Record struct {
	Kind Kind
	Tier Tier
	ID   ID
	Time time.Time // of what happened
	// Rule is the id of the rule that it is about, at most 255 bytes; "" if it is about none. The ledger counts by it.
	Rule string
	// Group is the same for detections that differ in little but their time. When there is no room they may be put together:
	// the first one stays, with their Count. 0 is to be put together with nothing.
	Group uint64
	JSON  []byte // the document, printable
	Text  []byte // the same as a line for people, with colours

	// Seq is its number in the outbox, from 1 on, given by Append: those of later records are higher.
	Seq uint64
	// Count is how many records it stands for: 1 unless it was put together, and Last is when the last one of them happened.
	Count uint64
	Last  time.Time

	index uint64 // its number in its tier, from 1 on
}

// A record lies in a segment as a header of this many bytes, the rule's id, the text and the document, filled up to
// a multiple of recordAlign. All numbers are little-endian.
//
//	 0  magic       4   "BTR" and the format
//	 4  length      4   of what follows the header, unfilled
//	 8  sequence    8
//	16  index       8
//	24  id         16
//	40  time        8   ns since 1970, of the first one
//	48  last        8   of the last one
//	56  count       8
//	64  group       8
//	72  kind        1
//	73  rule        1   length of the rule's id
//	74  zero        2
//	76  text        4   length of the text
//	80  body CRC    4   CRC32C of what follows the header
//	84  header CRC  4   CRC32C of the header before it
const (
	recordHead  = 88
	recordAlign = 8
	recordMagic = "BTR\x01"
	// maxBody bounds what is believed of a length, and what Append takes.
	maxBody = 8 << 20
)

// ErrTooLarge says that a record is larger than the outbox takes.
var ErrTooLarge = errors.New("record is too large")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (r *Record) check() error {
	switch {
	case r.Kind == 0 || r.Kind >= kinds:
		return fmt.Errorf("appending to the outbox: no such %s", r.Kind)
	case r.Tier >= tiers:
		return fmt.Errorf("appending to the outbox: no such %s", r.Tier)
	case len(r.Rule) > 255:
		return fmt.Errorf("appending to the outbox: rule id of %d bytes: %w", len(r.Rule), ErrTooLarge)
	case r.body() > maxBody:
		return fmt.Errorf("appending to the outbox: %d bytes, at most %d are possible: %w", r.body(), maxBody, ErrTooLarge)
	}
	return nil
}

func (r *Record) body() int { return len(r.Rule) + len(r.Text) + len(r.JSON) }

// size is how many bytes it takes in a segment.
func (r *Record) size() int { return aligned(recordHead + r.body()) }

func aligned(n int) int { return (n + recordAlign - 1) &^ (recordAlign - 1) }

// appendRecord appends a record as it lies in a segment.
func appendRecord(dst []byte, r *Record) []byte {
	le, start := binary.LittleEndian, len(dst)
	dst = append(dst, recordMagic...)
	dst = le.AppendUint32(dst, uint32(r.body()))
	dst = le.AppendUint64(dst, r.Seq)
	dst = le.AppendUint64(dst, r.index)
	dst = append(dst, r.ID[:]...)
	dst = le.AppendUint64(dst, uint64(r.Time.UnixNano()))
	dst = le.AppendUint64(dst, uint64(r.Last.UnixNano()))
	dst = le.AppendUint64(dst, r.Count)
	dst = le.AppendUint64(dst, r.Group)
	dst = append(dst, byte(r.Kind), byte(len(r.Rule)), 0, 0)
	dst = le.AppendUint32(dst, uint32(len(r.Text)))
	sums := len(dst)
	dst = append(dst, make([]byte, recordHead-(sums-start))...)
	dst = append(dst, r.Rule...)
	dst = append(dst, r.Text...)
	dst = append(dst, r.JSON...)
	le.PutUint32(dst[sums:], crc32.Checksum(dst[start+recordHead:], castagnoli))
	le.PutUint32(dst[sums+4:], crc32.Checksum(dst[start:sums+4], castagnoli))
	return append(dst, make([]byte, start+r.size()-len(dst))...)
}

// head is the header of a record.
type head struct {
	Record
	length, rule, text int
	sum                uint32
}

// size is how many bytes the record takes.
func (h *head) size() int { return aligned(recordHead + h.length) }

// parseHead reads the header at the start of data; false if there is none.
func parseHead(data []byte, tier Tier) (h head, ok bool) {
	le := binary.LittleEndian
	if len(data) < recordHead || string(data[:4]) != recordMagic || le.Uint32(data[84:]) != crc32.Checksum(data[:84], castagnoli) {
		return head{}, false
	}
	h.length, h.rule, h.text, h.sum = int(le.Uint32(data[4:])), int(data[73]), int(le.Uint32(data[76:])), le.Uint32(data[80:])
	h.Seq, h.index, h.Count, h.Group = le.Uint64(data[8:]), le.Uint64(data[16:]), le.Uint64(data[56:]), le.Uint64(data[64:])
	copy(h.ID[:], data[24:])
	h.Time, h.Last = time.Unix(0, int64(le.Uint64(data[40:]))).UTC(), time.Unix(0, int64(le.Uint64(data[48:]))).UTC()
	h.Kind, h.Tier = Kind(data[72]), tier
	return h, h.length <= maxBody && h.rule+h.text <= h.length && h.Count > 0 && h.index > 0 && h.Seq > 0
}

// record returns the record, whose body data begins with; false if the body is damaged. The record shares data.
func (h *head) record(body []byte) (Record, bool) {
	if len(body) < h.length || crc32.Checksum(body[:h.length], castagnoli) != h.sum {
		return Record{}, false
	}
	r := h.Record
	r.Rule = string(body[:h.rule])
	r.Text = body[h.rule : h.rule+h.text]
	r.JSON = body[h.rule+h.text : h.length]
	return r, true
}

// highest is the highest sequence in data, also of records of which only the header is good: those of later ones must be higher.
func highest(data []byte, tier Tier) (seq uint64) {
	for at := 0; at+recordHead <= len(data); at += recordAlign {
		if h, ok := parseHead(data[at:], tier); ok {
			seq = max(seq, h.Seq)
			at += min(h.size(), len(data)-at) - recordAlign
		}
	}
	return seq
}

// scan calls f for each record that can be read, with its offset in data, until f returns false. What is damaged is skipped:
// a record whose header is good by itself, else all up to the next header that is. It returns the offset behind the last good record.
func scan(data []byte, tier Tier, f func(r Record, at int) bool) (end int) {
	for at := 0; at+recordHead <= len(data); {
		h, ok := parseHead(data[at:], tier)
		if !ok || at+h.size() > len(data) {
			at += recordAlign
			continue
		}
		r, ok := h.record(data[at+recordHead:])
		if !ok {
			at += h.size()
			continue
		}
		start := at
		at += h.size()
		end = at
		if !f(r, start) {
			return end
		}
	}
	return end
}
