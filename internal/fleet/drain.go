package fleet

import "sync/atomic"

// Drain is how fast the server wants old records, as it has said last. It is shared by a link, which hears it, and by who sends them. It
// is safe for use by several goroutines.
type Drain struct{ rows atomic.Int64 }

// RowsPerSecond is the number of records, at least 1.
func (d *Drain) RowsPerSecond() int {
	if rows := d.rows.Load(); rows > 0 {
		return int(rows)
	}
	return defaultPace.DrainRows
}

func (d *Drain) set(rows int) { d.rows.Store(int64(rows)) }
