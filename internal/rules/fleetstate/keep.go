package fleetstate

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	// writeEvery is how much of the time at most, by which a state was to last, is forgotten when the
	// machine goes down without notice and comes up with a clock that is wrong.
	writeEvery = 5 * time.Minute
	// writeAgain is when a write is tried again that has failed.
	writeAgain = 30 * time.Second
)

// begin takes in what the file has, and reports whether it is to be written again.
func (s *Store) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, err := s.disk.load()
	if found == nil && err == nil {
		return false
	}
	now := s.now()
	var kept content
	if err == nil {
		if kept, err = found.since(s.clock, now); err != nil {
			err = fmt.Errorf("reading %s: %w", s.disk.path, err)
		}
	}
	if err != nil {
		s.log.Error("states from the fleet can't be read, none counts until the database tells them again", "error", err)
		return false
	}
	s.base = kept.base
	for id, all := range kept.remote {
		left := slices.DeleteFunc(slices.Clone(all), func(d decision) bool { return d.expired(now.up) })
		if len(left) < len(all) {
			s.spent[id] = slices.DeleteFunc(all, func(d decision) bool { return !d.expired(now.up) })
			s.log.Info("state from the fleet has expired while no agent ran", "rule_id", id)
		}
		s.keep(id, left)
	}
	for id := range s.remote {
		s.learn(id)
		s.count(id)
	}
	s.arm()
	return slices.ContainsFunc(found.Rules, func(r storedRule) bool {
		return slices.ContainsFunc(r.Decisions, func(d storedDecision) bool { return d.Due != 0 })
	})
}

// rewrite writes the file as of now: what has expired is not in it, and of the others how much is left.
func (s *Store) rewrite() {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	s.mu.Lock()
	s.settle()
	now := content{base: s.base, remote: maps.Clone(s.remote)}
	again := s.failed
	s.write, s.failed = 0, false // what expires from here on asks for another write
	s.mu.Unlock()
	err := s.disk.keep(now, s.clock)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if !again {
			s.log.Warn("states from the fleet can't be written, they may last longer after a reboot", "error", err)
		}
		s.failed = true
		s.writeLater()
		return
	}
	s.written(s.clock.Uptime())
	s.arm()
}

// keep writes what there is, also that there is nothing.
func (d *disk) keep(now content, clock Clock) error {
	if now.base.ok {
		return d.put(now.encode(clock))
	}
	d.last = nil
	return d.restore()
}

// written notes that the file was written, and when it is to be written again.
func (s *Store) written(now time.Duration) {
	if s.write != 0 {
		return // something has expired since it was found out what to write
	}
	for _, decisions := range s.remote {
		if slices.ContainsFunc(decisions, func(d decision) bool { return d.due != 0 }) {
			s.write = now + writeEvery
			return
		}
	}
}

// writeLater has the file written after a while, since that has failed.
func (s *Store) writeLater() {
	s.write = s.clock.Uptime() + writeAgain
	s.arm()
}

// rewriteSoon has the file written now that something has expired, unless that has just failed.
func (s *Store) rewriteSoon(now time.Duration) {
	if s.failed {
		return
	}
	s.write = max(now, 1)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
