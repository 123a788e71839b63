package fleetstate

import "bittern/internal/rules"

// Load returns every live rule with the state that counts, ordered by id.
func (s *Store) Load() []rules.Stated {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load()
}

// load returns the rules as they are after exactly what was announced.
func (s *Store) load() []rules.Stated {
	for {
		s.settle()
		loaded := s.under.Load()
		if s.below.Depth() > 0 {
			continue // it is ahead of what was announced, maybe
		}
		for i, r := range loaded {
			if len(s.remote[r.ID]) > 0 {
				loaded[i].State = s.counts[r.ID]
			}
		}
		return loaded
	}
}

// State returns the state of a rule that counts, whether there is a rule of that id or not.
func (s *Store) State(id string) rules.RuleState {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	s.learn(id)
	return s.stateOf(id)
}

// SetState gives a rule a state of this host, and returns when that is on disk, has taken effect and
// is announced, if another state counts then; after an error, none of these. With the zero state,
// the fleet's counts.
func (s *Store) SetState(id string, state rules.RuleState, by string) error {
	err := s.under.SetState(id, state, by)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	return err
}

// Changes returns a subscription to all changes from now on.
func (s *Store) Changes() *rules.Subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle() // what has happened before is not of it
	return s.feed.Subscribe()
}

// Subscribe returns the live rules and a subscription to the changes that come after exactly these.
func (s *Store) Subscribe() ([]rules.Stated, *rules.Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load(), s.feed.Subscribe()
}

// Problems returns what is wrong at present with the sources of rules and of this host's states.
func (s *Store) Problems() []rules.SourceProblems { return s.under.Problems() }

// Health returns nil while edits take effect. It takes no lock.
func (s *Store) Health() error { return s.under.Health() }

// Remote returns how many rules have a remote state, whether it counts or not.
func (s *Store) Remote() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	return len(s.remote)
}

// Held returns the rules of which the first remote state does not count, and why: "local" if one of this
// host comes before it, "floor" if it would disable a rule which that can't be done to.
func (s *Store) Held() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settle()
	all := map[string]string{}
	for id := range s.remote {
		if why := s.held(id); why != "" {
			all[id] = why
		}
	}
	return all
}
