package outbox

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrNone says that there is no outbox in a directory.
var ErrNone = errors.New("there is none")

// errBusy says that the files came and went faster than they could be opened.
var errBusy = errors.New("an agent changes it faster than it can be read: try again")

// errReadOnly is what whoever only looks must not do.
var errReadOnly = errors.New("the outbox is open for reading only")

// readOnly is a directory in which nothing can be changed.
type readOnly struct{ path string }

func (d readOnly) List() ([]string, error) { return directory(d).List() }

func (d readOnly) Open(name string) (file, error) {
	f, err := os.Open(filepath.Join(d.path, name))
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (readOnly) Create(string, int64) (file, error) { return nil, errReadOnly }
func (readOnly) Rename(string, string) error        { return errReadOnly }
func (readOnly) Remove(string) error                { return errReadOnly }
func (readOnly) Sync() error                        { return errReadOnly }

// view is an outbox at one moment, as its files say. The segments are open, so that they stay readable when an agent
// removes them.
type view struct {
	disk   readOnly
	opened map[string]*segment
	broken map[string]error // segments that can't be read, by name
	left   []string         // files that were never finished
	upTo   uint64           // sequence of the last record that counts

	tiers    [tiers][]*segment
	obsolete []*segment // others have taken their place, or they were given up
	cursors  [cursorPlaces]cursor
	book     book
	problems []Problem // of other files than segments
}

// look opens the files of an outbox. A record that is in the view has all before it in the view too, as far as they are in the
// outbox: an agent may append while we look, so we look twice, and take what is there the second time up to what was the first.
func look(dir string) (_ *view, err error) {
	v := &view{disk: readOnly{dir}, opened: make(map[string]*segment), broken: make(map[string]error)}
	defer func() {
		if err != nil {
			v.close()
			err = fmt.Errorf("reading the outbox %s: %w", dir, err)
		}
	}()
	if err := v.open(); err != nil {
		return nil, err
	}
	v.upTo = v.settle()
	if err := v.open(); err != nil {
		return nil, err
	}
	v.settle()
	// In this order: a segment that an agent gives up meanwhile is in the ledger, which says so.
	if err := v.readCursors(); err != nil {
		return nil, err
	}
	if err := v.readLedger(); err != nil {
		return nil, err
	}
	v.sort()
	v.retry()
	return v, nil
}

func (v *view) close() {
	for _, s := range v.opened {
		_ = s.close() // nothing was written
	}
}

// mostLooks bounds how often files are listed that an agent keeps removing.
const mostLooks = 100

// open opens all segments that there are, and closes those that are there no more.
func (v *view) open() error {
	for range mostLooks {
		names, err := v.disk.List()
		if errors.Is(err, fs.ErrNotExist) {
			return ErrNone
		} else if err != nil {
			return err
		}
		if !slices.ContainsFunc(names, isOurs) {
			return ErrNone
		}
		complete, err := v.openAll(names)
		if err != nil {
			return err
		}
		if again, err := v.disk.List(); err != nil {
			return err
		} else if complete && !v.unseen(again) {
			return nil
		}
	}
	return errBusy
}

// isOurs reports whether a file belongs to an outbox.
func isOurs(name string) bool {
	_, _, _, ok := parseSegmentName(name)
	return ok || name == lockFile || name == ledgerFile || name == cursorsFile
}

// openAll opens the segments among files; complete says that none of them has gone.
func (v *view) openAll(names []string) (complete bool, err error) {
	clear(v.broken)
	v.left = nil
	complete = true
	for _, name := range names {
		if _, _, _, ok := parseSegmentName(name); !ok {
			if _, _, _, unfinished := parseSegmentName(strings.TrimSuffix(name, newSuffix)); unfinished {
				v.left = append(v.left, name)
			}
			continue
		}
		if v.opened[name] != nil {
			continue
		}
		s, err := v.openOne(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			complete = false
		case errors.Is(err, errDamaged), errors.Is(err, errEmpty), errors.Is(err, errFormat):
			v.broken[name] = err
		case err != nil:
			return false, err
		default:
			v.opened[name] = s
		}
	}
	for name, s := range v.opened {
		if !slices.Contains(names, name) {
			delete(v.opened, name)
			_ = s.close() // nothing was written
		}
	}
	return complete, nil
}

// openOne opens a segment. An agent may be writing its header.
func (v *view) openOne(name string) (*segment, error) {
	for try := 1; ; try++ {
		s, err := openSegment(v.disk, name)
		if try == 3 || !errors.Is(err, errDamaged) && (err != nil || !s.guessed) {
			return s, err
		}
		if err == nil {
			_ = s.close() // nothing was written
		}
	}
}

// retry forgets those of the segments that could not be read which an agent was making just then: none of their records is in the view.
func (v *view) retry() {
	for name := range v.broken {
		s, err := openSegment(v.disk, name)
		if err == nil {
			_ = s.close() // nothing was written
		}
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			delete(v.broken, name)
		}
	}
}

// unseen reports whether there is a segment that is not the view's, and has what may have been in one of those, such as
// one into which it was put together meanwhile. Those that an agent began meanwhile don't count.
func (v *view) unseen(names []string) bool {
	var last [tiers]uint64
	for _, s := range v.opened {
		last[s.tier] = max(last[s.tier], s.first)
	}
	return slices.ContainsFunc(names, func(name string) bool {
		tier, first, _, ok := parseSegmentName(name)
		return ok && v.opened[name] == nil && v.broken[name] == nil && first <= last[tier]
	})
}

// settle finds the ends of the segments that may be appended to, and returns the sequence of the last record of all.
func (v *view) settle() (last uint64) {
	var lasts [tiers]*segment
	for _, s := range v.opened {
		if in := &lasts[s.tier]; *in == nil || (*in).first < s.first || (*in).first == s.first && (*in).made < s.made {
			*in = s
		}
	}
	for _, s := range v.opened {
		if !s.sealed || s == lasts[s.tier] {
			last = max(last, settle(s))
		}
	}
	return last
}

// settle finds the end of a segment that may be appended to, and returns the sequence of its last record. What is before the
// end does not change any more: whoever reads it again reads all of what an agent was writing.
func settle(s *segment) (last uint64) {
	if size, err := s.file.Size(); err == nil {
		s.size = size
	}
	s.end.Store(s.size)
	end := scan(s.load(), s.tier, func(r Record, _ int) bool {
		last = r.Seq
		return true
	})
	if !s.sealed {
		s.end.Store(int64(segmentHead + end))
	}
	return last
}

// sort puts the segments in order.
func (v *view) sort() {
	var found [tiers][]*segment
	for _, s := range v.opened {
		if slices.Contains(v.book.Given, hex.EncodeToString(s.id[:])) {
			v.obsolete = append(v.obsolete, s)
			continue
		}
		found[s.tier] = append(found[s.tier], s)
	}
	for tier := range found {
		live, obsolete := arrange(found[tier])
		v.tiers[tier] = live
		v.obsolete = append(v.obsolete, obsolete...)
	}
	slices.SortFunc(v.obsolete, func(a, b *segment) int { return strings.Compare(a.name, b.name) })
}
