package fleetstate

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"bittern/internal/rules"
)

// Update is what a fleet's database has said of the states of this host.
type Update struct {
	Generation int64
	Timeline   string // of that database: generations of another one say nothing
	Resync     bool   // what is not in Rules has no remote state any more
	Rules      []RuleStates
	// Asked is when the question was asked, by Clock.Uptime. Durations count from there, so that a
	// slow network can't prolong a state.
	Asked time.Duration
}

// RuleStates is all that a fleet has decided of one rule.
type RuleStates struct {
	RuleID    string
	Decisions []Decision // in order of precedence: of the host, a group, the fleet; none: there is nothing any more
}

// Decision is a state that a fleet's operators have given to a rule.
type Decision struct {
	State         rules.State
	ConfidenceMax float64       // of rules.Clipped, 0 to 1
	Lasts         time.Duration // from Update.Asked on; 0 for ever, less than that: it has expired
	Reason, SetBy string
	SetAt         time.Time
	Scope         string // "host", "group" or "fleet"
}

// decision is a Decision as it is kept.
type decision struct {
	state rules.RuleState // with an ExpiresAt for people to see
	due   time.Duration   // of Clock.Uptime; 0 for ever
	shown time.Duration   // what due was when ExpiresAt was made of it
}

const (
	// tolerance is how far apart two deadlines can be that are the same: each is a duration that was
	// told, from a moment on that is known only roughly.
	tolerance = 5 * time.Second
	// most is how long a decision can last that lasts not for ever.
	most = 100 * 365 * 24 * time.Hour
)

func (d decision) expired(now time.Duration) bool { return d.due != 0 && now >= d.due }

// within reports whether two deadlines can be the same.
func within(a, b time.Duration) bool { return a-b <= tolerance && b-a <= tolerance }

// instant is one moment on both clocks.
type instant struct {
	up   time.Duration
	wall time.Time
}

// at is the moment at which the machine has been up for so long.
func (i instant) at(up time.Duration) time.Time { return i.wall.Add(up - i.up) }

func (s *Store) now() instant { return instant{s.clock.Uptime(), s.clock.Now()} }

// read makes a decision of what was told at a moment, and reports what is wrong with it.
func (d Decision) read(asked time.Duration, now instant) (decision, error) {
	out := decision{state: rules.RuleState{
		State: d.State, ConfidenceMax: d.ConfidenceMax, Reason: d.Reason, SetBy: d.SetBy, SetAt: d.SetAt, Scope: d.Scope,
	}}
	if d.Lasts != 0 {
		out.due = max(asked+min(d.Lasts, most), 1) // 0 is for ever
		out.shown = out.due
		out.state.ExpiresAt = now.at(out.due)
	}
	out.state = out.state.Normal()
	return out, out.validate()
}

func (d decision) validate() error {
	err := d.state.Validate()
	if d.state.Scope == "" {
		err = errors.Join(err, errors.New("scope is missing"))
	}
	if year := d.state.SetAt.Year(); year < 0 || year > 9999 {
		err = errors.Join(err, fmt.Errorf("set_at is in the year %d", year))
	}
	return err
}

// like returns the decision among those known that says the same, whenever it expires.
func (d decision) like(known []decision) (decision, bool) {
	i := slices.IndexFunc(known, func(k decision) bool {
		a, b := k.state, d.state
		a.ExpiresAt, b.ExpiresAt = time.Time{}, time.Time{}
		return a.Equal(b) && (k.due == 0) == (d.due == 0)
	})
	if i < 0 {
		return decision{}, false
	}
	return known[i], true
}

// adopt is what becomes of a decision where one that is known says the same. A deadline is only ever
// moved nearer, and what people see stays while it is about right. false if it has expired before.
func (s *Store) adopt(id string, d decision) (decision, bool) {
	if d.due == 0 {
		return d, true
	}
	if old, ok := d.like(s.spent[id]); ok && d.due-old.due <= tolerance {
		return d, false
	}
	if old, ok := d.like(s.remote[id]); ok && within(d.due, old.shown) {
		old.due = min(old.due, d.due)
		return old, true
	}
	return d, true
}

// Known returns what was applied last: the generation and the timeline. The file may have an older generation, if nothing
// has changed for this host since. ok is false if there is nothing, so that all has to be asked for.
func (s *Store) Known() (generation int64, timeline string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.base.generation, s.base.timeline, s.base.ok
}

// Apply takes in what a fleet has decided, and returns when that is on disk, has taken effect and is
// announced. After an error, nothing of it has. A decision that is not valid is logged, and left out.
func (s *Store) Apply(u Update) error {
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	next, news, err := s.prepare(u)
	if err != nil {
		return fmt.Errorf("taking in states of the fleet: %w", err)
	}
	if !news {
		return nil
	}
	if err := s.disk.put(next.encode(s.clock)); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.writeLater() // the file may have what does not count
		return fmt.Errorf("taking in states of the fleet: %w", err)
	}
	s.replace(next)
	return nil
}

// content is all that is kept of a fleet's decisions.
type content struct {
	base   base
	remote map[string][]decision
}

// prepare returns what there is to be, and whether that is another thing.
func (s *Store) prepare(u Update) (content, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return content{}, false, errStopped
	}
	s.settle()
	if err := s.base.follows(u); err != nil {
		return content{}, false, err
	}
	now := s.now()
	asked := min(u.Asked, now.up)
	next := content{base: base{generation: u.Generation, timeline: u.Timeline, ok: true}, remote: map[string][]decision{}}
	if !u.Resync {
		next.remote = maps.Clone(s.remote)
	}
	for _, r := range u.Rules {
		if err := rules.CheckID(r.RuleID); err != nil {
			s.log.Warn("state from the fleet left out, it is wrong", "rule_id", r.RuleID, "error", err)
			continue
		}
		if all := s.read(r, asked, now); len(all) > 0 {
			next.remote[r.RuleID] = all
		} else {
			delete(next.remote, r.RuleID)
		}
	}
	for id, spent := range s.spent {
		if !slices.ContainsFunc(spent, func(d decision) bool { return now.up-d.due < spentFor }) {
			delete(s.spent, id)
		}
	}
	sameStates := maps.EqualFunc(next.remote, s.remote, func(a, b []decision) bool {
		return slices.EqualFunc(a, b, func(a, b decision) bool { return a.state.Equal(b.state) && a.due == b.due })
	})
	if sameStates && !u.Resync {
		// What operators decide of other hosts need not be written here: asked for again from an older generation on, it says
		// nothing again.
		s.base.generation = u.Generation
	}
	if sameStates && next.base == s.base {
		return next, false, nil
	}
	s.write, s.failed = 0, false // it is written now; what expires from here on asks for another write
	return next, true, nil
}

// spentFor is how long a decision is known to have expired: longer than an answer takes.
const spentFor = 10 * time.Minute

func (s *Store) read(r RuleStates, asked time.Duration, now instant) []decision {
	var all []decision
	for _, told := range r.Decisions {
		d, err := told.read(asked, now)
		if err != nil {
			s.log.Warn("state from the fleet left out, it is wrong", "rule_id", r.RuleID, "error", err)
			continue
		}
		if d, ok := s.adopt(r.RuleID, d); ok && !d.expired(now.up) {
			all = append(all, d)
		}
	}
	return all
}

// follows reports why an update can't come after what is known: it would be laid over something else
// than that which it was told for.
func (b base) follows(u Update) error {
	switch {
	case u.Generation < 0:
		return fmt.Errorf("generation %d is negative", u.Generation)
	case u.Resync:
		return nil
	case !b.ok:
		return errors.New("changes are of no use without what they change")
	case u.Timeline != b.timeline:
		return fmt.Errorf("changes are of timeline %s, and known is %s", u.Timeline, b.timeline)
	case u.Generation < b.generation:
		return fmt.Errorf("changes are up to generation %d, and known is %d", u.Generation, b.generation)
	}
	return nil
}

// never is the deadline of what lasts for ever, to compare with.
const never = time.Duration(math.MaxInt64)

// deadline is when a decision expires, and never if it does not.
func (d decision) deadline() time.Duration {
	if d.due == 0 {
		return never
	}
	return d.due
}
