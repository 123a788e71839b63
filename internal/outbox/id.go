package outbox

import (
	"encoding/hex"
	"fmt"
)

// ParseID reads the text form of an id: 8-4-4-4-12 hexadecimal digits.
func ParseID(text string) (id ID, err error) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return ID{}, fmt.Errorf("reading the id of a record: %q is no UUID", text)
	}
	digits := text[:8] + text[9:13] + text[14:18] + text[19:23] + text[24:]
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil {
		return ID{}, fmt.Errorf("reading the id of a record: %q is no UUID: %w", text, err)
	}
	return id, nil
}

func (id ID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
