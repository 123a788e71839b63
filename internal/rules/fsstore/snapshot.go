package fsstore

import (
	"bittern/internal/rules"
)

// Snapshot is what a store has taken in at one moment.
type Snapshot struct {
	// Files are the SHA-256 of the contents that were judged, by name in the directory. Of a set that waits they are the set's. Those
	// that can't be read are not among them.
	Files    map[string][32]byte
	Rules    []rules.Stated
	Problems []rules.SourceProblems
	// Whole: what was taken in last was a set that was made under a hold.
	Whole bool
}

// Snapshot returns what the store has taken in. Whoever reads the directory and finds the same contents has read it as it was at
// one moment, with no file half written and no set half made.
func (s *Store) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	files := make(map[string][32]byte, len(s.set.sources))
	for name, src := range s.set.sources {
		if src.judged {
			files[name] = src.sum
		}
	}
	for name, u := range s.pending {
		delete(files, name)
		if u.kind == judge {
			files[name] = u.sum
		}
	}
	return Snapshot{Files: files, Rules: s.load(), Problems: s.problems(), Whole: s.whole}
}

// Revised has a value when a snapshot may be another one than before. It is for one receiver.
func (s *Store) Revised() <-chan struct{} { return s.revised }

// revise keeps what is new for snapshots: of a set that waits, or of what was taken in. The lock is held.
func (s *Store) revise(updates []update, whole, waits bool) {
	s.pending = nil
	for _, u := range updates {
		switch {
		case u.again:
		case u.kind == judge, u.kind == drop, u.kind == refuse:
			s.whole = whole
			if waits {
				if s.pending == nil {
					s.pending = map[string]update{}
				}
				s.pending[u.name] = update{kind: u.kind, sum: u.sum}
			}
		}
	}
	select {
	case s.revised <- struct{}{}:
	default:
	}
}
