package sink

import (
	"math"
	"time"
)

// Pace bounds how fast a backlog is delivered.
type Pace interface {
	// RowsPerSecond is how many records may be delivered in a second. It is asked again at least once a second while there is a backlog,
	// since it may change; 0 is no bound.
	RowsPerSecond() int
}

// bucket fills up with the records that may be delivered, up to those of a second.
type bucket struct {
	records float64
	at      time.Time // when records were so many
}

// batchesPerSecond is how many batches a second's records are delivered in, if they are as many.
const batchesPerSecond = 4

// most is how many records may be delivered now; if they are too few for a batch it is 0, and wait is how long until they may be enough.
func (b *bucket) most(now time.Time, perSecond int) (n int, wait time.Duration) {
	if perSecond <= 0 {
		b.records, b.at = 0, now
		return math.MaxInt, 0
	}
	rate := float64(perSecond)
	b.records = min(b.records+max(now.Sub(b.at).Seconds(), 0)*rate, rate)
	b.at = now
	enough := max(perSecond/batchesPerSecond, 1)
	if n = int(b.records); n >= enough {
		return n, 0
	}
	wait = time.Duration((float64(enough) - b.records) / rate * float64(time.Second))
	return 0, max(wait, time.Millisecond) // else what is rounded has it asked over and over
}

func (b *bucket) take(n int) { b.records -= float64(n) }
