package event

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// NewID returns a fresh UUID of version 7 (RFC 9562): 48 bits of Unix
// milliseconds, so that ids sort by time, and 74 random bits.
func NewID(now time.Time) string {
	var id [16]byte
	// It never fails: it ends the program if the kernel gives no random bytes.
	_, _ = rand.Read(id[6:])
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
