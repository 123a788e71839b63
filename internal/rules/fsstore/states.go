package fsstore

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bittern/internal/rules"
	"bittern/internal/rules/statefile"
	"bittern/internal/rules/wallclock"
)

// states keeps Store.states what the file of states says. The file is the only thing that is
// stored, and operators edit it: a store with a file of its own beside theirs could disagree
// with it. Who writes the file, writes first and takes effect then; what others write is read and
// takes effect. So the two differ only while a file that is wrong waits to be corrected, or
// a file that can't be written keeps an entry that has expired: neither counts.
type states struct {
	store *Store
	cfg   Config
	log   *slog.Logger
	file  stateFile

	quit    chan struct{} // closed by stop
	running sync.WaitGroup
	reading atomic.Pointer[watcher] // the one that stop has to close

	// writing is held from reading or writing the file until that has taken effect; Store.mu
	// is taken inside of it. It guards what follows, and the writing of Store.states.
	writing sync.Mutex
	alarm   wallclock.Alarm // nil unless started
	// spent are the states that have expired and may still be in the file. They don't come
	// back, even if the clock is set back.
	spent map[string]rules.RuleState
	last  []byte         // the content that Store.states is from, if nothing has come after it
	told  string         // the problems that were announced last
	aside rules.Problems // of the file that was set aside; until there is another one
}

func newStates(s *Store) *states {
	return &states{
		store: s, cfg: s.cfg, log: s.cfg.Logger.With("component", "rule store"), file: statefile.In(s.cfg.States),
		quit: make(chan struct{}), spent: map[string]rules.RuleState{},
	}
}

// stateFile is a statefile.File.
type stateFile interface {
	Path() string
	Read() (statefile.Content, error)
	Parse(data []byte) *rules.StateFile
	Change(change func(old *rules.StateFile) (*rules.StateFile, error)) (*rules.StateFile, error)
	Set(edits map[string]rules.RuleState) (*rules.StateFile, error)
	Settled(content statefile.Content) bool
	SetAside() (to string, err error)
}

// begin reads the file for the first time. A file that is damaged is no error: it is set
// aside, so that there can be a new one.
func (st *states) begin() error {
	alarm, err := st.cfg.Clock.NewAlarm()
	if err != nil {
		return fmt.Errorf("preparing the states of rules: %w", err)
	}
	st.writing.Lock()
	defer st.writing.Unlock()
	st.alarm = alarm
	content, err := st.file.Read()
	if err != nil {
		st.reject(st.problems(err))
		return nil
	}
	parsed := st.file.Parse(content.Data)
	switch {
	case parsed.Complete:
		st.take(parsed, content.Time, author{}, true)
	case st.file.Settled(content):
		st.setAside(parsed.Problems)
	default:
		st.reject(parsed.Problems) // it is being written, and read again when that is done
	}
	return nil
}

// end gives back what begin has opened.
func (st *states) end() {
	st.writing.Lock()
	defer st.writing.Unlock()
	if st.alarm != nil {
		_ = st.alarm.Close() // nothing is waiting for it any more
		st.alarm = nil
	}
}

// set is Store.SetState.
func (st *states) set(id string, state rules.RuleState, by string) error {
	st.writing.Lock()
	defer st.writing.Unlock()
	if st.alarm == nil {
		return ErrStopped
	}
	now := st.cfg.Clock.Now()
	if state.ExpiredAt(now) {
		return fmt.Errorf("expires_at %s is past", state.ExpiresAt.Format(time.RFC3339))
	}
	state.SetBy, state.SetAt = by, now
	if state.State == rules.Enabled && state.Reason == "" {
		state = rules.RuleState{} // nothing was decided
	}
	state = state.Normal()
	written, err := st.file.Set(map[string]rules.RuleState{id: state})
	if err != nil {
		return err
	}
	// With it comes what others have written, and was not read yet.
	st.take(written, now, author{id, by}, false)
	st.last = written.Text
	return nil
}

// refresh reads the file. That it is not there counts if final: editors can remove it before
// they put the new one in its place. It returns false if it has to be looked at once more.
func (st *states) refresh(final bool) bool {
	st.writing.Lock()
	defer st.writing.Unlock()
	content, err := st.file.Read()
	if err != nil {
		st.reject(st.problems(err))
		return true
	}
	if !content.Exist && !final || !st.file.Settled(content) {
		return false
	}
	if content.Exist && st.last != nil && bytes.Equal(content.Data, st.last) {
		return true // mostly what we have written
	}
	if content.Exist {
		st.aside = nil
	}
	st.take(st.file.Parse(content.Data), content.Time, author{}, false)
	return true
}

// author is who has edited a rule's state, of which the file can't say it if it is none.
type author struct{ id, by string }

// take makes the states those of the file, and announces each that is another one. written is
// when that was. At the first time, what has expired meanwhile is announced as well.
func (st *states) take(parsed *rules.StateFile, written time.Time, who author, first bool) {
	if !parsed.Complete {
		st.reject(parsed.Problems)
		return
	}
	s, now := st.store, st.cfg.Clock.Now()
	next := maps.Clone(parsed.States)
	var expired []string
	for id, state := range parsed.States {
		old, spent := st.spent[id]
		if state.SetAt.IsZero() {
			state.SetAt = written.UTC()
			for _, known := range []rules.RuleState{s.states[id], old} {
				if date := known.SetAt; state.SameAs(known) {
					state.SetAt = date // since then, whatever else was edited
				}
			}
			next[id] = state
		}
		if spent && state.Equal(old) || state.ExpiredAt(now) {
			st.spent[id] = state
			expired = append(expired, id)
			delete(next, id)
			continue
		}
		delete(st.spent, id)
	}
	for id := range st.spent {
		if _, ok := parsed.States[id]; !ok && !parsed.Broken[id] {
			delete(st.spent, id)
		}
	}
	for id := range parsed.Broken {
		if state, ok := s.states[id]; ok {
			next[id] = state
		}
	}
	var changed []string
	for id, state := range next {
		if !state.Equal(s.states[id]) {
			changed = append(changed, id)
		}
	}
	for id := range s.states {
		if _, ok := next[id]; !ok {
			changed = append(changed, id)
		}
	}
	if first {
		changed = slices.AppendSeq(changed, maps.Keys(st.spent))
	}
	slices.Sort(changed)
	var changes []rules.Change
	for _, id := range changed {
		state := next[id]
		_, spent := st.spent[id]
		by := cmp.Or(state.SetBy, rules.ByFile)
		switch {
		case id == who.id:
			by = who.by
		case spent:
			by = rules.ByExpiry
		}
		changes = append(changes, rules.Change{Kind: rules.StateSet, RuleID: id, State: state, By: by, Seen: time.Now()})
	}
	st.effect(next, append(slices.Clone(st.aside), parsed.Problems...), changes)
	if len(expired) > 0 {
		st.sweep()
	}
}

// expire takes the states away whose time has come. The file follows: what has expired does
// not count there.
func (st *states) expire() {
	st.writing.Lock()
	defer st.writing.Unlock()
	s, now := st.store, st.cfg.Clock.Now()
	next := maps.Clone(s.states)
	var changes []rules.Change
	for id, state := range s.states {
		if state.ExpiredAt(now) {
			delete(next, id)
			st.spent[id] = state
			changes = append(changes, rules.Change{Kind: rules.StateSet, RuleID: id, By: rules.ByExpiry, Seen: time.Now()})
		}
	}
	slices.SortFunc(changes, func(a, b rules.Change) int {
		return cmp.Or(st.spent[a.RuleID].ExpiresAt.Compare(st.spent[b.RuleID].ExpiresAt), cmp.Compare(a.RuleID, b.RuleID))
	})
	st.effect(next, s.stateProblems, changes)
	if len(changes) > 0 {
		st.sweep()
	}
}

// sweep removes what has expired from the file.
func (st *states) sweep() {
	_, err := st.file.Change(func(old *rules.StateFile) (*rules.StateFile, error) {
		if old.Problems.Failed() {
			return old, nil // when it is correct again
		}
		edits := map[string]rules.RuleState{}
		for id, spent := range st.spent {
			state, ok := old.States[id]
			if state.SetAt.IsZero() {
				state.SetAt = spent.SetAt
			}
			if ok && state.Equal(spent) {
				edits[id] = rules.RuleState{}
			}
		}
		return old.Edit(edits)
	})
	if err != nil {
		st.log.Warn("expired states stay in their file, without effect", "file", st.file.Path(), "error", err)
	}
}

// effect makes states the ones that hold, all at once, and announces what changed.
func (st *states) effect(next map[string]rules.RuleState, problems rules.Problems, changes []rules.Change) {
	if c, ok := st.rejection(problems); ok {
		changes = append(changes, c)
	}
	s := st.store
	st.last = nil
	s.mu.Lock()
	s.states, s.stateProblems = next, problems
	s.feed.Publish(changes...)
	s.mu.Unlock()
	var due time.Time
	for _, state := range next {
		if at := state.ExpiresAt; !at.IsZero() && (due.IsZero() || at.Before(due)) {
			due = at
		}
	}
	if err := st.alarm.Set(due); err != nil {
		st.log.Error("states of rules do not expire", "error", err)
	}
}

// reject leaves all states as they are.
func (st *states) reject(problems rules.Problems) { st.effect(st.store.states, problems, nil) }

// rejection returns what is to be announced of problems: nothing if it was.
func (st *states) rejection(problems rules.Problems) (rules.Change, bool) {
	text := problems.Error()
	if text == st.told {
		return rules.Change{}, false
	}
	st.told = text
	return rules.Change{Kind: rules.StatesRejected, Problems: problems, Seen: time.Now()}, text != ""
}

func (st *states) setAside(problems rules.Problems) {
	aside := rules.Problem{Pos: rules.Position{File: st.file.Path()}, Hint: "correct it, and give it its name back"}
	to, err := st.file.SetAside()
	if err != nil {
		aside.Message = fmt.Sprintf("file is damaged, no rule has a state by it: %v", err)
	} else {
		aside.Message = "file is damaged, no rule has a state by it; it is now " + to
	}
	st.aside = append(slices.Clone(problems), aside)
	st.reject(st.aside)
}

func (st *states) problems(err error) rules.Problems {
	var found rules.Problems
	if !errors.As(err, &found) {
		found = rules.Problems{{Pos: rules.Position{File: st.file.Path()}, Message: err.Error(), Hint: "states stay what they are"}}
	}
	return found
}
