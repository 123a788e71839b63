package outbox

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Bounds of Config.Quota in bytes.
const (
	LeastQuota   = 4 << 20
	DefaultQuota = 256 << 20
)

// DefaultSyncWithin is how long a record may be in the page cache only.
const DefaultSyncWithin = 10 * time.Millisecond

// Sizes of segments in bytes.
const (
	leastSegment = 128 << 10
	mostSegment  = 4 << 20
)

// Config says how an outbox is to be.
type Config struct {
	Dir        string // is made if need be; "" is to keep records in memory, which is lost with the agent
	Quota      int64  // bytes that it may take; 0 is DefaultQuota
	Memory     int64  // bytes that it may take while the disk fails; 0 is a sixteenth of Quota
	SyncWithin time.Duration
	Readers    []ReaderConfig // all that are to read
	Log        *slog.Logger

	disk  disk // in the place of Dir
	still bool // nothing goes on by itself: who tests syncs and mends by hand
}

// ReaderConfig names a reader. Its place is kept by its name. One that is new begins behind what is there.
type ReaderConfig struct {
	Name  string // at most 64 bytes
	Kinds Kinds  // what it wants; the others pass it by
}

// Validate reports what is wrong with the configuration.
func (c Config) Validate() error {
	if c.Quota != 0 && c.Quota < LeastQuota {
		return fmt.Errorf("configuring the outbox: a quota of %d bytes, at least %d are needed", c.Quota, LeastQuota)
	}
	if c.Log == nil {
		return errors.New("configuring the outbox: no logger given")
	}
	if len(c.Readers) > cursorPlaces {
		return fmt.Errorf("configuring the outbox: %d readers, at most %d are possible", len(c.Readers), cursorPlaces)
	}
	seen := make(map[string]bool)
	for _, r := range c.Readers {
		if r.Name == "" || len(r.Name) > maxReaderName || seen[r.Name] {
			return fmt.Errorf("configuring the outbox: readers need names of their own, of 1 to %d bytes, and one is called %q", maxReaderName, r.Name)
		}
		seen[r.Name] = true
	}
	return nil
}
