package outbox

import "errors"

// openReaders finds where readers are. known says that all are known that there were.
func (l *Log) openReaders(known bool) error {
	wanted := make(map[string]bool)
	for _, c := range l.cfg.Readers {
		wanted[c.Name] = true
	}
	keep := func(err error) error { // until there is a file, cursors are in memory
		if errors.Is(err, errNoCursors) {
			return nil
		}
		return err
	}
	gone, err := l.cursors.retain(func(name string) bool { return wanted[name] })
	errs := []error{keep(err)}
	for _, c := range gone {
		l.log.Info("a sink is not configured any more, what it did not have is not kept for it", "sink", c.name, "acknowledged", c.acked)
	}
	for _, c := range l.cfg.Readers {
		r := &Reader{name: c.Name, wake: make(chan struct{}, 1)}
		for _, lane := range []*lane{&r.lane, &r.ahead} {
			lane.log, lane.kinds = l, c.Kinds
		}
		acked := l.nextSeq - 1
		if at := l.cursors.find(c.Name); at >= 0 {
			acked = l.cursors.places[at].acked
		} else if !known {
			acked = 0 // it may have had a place, and rather gets something again
		}
		r.acked.Store(acked)
		r.read.Store(acked)
		for tier, all := range l.shelf.tiers {
			r.at[tier].index.Store(l.nextIndex[tier].Load())
			for _, s := range all {
				if s.firstSeq <= acked+1 || s == all[0] {
					r.at[tier].index.Store(s.first)
				}
			}
		}
		l.readers = append(l.readers, r)
		errs = append(errs, keep(l.cursors.set(c.Name, c.Kinds, acked)))
		r.saved = acked
	}
	return errors.Join(append(errs, l.cursors.renew(), l.cursors.sync())...)
}
