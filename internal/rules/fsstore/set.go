package fsstore

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"bittern/internal/rules"
)

// set is which rules are live and which file each is from. It is plain data:
// it reads no files and knows no clock.
//
// A file claims the rules that it defines well. Of several files that claim one
// rule the owner is the one that had it first; the others have a problem. An
// owner whose content is bad holds its rules: they stay live in their last good
// version, and no other file can take them.
type set struct {
	live    map[string]*liveRule
	lists   ownedLists
	sources map[string]*source
	claims  map[string][]*source // rule id -> the files that claim it
}

type liveRule struct {
	rule  *rules.Rule
	owner *source
}

type digest [sha256.Size]byte

// source is what is known of one file.
type source struct {
	name  string
	path  string
	owned map[string]struct{} // ids of the rules that are live by this file

	judged   bool   // sum is that of the content which the fields below describe
	sum      digest // of the content
	rejected digest // the content whose problems were announced

	order    []string // ids of the documents, in their order
	claims   map[string]claim
	broken   map[string]struct{} // ids of documents with errors: held
	holdAll  bool                // bad as a whole: all that it owned is held
	problems rules.Problems      // of the file and its documents
	lists    []*rules.List       // that it defines
	unknown  *rules.Problem      // why it is not known which lists it defines
	linked   *rules.File         // what was read, if it uses lists
	data     []byte              // what that was read from
	bad      *rules.Problem      // why the file can't be read at all
	blank    bool                // it has no documents
	waiting  bool                // somebody keeps it open for writing
	missing  bool                // it vanished, and may come back
}

type claim struct {
	rule     *rules.Rule
	warnings rules.Problems
}

// update is what was found out about one file.
type update struct {
	kind updateKind
	name string
	seen time.Time
	path string

	from    string         // judge: the file was renamed from this name
	again   bool           // judge: only the lists are other ones
	data    []byte         // judge
	sum     digest         // judge
	file    *rules.File    // judge; nil if blank
	problem *rules.Problem // refuse
}

type updateKind uint8

const (
	judge   updateKind = iota + 1 // the file has new content
	confirm                       // it is there, with the content known, or not read yet
	wait                          // it is there, but kept open for writing
	refuse                        // it can't be read
	miss                          // it vanished, but may come back: nothing happens yet
	drop                          // it is gone
)

func newSet() *set {
	return &set{lists: ownedLists{}, live: map[string]*liveRule{}, sources: map[string]*source{}, claims: map[string][]*source{}}
}

// apply takes the updates in and returns the changes that they make, in order.
// They are judged together, so that what moved between files is not deleted.
func (s *set) apply(linked linked) []rules.Change {
	updates := linked.updates
	s.lists = linked.lists
	type step struct {
		update
		src *source
		ids []string
	}
	steps := make([]step, 0, len(updates))
	fresh := make(map[*source]bool, len(updates))
	for _, u := range updates {
		src, before := s.enter(u)
		if src == nil {
			continue
		}
		after := slices.Sorted(maps.Keys(src.owned))
		steps = append(steps, step{u, src, slices.Concat(src.order, before, after)})
		fresh[src] = u.kind == judge && !u.again
	}
	var changes []rules.Change
	decided := make(map[string]bool)
	for _, st := range steps {
		for _, id := range st.ids {
			if decided[id] {
				continue
			}
			decided[id] = true
			if c, ok := s.decide(id, fresh, linked.live); ok {
				c.Seen = st.seen
				changes = append(changes, c)
			}
		}
		for _, c := range st.src.rejections(s, st.update) {
			c.Seen = st.seen
			changes = append(changes, c)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(linked.live)) {
		if decided[id] {
			continue
		}
		if c, ok := s.relink(id, linked.live); ok {
			c.Seen = updates[0].seen
			changes = append(changes, c)
		}
	}
	return changes
}

// enter takes one update into its source, and returns the ids, in order, that
// the source had to do with before.
func (s *set) enter(u update) (*source, []string) {
	src := s.sources[u.name]
	if src == nil {
		if u.kind != judge && u.kind != refuse && u.kind != wait && u.from == "" {
			return nil, nil
		}
		src = &source{name: u.name, path: u.path, owned: map[string]struct{}{}}
		s.sources[u.name] = src
	}
	if u.from != "" {
		s.inherit(src, u.from)
	}
	before := src.ids()
	src.waiting = u.kind == wait || u.again && src.waiting
	src.missing = u.kind == miss
	switch u.kind {
	case judge:
		s.judge(src, u)
	case refuse:
		// Not to be read is not to define nothing: all that was live is held.
		bad := src.bad
		s.judge(src, update{path: u.path, file: &rules.File{Path: u.path}})
		src.judged, src.bad, src.unknown = false, bad, u.problem
	case drop:
		s.unclaim(src)
		delete(s.sources, src.name)
	}
	return src, before
}

// inherit gives the rules of a file that was renamed to its new name, so that
// those it holds without defining them are not lost.
func (s *set) inherit(to *source, from string) {
	old := s.sources[from]
	if old == nil || old == to {
		return
	}
	for id := range old.owned {
		s.live[id].owner = to
		to.owned[id] = struct{}{}
	}
	clear(old.owned)
	to.rejected = old.rejected // the same content, so not to be announced again
	s.unclaim(old)
	delete(s.sources, from)
}

func (s *set) judge(src *source, u update) {
	s.unclaim(src)
	src.judged, src.sum, src.path, src.bad = true, u.sum, u.path, nil
	src.claims, src.broken = map[string]claim{}, map[string]struct{}{}
	src.problems = nil
	src.lists, src.unknown = u.defines()
	src.linked, src.data = u.uses()
	src.blank = u.file == nil
	src.holdAll = src.blank || !u.file.Complete
	if src.blank {
		return
	}
	src.problems = slices.Clone(u.file.Problems)
	for _, d := range u.file.Documents {
		src.problems = append(src.problems, d.Problems...)
		_, twice := src.claims[d.RuleID]
		switch {
		case d.RuleID == "":
			src.holdAll = true // it may be any of the rules that the file had
		case d.Rule == nil || d.Problems.Failed():
			src.broken[d.RuleID] = struct{}{}
		case twice:
			src.problems = append(src.problems, rules.Problem{Pos: d.Pos, RuleID: d.RuleID,
				Message: fmt.Sprintf("rule id %s is used twice in this file", d.RuleID), Hint: "the first one counts"})
		default:
			src.claims[d.RuleID] = claim{rule: d.Rule, warnings: d.Problems}
			src.order = append(src.order, d.RuleID)
			s.claims[d.RuleID] = append(s.claims[d.RuleID], src)
		}
	}
	slices.SortStableFunc(src.problems, func(a, b rules.Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
}

func (s *set) unclaim(src *source) {
	for id := range src.claims {
		left := slices.DeleteFunc(s.claims[id], func(c *source) bool { return c == src })
		if len(left) == 0 {
			delete(s.claims, id)
		} else {
			s.claims[id] = left
		}
	}
	src.claims, src.order = nil, nil
}

// decide settles which file's version of a rule is live. fresh are the files
// whose content is new, and relinked the rules that stay live with other lists.
func (s *set) decide(id string, fresh map[*source]bool, relinked map[string]*rules.Rule) (rules.Change, bool) {
	was := s.live[id]
	var next *source
	if was != nil {
		owner := was.owner
		_, claimed := owner.claims[id]
		switch {
		case owner.missing:
			// A file that is new and has the rule is where it moved to. One that
			// had it already has no more right to it than before.
			if next = s.claimant(id, func(c *source) bool { return fresh[c] }); next == nil {
				return s.relink(id, relinked)
			}
		case claimed:
			next = owner
		case s.sources[owner.name] == owner && owner.holds(id):
			return s.relink(id, relinked)
		}
	}
	if next == nil {
		next = s.claimant(id, func(*source) bool { return true })
	}
	if was != nil {
		delete(was.owner.owned, id)
	}
	if next == nil {
		delete(s.live, id)
		return rules.Change{Kind: rules.Deleted, RuleID: id}, was != nil
	}
	c := next.claims[id]
	next.owned[id] = struct{}{}
	s.live[id] = &liveRule{rule: c.rule, owner: next}
	if was != nil && was.rule.Hash == c.rule.Hash {
		return rules.Change{}, false
	}
	return rules.Change{Kind: rules.Definition, RuleID: id, Rule: c.rule, Problems: c.warnings}, true
}

// claimant returns the first file by name that claims the rule and qualifies.
func (s *set) claimant(id string, qualifies func(*source) bool) *source {
	var first *source
	for _, c := range s.claims[id] {
		if !c.missing && qualifies(c) && (first == nil || c.name < first.name) {
			first = c
		}
	}
	return first
}

// loses reports whether taking the file in would delete a rule that is live by
// what the file had before.
func (s *set) loses(name string, file *rules.File) bool {
	src := s.sources[name]
	if src == nil {
		return false
	}
	for id := range src.owned {
		if !slices.ContainsFunc(file.Documents, func(d rules.Document) bool { return d.RuleID == id }) {
			return true
		}
	}
	return false
}

func (src *source) holds(id string) bool {
	_, broken := src.broken[id]
	return broken || src.holdAll
}

func (src *source) ids() []string {
	ids := slices.Collect(maps.Keys(src.owned))
	for id := range src.claims {
		if _, ok := src.owned[id]; !ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
