package outbox

import (
	"fmt"
	"time"
)

// Cause says why records were lost.
type Cause string

// The causes in the outbox. Others come from before it.
const (
	Full    Cause = "outbox_full"    // there was no room within the quota
	NoDisk  Cause = "outbox_no_disk" // the disk failed, and there was no room in memory
	Damaged Cause = "outbox_damaged" // the disk did not keep what was written
)

// Loss is how many records of a rule were lost to a sink for a cause, ever.
type Loss struct {
	Sink  string    `json:"sink,omitempty"`  // "": to all
	Rule  string    `json:"rule,omitempty"`  // "": that is not known, or it was of none
	Class string    `json:"class,omitempty"` // of event; "": any
	Cause Cause     `json:"cause"`
	Count uint64    `json:"count"`
	First time.Time `json:"first"` // of what was lost; zero: not known
	Last  time.Time `json:"last"`
	// Told is how many of Count records of gaps tell of, or are about to.
	Told uint64 `json:"told"`
	// Sure is how many of Told are told of for sure.
	Sure uint64 `json:"sure"`
}

type lossKey struct {
	sink, rule, class string
	cause             Cause
}

func (l *Loss) key() lossKey { return lossKey{l.Sink, l.Rule, l.Class, l.Cause} }

// what is the same in the file.
func (l *Loss) what() string { return fmt.Sprintf("%s/%s/%s/%s", l.Cause, l.Sink, l.Rule, l.Class) }

// losses are losses, each key once.
type losses map[lossKey]*Loss

func (all *losses) add(l Loss) {
	if *all == nil {
		*all = make(losses)
	}
	to := (*all)[l.key()]
	if to == nil {
		(*all)[l.key()] = &l
		return
	}
	to.Count += l.Count
	to.Told += l.Told
	to.Sure += l.Sure
	if to.First.IsZero() || !l.First.IsZero() && l.First.Before(to.First) {
		to.First = l.First
	}
	if l.Last.After(to.Last) {
		to.Last = l.Last
	}
}

// sum is the number of all that was lost, whoever lost it.
func (all losses) sum() (n uint64) {
	for _, l := range all {
		n += l.Count
	}
	return n
}
