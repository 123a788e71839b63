package outbox

import "errors"

// Health is nil while what is appended outlives this process.
func (l *Log) Health() error {
	if p := l.trouble.Load(); p != nil {
		return *p
	}
	return nil
}

func (l *Log) isClosed() bool {
	select {
	case <-l.quit:
		return true
	default:
		return false
	}
}

// Close takes nothing in any more, and has what is there outlive a power failure. Readers get what is left, until Release.
func (l *Log) Close() error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	if !first {
		return nil
	}
	l.Sync()
	close(l.quit)
	l.working.Wait()
	l.mu.Lock()
	l.mend() // the last time that it can be
	l.mu.Unlock()
	for _, r := range l.readers {
		r.notify()
	}
	return nil
}

// Release lets go of the files. No reader may be in use any more.
func (l *Log) Release() error {
	var errs []error
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reclaim()
	for _, tier := range Tiers() {
		for _, s := range l.shelf.all(tier) {
			if s.file == nil {
				l.shelf.take(s, func() bool { return true })
				l.evict(s, l.progress()) // the last time that it can be counted
			} else {
				errs = append(errs, s.close())
			}
		}
	}
	for _, r := range l.readers {
		errs = append(errs, r.save())
	}
	for _, f := range []file{l.ledger.file, l.cursors.file} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}
