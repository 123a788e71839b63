package fsstore

import (
	"bytes"
	"crypto/sha256"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bittern/internal/rules"
)

// Files that are being written are looked at again after 1, 2, 4 ms and so on,
// since not every end of writing makes an event: none comes for a file that was
// linked into the directory while it was open. Whoever closes a file that has
// the name makes one, and needs no such look.
const (
	busyFirst = time.Millisecond
	busyMost  = 250 * time.Millisecond
	// busyLong is when a file that was closed once is taken as it is, although
	// somebody still has it open; and when others are reported.
	busyLong = 2 * time.Second
)

// inspectShare is how many names are worth another goroutine.
const inspectShare = 16

// refresh looks at each dirty name and takes in what it finds.
func (l *loop) refresh(work *dirty) { l.refreshWithin(work, l.cfg.DeleteGrace) }

func (l *loop) refreshWithin(work *dirty, grace time.Duration) {
	if l.root.dir < 0 {
		return
	}
	if l.held != nil {
		l.take(work)
		l.attempt(grace)
		return
	}
	updates := make([]update, 0, len(work.order))
	absentNow := map[string]bool{}
	all := l.inspectAll(work)
	switch l.meanwhile() {
	case held:
		l.take(work)
		return
	case unknown:
		l.redo = work // with all else
		return
	}
	for i, found := range all {
		name := work.order[i]
		u, ok := l.conclude(name, *work.hints[name], work.seen, found)
		if !ok {
			continue
		}
		absentNow[name] = u.kind == miss
		u.seen = work.seen
		updates = append(updates, u)
	}
	for _, r := range work.renames {
		at := slices.IndexFunc(updates, func(u update) bool { return u.name == r.to })
		if at >= 0 && absentNow[r.from] && !absentNow[r.to] {
			updates[at].from = r.from
		}
	}
	for i, u := range updates {
		switch {
		case u.kind != miss:
			delete(l.vanished, u.name)
		case grace <= 0:
			updates[i].kind = drop
			l.leads(u.name, nil)
		case l.vanished[u.name].due.IsZero():
			l.vanished[u.name] = vanished{seen: work.seen, due: time.Now().Add(grace)}
		}
	}
	if len(updates) > 0 {
		l.apply(updates, l.set(work.switched, false))
	}
}

// inspection is what was found under a name, compiled if it is new.
type inspection struct {
	reading
	sum  digest
	same bool        // content: the set has it already
	file *rules.File // content that is new; nil if there is nothing in it
}

// inspectAll inspects all dirty names. Of many, as at the start or after a checkout,
// several are compiled at once; what is done with them stays in order.
func (l *loop) inspectAll(work *dirty) []inspection {
	found := make([]inspection, len(work.order))
	share(len(work.order), func(i int) {
		name := work.order[i]
		found[i] = l.inspect(name, *work.hints[name])
	})
	return found
}

// share does each of n things. Of many, several are done at once.
func share(n int, do func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), (n+inspectShare-1)/inspectShare)
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			do(i)
		}
	}
	var others sync.WaitGroup
	for range workers - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
}

// inspect reads and compiles one file. It changes nothing, so that several can be
// at it at once.
func (l *loop) inspect(name string, h hint) inspection {
	found := inspection{reading: read(l.root.dir, name, l.cfg.MaxBytes, !h.written)}
	if found.state != content {
		return found
	}
	// Only the loop's goroutine writes the set, and it waits for us.
	found.sum = sha256.Sum256(found.data)
	src := l.store.set.sources[name]
	if found.same = src != nil && src.judged && src.sum == found.sum; found.same {
		return found
	}
	if list, ok := ListOf(name); ok {
		found.file = rules.ParseList(list, l.file(name), found.data, rules.Options{MaxBytes: int(l.cfg.MaxBytes)})
		return found
	}
	if blank(found.data) {
		return found
	}
	if l.held != nil {
		if p, ok := l.held.parsed[name]; ok && p.sum == found.sum {
			found.file = p.file
			return found
		}
	}
	file := l.cfg.Parse(l.file(name), found.data, l.store.set.lists.now())
	if len(file.Documents) > 0 || len(file.Lists) > 0 || len(file.Problems) > 0 {
		found.file = file
	}
	return found
}

// conclude decides what becomes of one file; false if that is nothing yet.
func (l *loop) conclude(name string, h hint, seen time.Time, found inspection) (update, bool) {
	delete(l.busy, name)
	if found.link {
		l.leads(name, linksOf(l.root.dir, name))
	} else if found.state != absent {
		l.leads(name, nil)
	}
	switch found.state {
	case absent:
		// Without an event that says so, one is still to come.
		return update{kind: miss, name: name}, h.removed
	case unusable:
		return l.unreadable(name, found.reading), true
	case open, unstable:
		return l.putOff(name, h, seen), true
	}
	if found.same {
		return update{kind: confirm, name: name}, true
	}
	if l.doubtful(name, h, found) {
		return l.putOff(name, h, seen), true
	}
	return update{kind: judge, name: name, path: l.file(name), sum: found.sum, file: found.file, data: found.data}, true
}

// doubtful reports whether content had better not be believed yet: it is wrong
// or lacks what was there, and the file is being written. Content that is right
// is taken at once, whoever has the file open, but in a set: what is still to be written may
// belong to it; and but for lists: half a list is right, and not what its writer means.
func (l *loop) doubtful(name string, h hint, found inspection) bool {
	file := found.file
	switch {
	case file == nil || len(found.data) == 0:
		if !h.written && h.tries == 0 {
			return true // just made: its writer may not even have it open yet
		}
	case l.held == nil && len(file.Lists) == 0 && !file.AllProblems().Failed() && !l.store.set.loses(name, file):
		return false
	}
	if h.written && h.tries > 0 && time.Since(h.first) >= busyLong {
		return false
	}
	return !settled(l.root.dir, name, found.stamp, false)
}

// putOff has the file looked at again later, if no event comes before.
func (l *loop) putOff(name string, h hint, seen time.Time) update {
	now := time.Now()
	if h.tries == 0 {
		h.first = now
	}
	delay := min(busyFirst<<min(h.tries, 16), busyMost)
	h.tries++
	l.busy[name] = busy{hint: h, seen: seen, due: now.Add(delay)}
	if now.Sub(h.first) >= busyLong {
		return update{kind: wait, name: name, path: l.file(name)}
	}
	return update{kind: confirm, name: name}
}

// leads records which names of the directory a file leads through.
func (l *loop) leads(name string, through []string) {
	if slices.Equal(l.through[name], through) {
		return
	}
	for _, t := range l.through[name] {
		left := slices.DeleteFunc(l.leading[t], func(n string) bool { return n == name })
		if len(left) == 0 {
			delete(l.leading, t)
		} else {
			l.leading[t] = left
		}
	}
	if len(through) == 0 {
		delete(l.through, name)
		return
	}
	l.through[name] = through
	for _, t := range through {
		l.leading[t] = append(l.leading[t], name)
	}
}

// blank reports whether a file has nothing but comments and document marks, so
// that it is not worth parsing.
func blank(data []byte) bool {
	for line := range bytes.Lines(data) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && !bytes.Equal(line, []byte("---")) {
			return false
		}
	}
	return true
}
