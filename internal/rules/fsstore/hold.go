package fsstore

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"bittern/internal/inotify"
	"bittern/internal/rules"
)

// HoldName is the name of a file that holds the rules directory as long as it is there:
// edits made meanwhile are one set, which takes effect as a whole when it is removed. It
// may say who made it, and why.
const HoldName = ".hold"

// defaultHoldLong is how old a hold becomes before it is reported.
const defaultHoldLong = 5 * time.Minute

// gathered is a set of edits while it is gathered, and until all of it is right. The loop has one
// from when the hold file is made until the set has taken effect; meanwhile it takes in
// nothing else.
type gathered struct {
	hold bool      // the hold file is there
	due  time.Time // when the hold is to be reported; zero if it was
	// early: the hold was there at the start, and so what was loaded may be half of a set.
	early bool

	work   *dirty // the names that may differ
	again  time.Time
	parsed map[string]parsed // what was compiled for an attempt before
	told   digest            // what was announced of the last attempt
}

type parsed struct {
	sum  digest
	file *rules.File
}

// holdEvent reports whether an event means that the hold was made or removed.
func (l *loop) holdEvent(e inotify.Event) bool { return e.Name == HoldName && l.root.isDir(e) }

// take begins a set, if there is none, with what was not taken in yet.
func (l *loop) take(work *dirty) {
	if l.held == nil {
		l.held = &gathered{work: newDirty(work.seen), parsed: map[string]parsed{}}
	}
	h := l.held
	for name := range l.vanished {
		h.work.hint(name).removed = true
	}
	for name, b := range l.busy {
		*h.work.hint(name) = b.hint
	}
	clear(l.vanished)
	clear(l.busy)
	h.work.add(work)
}

// lookForHold finds out whether the hold is there, and returns that.
func (l *loop) lookForHold() bool {
	h := l.held
	var st unix.Stat_t
	was := h.hold
	h.hold = l.root.dir >= 0 && unix.Fstatat(l.root.dir, HoldName, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
	switch {
	case h.hold && !was:
		since := time.Unix(st.Mtim.Unix())
		h.due = time.Now().Add(min(max(l.cfg.HoldLong-time.Since(since), 0), l.cfg.HoldLong))
		h.again = time.Time{}
		by := l.holder()
		l.log.Info("rules directory is held, edits wait until the hold is removed", "file", l.file(HoldName), "says", by)
		l.store.hold(rules.Problem{
			Pos: rules.Position{File: l.file(HoldName)}, Warning: true,
			Message: "rules directory is held since " + since.Format(time.RFC3339) + said(by) + ": edits wait",
			Hint:    "they take effect together when the file is removed",
		}, nil)
	case !h.hold && was:
		h.due, h.early = time.Time{}, false
		l.log.Info("rules directory is no longer held", "file", l.file(HoldName))
		l.store.hold(rules.Problem{}, nil)
	}
	return h.hold
}

// overdue reports a hold that is there for long, or was there at the start.
func (l *loop) overdue() {
	h := l.held
	h.due = time.Time{}
	since := time.Now()
	var st unix.Stat_t
	if unix.Fstatat(l.root.dir, HoldName, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		since = time.Unix(st.Mtim.Unix())
	}
	problem := rules.Problem{
		Pos:     rules.Position{File: l.file(HoldName)},
		Message: fmt.Sprintf("rules directory is held since %s%s: no edit takes effect", since.Format(time.RFC3339), said(l.holder())),
		Hint:    "if whoever made it is gone, put the rules in order, then: rm " + l.file(HoldName),
	}
	if h.early {
		problem.Message = strings.Replace(problem.Message, ": no edit", ", and was when the agent started: what is loaded may be half of a set, and no edit", 1)
	}
	l.store.hold(problem, &rules.Change{Kind: rules.Rejected, Problems: rules.Problems{problem}, Seen: time.Now()})
}

// maxHolder is how many bytes are shown of what a hold says.
const maxHolder = 200

// holder is the first line of the hold file; "" if that says nothing.
func (l *loop) holder() string { return Holder(filepath.Join(l.path, HoldName)) }

// Holder returns what a hold file says of who made it: its first line, shortened.
func Holder(path string) string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	buf := make([]byte, maxHolder)
	n, _ := file.Read(buf) // an empty file says nothing, and one that can't be read neither
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(line, "")))
}

func said(by string) string {
	if by == "" {
		return ""
	}
	return " (" + by + ")"
}

// meanwhile is what happened while files were read.
type meanwhile uint8

const (
	nothing meanwhile = iota + 1
	held              // a hold came, or went
	unknown           // events were lost
)

// meanwhile reports whether what was just read can be of a set that began before it was read:
// whoever makes the hold before the first edit of the set has by then made an event, which
// is queued. What is queued is kept for later.
func (l *loop) meanwhile() meanwhile {
	if !l.ready {
		return nothing // what is there is loaded
	}
	for {
		more, err := l.w.TryRead()
		if err != nil {
			l.failed = err
			return unknown
		}
		if len(more.Events) == 0 && more.Rescan == 0 {
			break
		}
		if l.ahead == nil {
			l.ahead = &inotify.Batch{At: more.At}
		}
		l.ahead.Events = append(l.ahead.Events, more.Events...)
		l.ahead.Rescan |= more.Rescan
	}
	switch {
	case l.ahead == nil:
		return nothing
	case l.ahead.Rescan&inotify.Overflow != 0:
		return unknown
	case slices.ContainsFunc(l.ahead.Events, l.holdEvent):
		return held
	}
	return nothing
}
