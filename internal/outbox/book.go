package outbox

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// book is what the ledger holds.
type book struct {
	// ID names the outbox for good: 32 hexadecimal digits.
	ID     string  `json:"id,omitempty"`
	Losses []*Loss `json:"losses"`
	// Given are ids of segments that were given up, and counted. If one of them is still there, it is to be removed.
	Given []string `json:"given,omitempty"`
	// Missing is how many records of a segment can't be read, and were counted, by its id.
	Missing map[string]uint64 `json:"missing,omitempty"`
	// Noted is the id of the last loss of each kind that was counted from outside.
	Noted map[string]string `json:"noted,omitempty"`
}

// The ledger's file has two copies of the book, each of ledgerCopy bytes. The older one is overwritten, so that there is always a
// good one, and there is always room, on a full disk too:
//
//	 0  magic       4   "BTL" and the format
//	 4  length      4   of the document
//	 8  writes      8   how often the book was written
//	16  CRC         4   CRC32C of what comes before, and of the document
//	20  document        JSON
const (
	ledgerFile  = "ledger"
	ledgerMagic = "BTL\x01"
	ledgerHead  = 20
	ledgerCopy  = 512 << 10
	// mostGiven bounds how many segments are remembered. One that can't be removed is tried again once, at the next start.
	mostGiven = 256
)

// readBook returns the newer good copy. The file may be another process's.
func readBook(f file) (b book, writes uint64, err error) {
	part := make([]byte, ledgerCopy)
	for at := range int64(2) {
		n, readErr := f.ReadAt(part[:cap(part)], at*ledgerCopy)
		if readErr != nil && !errors.Is(readErr, io.EOF) {
			err = errors.Join(err, readErr)
			continue
		}
		if part = part[:n]; n < ledgerHead {
			continue
		}
		le := binary.LittleEndian
		length, count := int(le.Uint32(part[4:])), le.Uint64(part[8:])
		if string(part[:4]) != ledgerMagic || length > len(part)-ledgerHead || count <= writes ||
			le.Uint32(part[16:]) != crc32.Update(crc32.Checksum(part[:16], castagnoli), castagnoli, part[ledgerHead:ledgerHead+length]) {
			continue
		}
		var read book
		if json.Unmarshal(part[ledgerHead:ledgerHead+length], &read) == nil {
			b, writes = read, count
		}
	}
	if writes == 0 {
		return book{}, 0, fmt.Errorf("reading the ledger of losses: %w", cmp.Or(err, errDamaged))
	}
	return b, writes, nil
}
