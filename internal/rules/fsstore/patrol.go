package fsstore

import (
	"crypto/sha256"
	"maps"
	"slices"
	"sync/atomic"
	"time"
)

// patrol is what is known of the rescan that goes on all the time, a few files at
// once. It is for what makes no event: writing through a shared mapping, through
// another name of a file, or to the target of a symbolic link; mounts; and what a
// file system does not report. It reads, since the time of a file tells nothing.
type patrol struct {
	interval time.Duration // of a round: once to each file
	due      time.Time     // when the next look is

	left  []string // names of this round that are still to be looked at
	step  time.Duration
	batch int // names at each look

	// doubts are findings that need not have been missed, by name: while somebody
	// has a file open for writing, the event may be still to come. They are believed
	// if they are the same after a while.
	doubts map[string]doubt
	while  time.Duration
	moved  bool // the same, of the directory: in doubt until the next look
}

type doubt struct {
	sum   digest
	since time.Time
}

// Bounds of the time from one look to the next.
const (
	stepLeast = time.Second
	stepMost  = 10 * time.Second
)

// doubtLeast is how long a finding that is in doubt has to stay the same. A writer
// that waits for a processor has no event made by then either.
const doubtLeast = 10 * time.Second

// drainMost is how many reads of events one look may take in.
const drainMost = 16

func newPatrol(interval time.Duration, now time.Time) *patrol {
	if interval <= 0 {
		return nil
	}
	p := &patrol{interval: interval, doubts: map[string]doubt{}, while: max(interval, doubtLeast)}
	p.step, p.batch = pace(interval, 0)
	p.due = now.Add(p.step)
	return p
}

// pace spreads looks at files over an interval: how long it is from one to the
// next, and how many files each is at.
func pace(interval time.Duration, files int) (step time.Duration, batch int) {
	files = max(files, 1)
	step = min(max(interval/time.Duration(files), stepLeast), stepMost, interval)
	return step, int((time.Duration(files)*step + interval - 1) / interval)
}

// SetRescan changes how long it takes to read all files once more, see Config.Rescan; 0 for never. A round that is
// going on ends.
func (s *Store) SetRescan(interval time.Duration) error {
	cfg := s.cfg
	cfg.Rescan = interval
	if err := cfg.Validate(); err != nil {
		return err
	}
	s.rescan.Store(int64(interval))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w != nil {
		s.w.Wake() // it may wait for longer than that
	}
	return nil
}

// pacePatrol takes in what SetRescan has said.
func (l *loop) pacePatrol(now time.Time) {
	interval := time.Duration(l.store.rescan.Load())
	switch {
	case l.patrol == nil && interval == 0, l.patrol != nil && l.patrol.interval == interval:
	default:
		l.patrol = newPatrol(interval, now)
	}
}

// Stats counts what the rescan did.
type Stats struct {
	Rescans uint64 // rounds: each reads all files once
	Missed  uint64 // edits that it found and no event had told of
}

type stats struct{ rescans, missed atomic.Uint64 }

// Stats returns the counts since the store was made. It takes no lock.
func (s *Store) Stats() Stats {
	return Stats{Rescans: s.stats.rescans.Load(), Missed: s.stats.missed.Load()}
}

// step does what the patrol has to do by now.
func (l *loop) step(now time.Time) error {
	l.pacePatrol(now)
	p := l.patrol
	if p == nil || now.Before(p.due) {
		return nil
	}
	err := l.look()
	p.due = time.Now().Add(p.step)
	return err
}

// look looks whether the directory is the one that is watched, and at the next
// few files.
func (l *loop) look() error {
	p := l.patrol
	if l.root.moved() {
		if _, _, err := l.drain(); err != nil {
			return err
		}
	}
	if l.root.moved() {
		// An event on the way to it may yet come: it is queued after the path has changed.
		if p.moved = !p.moved; p.moved {
			return nil
		}
		l.missed(l.cfg.Dir, "the path leads to another directory", "mounts make no events")
		return l.renew(newDirty(time.Now()))
	}
	p.moved = false
	if l.gone || !l.root.enter() {
		return nil
	}
	if len(p.left) == 0 {
		names, err := entries(l.root.dir)
		if err != nil {
			return err
		}
		for name := range l.store.set.sources {
			names = append(names, name)
		}
		slices.Sort(names)
		p.left = slices.Compact(names)
		maps.DeleteFunc(p.doubts, func(name string, _ doubt) bool { return !slices.Contains(p.left, name) })
		p.step, p.batch = pace(p.interval, len(p.left))
	}
	chunk := p.left[:min(p.batch, len(p.left))]
	p.left = p.left[len(chunk):]
	err := l.compare(chunk)
	if len(p.left) == 0 {
		l.store.stats.rescans.Add(1)
	}
	return err
}

// compare takes in what differs from what is known, and no event has told of.
func (l *loop) compare(names []string) error {
	differ := map[string]finding{}
	for _, name := range names {
		if found, ok := l.differs(name); ok {
			differ[name] = found
		} else {
			delete(l.patrol.doubts, name)
		}
	}
	if len(differ) == 0 {
		return nil
	}
	// Who makes, renames or removes a name holds the directory's lock until the event
	// is queued, and listing takes that lock. Who closes a file counts as its writer
	// until then. So the events of all that was found for sure are queued by now.
	if _, err := entries(l.root.dir); err != nil {
		return err
	}
	told, all, err := l.drain()
	if err != nil || !all || l.gone || l.root.dir < 0 {
		return err // they are looked at again in the next round
	}
	work := newDirty(time.Now())
	for _, name := range names {
		before, was := differ[name]
		now, still := l.differs(name)
		if !was || !still || told[name] || now.sum != before.sum || l.doubts(name, before) {
			continue
		}
		l.missed(l.file(name), now.what, now.why)
		*work.hint(name) = hint{written: true, removed: true}
	}
	l.refresh(work)
	return nil
}

// finding is how a file differs from what is known of it.
type finding struct {
	sum  digest // identifies the finding
	sure bool   // nobody was about to make an event
	what string
	why  string // no event told of it, as far as that is known
}

func (l *loop) differs(name string) (finding, bool) {
	if _, ok := l.busy[name]; ok {
		return finding{}, false // it is looked at anyway
	}
	if _, ok := l.vanished[name]; ok {
		return finding{}, false
	}
	if l.held != nil && l.held.work.hints[name] != nil {
		return finding{}, false // it waits with its set
	}
	src := l.store.set.sources[name]
	r := read(l.root.dir, name, l.cfg.MaxBytes, false)
	found := finding{why: "no event came"}
	if r.link {
		found.why = "it is a symbolic link, and what it leads to is not watched"
	}
	switch r.state {
	case content:
		found.sum, found.what = sha256.Sum256(r.data), "it has other content"
		if src == nil {
			found.what = "it is new"
		}
		if src != nil && src.judged && src.sum == found.sum {
			return finding{}, false
		}
		found.sure = settled(l.root.dir, name, r.stamp, true)
		return found, true
	case unusable:
		found.sum, found.what = sha256.Sum256([]byte(r.message)), r.message
		return found, src == nil || src.bad == nil || src.bad.Message != r.message
	case absent:
		found.sure, found.what = true, "it is gone"
		return found, src != nil
	default:
		return finding{}, false // it changes at this moment
	}
}

// doubts reports whether a finding need not have been missed.
func (l *loop) doubts(name string, found finding) bool {
	p := l.patrol
	before, again := p.doubts[name]
	again = again && before.sum == found.sum
	if found.sure || again && time.Since(before.since) >= p.while {
		delete(p.doubts, name)
		return false
	}
	if !again {
		p.doubts[name] = doubt{found.sum, time.Now()}
	}
	return true
}

// drain takes in the events that are queued, and returns which files they told of;
// false if they did not end, or told of everything.
func (l *loop) drain() (told map[string]bool, all bool, err error) {
	told = map[string]bool{}
	for range drainMost {
		batch, err := l.queued()
		if err != nil {
			return nil, false, err
		}
		if len(batch.Events) == 0 && batch.Rescan == 0 {
			return told, true, nil
		}
		for _, e := range batch.Events {
			name, ok := l.root.nameOf(e)
			if !ok {
				continue
			}
			told[name] = true
			for _, file := range l.leading[name] {
				told[file] = true
			}
		}
		if err := l.handle(batch); err != nil || batch.Rescan != 0 {
			return nil, false, err
		}
	}
	return nil, false, nil
}

// missed says that there was an edit without an event, and counts it.
func (l *loop) missed(path, what, why string) {
	l.store.stats.missed.Add(1)
	l.log.Warn("rescan found what events missed", "path", path, "found", what, "reason", why)
}
