package outbox

import (
	"encoding/hex"
	"fmt"
	"time"
)

// ID names the outbox, and what its losses are counted from: another one begins at zero.
func (l *Log) ID() (id ID) {
	l.ledger.mu.Lock()
	defer l.ledger.mu.Unlock()
	_, _ = hex.Decode(id[:], []byte(l.ledger.id)) // it is ours
	return id
}

// Losses returns all that was ever lost.
func (l *Log) Losses() []Loss {
	l.ledger.mu.Lock()
	defer l.ledger.mu.Unlock()
	var all []Loss
	for _, loss := range l.ledger.sorted() {
		all = append(all, *loss)
	}
	return all
}

// Note counts a loss from before the outbox. The id names it for good: the same one is counted once, also if it comes
// again from an agent after us, as long as nothing else of its sink, rule, class and cause comes in between.
func (l *Log) Note(id ID, loss Loss) error {
	g := l.ledger
	g.mu.Lock()
	defer g.mu.Unlock()
	what, name := loss.what(), hex.EncodeToString(id[6:])
	if g.noted[what] == name {
		return g.retrySave()
	}
	g.noted[what] = name
	loss.Told, loss.Sure = loss.Count, loss.Count // whoever notes it tells it
	g.losses.add(loss)
	return g.save()
}

// retry writes the ledger after the disk has failed.
func (g *ledger) retry() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.save()
}

// retrySave saves what could not be before.
func (g *ledger) retrySave() error {
	if !g.unsaved {
		return nil
	}
	return g.save()
}

func (g *ledger) save() error {
	if err := g.write(); err != nil {
		return fmt.Errorf("writing the ledger of losses: %w", err)
	}
	return nil
}

// Untold returns what was lost in the outbox and no record tells of yet: each Loss with the part of its Count that is
// new, up to Told. What an agent before us was about to tell comes first, as it would have told it. Loss.Told is to be given to
// Tell once a record tells of it.
func (l *Log) Untold() ([]Loss, error) {
	g := l.ledger
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []Loss
	changed := false
	for _, loss := range g.sorted() {
		if loss.Sure == loss.Count {
			continue
		}
		if loss.Told == loss.Sure {
			loss.Told, changed = loss.Count, true
		}
		untold := *loss
		untold.Count = loss.Told - loss.Sure
		all = append(all, untold)
	}
	if !changed {
		return all, g.retrySave()
	}
	// First, so that whoever comes after us tells the same.
	return all, g.save()
}

// Told notes that a record tells of a loss that Untold returned.
func (l *Log) Told(loss Loss) error {
	g := l.ledger
	g.mu.Lock()
	defer g.mu.Unlock()
	to := g.losses[loss.key()]
	if to == nil || to.Sure >= loss.Told {
		return g.retrySave()
	}
	to.Sure = loss.Told
	return g.save()
}

// missing counts the records of a segment that can't be read, given how many can.
func (l *Log) missing(s *segment, good int) {
	want := s.next - s.first
	if s.merged {
		want = s.records
	}
	if s.next == 0 || uint64(good) >= want || want > mostRecords {
		return // the last: numbers jumped behind it, see Log.jump
	}
	n, err := l.ledger.lacks(s.id, want-uint64(good), time.Now())
	if n > 0 {
		l.log.Error("records are damaged, others are not", "segment", s.name, "records", n)
	}
	if err != nil {
		l.log.Error("the ledger of losses can't be written", "error", err)
	}
}
