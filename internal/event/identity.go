package event

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// NewID returns a UUID of version 7 (RFC 9562): 48 bits of Unix milliseconds, so that ids sort by
// time, and 74 bits of a hash of what the id is for. What is reported again gets the same bits
// again, see IDKey.
func NewID(now time.Time, of ...any) string {
	h := sha256.New()
	for _, part := range of {
		fmt.Fprintf(h, "%q,", fmt.Sprint(part)) // %q of a number would take it for a character
	}
	sum := h.Sum(nil)
	var id [16]byte
	copy(id[6:], sum)
	ms := uint64(now.UnixMilli())
	binary.BigEndian.PutUint16(id[0:], uint16(ms>>32))
	binary.BigEndian.PutUint32(id[2:], uint32(ms))
	id[6] = id[6]&0x0f | 0x70 // version
	id[8] = id[8]&0x3f | 0x80 // variant

	text := make([]byte, 0, 36)
	for i, part := range [][]byte{id[0:4], id[4:6], id[6:8], id[8:10], id[10:16]} {
		if i > 0 {
			text = append(text, '-')
		}
		text = hex.AppendEncode(text, part)
	}
	return string(text)
}

// IDKey returns the part of an id that does not depend on the time at which it was made.
func IDKey(id string) string {
	if len(id) < 14 {
		return id
	}
	return id[14:]
}

// EntityID names a process for good, while pids are reused: the same boot, pid
// and start time always give the same id, on any host and in any release.
// startRel is the time from boot to the process's start.
func EntityID(bootID string, pid uint32, startRel time.Duration) string {
	key := make([]byte, 0, 64)
	key = append(key, bootID...)
	key = append(key, 0)
	key = binary.BigEndian.AppendUint32(key, pid)
	key = binary.BigEndian.AppendUint64(key, uint64(startRel))
	sum := sha256.Sum256(key)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}
