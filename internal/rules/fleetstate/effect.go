package fleetstate

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"bittern/internal/rules"
)

// settle takes in what has happened below, then what has expired, and announces it. It comes first
// wherever something is read or changed, so that no answer is ahead of what is announced, or
// behind the clock. The lock is held.
func (s *Store) settle() {
	var changes []rules.Change
	for c, ok := s.below.TryNext(); ok; c, ok = s.below.TryNext() {
		changes = append(changes, s.fold(c)...)
	}
	s.feed.Publish(append(changes, s.expire()...)...)
}

// fold returns what a change below is here.
func (s *Store) fold(c rules.Change) []rules.Change {
	id := c.RuleID
	switch c.Kind {
	case rules.Definition:
		s.local[id] = c.State
		if len(s.remote[id]) > 0 {
			c.State = s.counts[id]
		}
	case rules.StateSet:
		s.local[id] = c.State
		if len(s.remote[id]) > 0 {
			if !s.count(id) {
				return nil
			}
			c.State = s.counts[id]
		}
	}
	return []rules.Change{c}
}

// expire takes those decisions away whose time has come, and returns what that changes, in the order
// of these times.
func (s *Store) expire() []rules.Change {
	now := s.clock.Uptime()
	if s.due == 0 || now < s.due {
		return nil
	}
	type expired struct {
		at     time.Duration
		change rules.Change
	}
	var all []expired
	for id, decisions := range s.remote {
		left := slices.DeleteFunc(slices.Clone(decisions), func(d decision) bool { return d.expired(now) })
		if len(left) == len(decisions) {
			continue
		}
		at := time.Duration(0)
		for _, d := range decisions {
			if d.expired(now) {
				at = max(at, d.due)
				s.spent[id] = append(s.spent[id], d)
			}
		}
		before := s.counts[id]
		s.keep(id, left)
		s.count(id)
		if after := s.stateOf(id); !after.Equal(before) {
			all = append(all, expired{at, rules.Change{Kind: rules.StateSet, RuleID: id, State: after, By: rules.ByExpiry, Seen: time.Now()}})
		}
	}
	slices.SortFunc(all, func(a, b expired) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.change.RuleID, b.change.RuleID))
	})
	s.rewriteSoon(now)
	s.arm()
	changes := make([]rules.Change, len(all))
	for i, e := range all {
		changes[i] = e.change
	}
	return changes
}

// keep makes decisions those of a rule.
func (s *Store) keep(id string, decisions []decision) {
	if s.remote[id] = decisions; len(decisions) == 0 {
		delete(s.remote, id)
	}
}

// count finds out what counts of a rule, and reports whether that is another state than before.
func (s *Store) count(id string) bool {
	before := s.counts[id]
	state, _ := s.judge(id)
	if s.counts[id] = state; len(s.remote[id]) == 0 {
		delete(s.counts, id)
	}
	return !state.Equal(before)
}

// Why a remote state does not count.
const (
	heldByLocal = "local"
	heldByFloor = "floor"
)

// judge returns the state that counts of a rule, and what keeps its first remote one from
// that; "" for nothing.
func (s *Store) judge(id string) (state rules.RuleState, held string) {
	local, now := s.local[id], s.clock.Uptime()
	for _, d := range s.remote[id] {
		switch {
		case d.expired(now):
		case !local.IsZero():
			return local, heldByLocal
		case d.state.State == rules.Disabled && s.floor(id):
			held = heldByFloor
		default:
			return d.state, held
		}
	}
	return local, held
}

// stateOf returns the state that counts of a rule, whose local one is known.
func (s *Store) stateOf(id string) rules.RuleState {
	if len(s.remote[id]) > 0 {
		return s.counts[id]
	}
	return s.local[id]
}

// learn makes sure that the local state of a rule is known, as it is after what was taken in.
func (s *Store) learn(id string) {
	for {
		if _, known := s.local[id]; known {
			return
		}
		s.settle()
		state := s.under.State(id)
		if s.below.Depth() == 0 {
			// Nothing has happened in between that is still to be taken in.
			if _, known := s.local[id]; !known {
				s.local[id] = state
			}
		}
	}
}

// replace makes other remote states count, all at once, and announces what that changes.
func (s *Store) replace(next content) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range next.remote {
		s.learn(id)
	}
	s.settle()
	ids := slices.Sorted(maps.Keys(next.remote))
	for id := range s.remote {
		if _, ok := next.remote[id]; !ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	now := s.clock.Uptime()
	var changes []rules.Change
	for _, id := range ids {
		before, wasHeld := s.stateOf(id), s.held(id)
		s.keep(id, slices.DeleteFunc(slices.Clone(next.remote[id]), func(d decision) bool { return d.expired(now) }))
		s.count(id)
		after := s.stateOf(id)
		if held := s.held(id); held == heldByFloor && wasHeld != held {
			s.log.Warn("state from the fleet does not count, the rule is not to be disabled", "rule_id", id)
		}
		if after.Equal(before) {
			continue
		}
		by := rules.ByFleet
		if after.Scope != "" {
			by = strings.TrimSpace(after.SetBy + " (" + after.Scope + ")")
		}
		changes = append(changes, rules.Change{Kind: rules.StateSet, RuleID: id, State: after, By: by, Seen: time.Now()})
	}
	s.base = next.base
	s.written(now)
	s.arm()
	s.feed.Publish(changes...)
}

func (s *Store) held(id string) string {
	_, why := s.judge(id)
	return why
}

// arm finds out when the next decision expires, and sets the alarm for that or for the next write.
func (s *Store) arm() {
	first := never
	for _, decisions := range s.remote {
		for _, d := range decisions {
			first = min(first, d.deadline())
		}
	}
	if s.due = first; first == never {
		s.due = 0
	}
	if s.write != 0 {
		first = min(first, s.write)
	}
	if first == never {
		first = 0
	}
	if s.alarm == nil {
		return // closed
	}
	if err := s.alarm.Set(first); err != nil {
		s.log.Error("states from the fleet do not expire", "error", err)
	}
}
