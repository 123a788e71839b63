package fleet

import (
	"cmp"
	"fmt"
	"time"

	"bittern/internal/db"
)

// Status is how a link is.
type Status struct {
	Connected   bool
	Since       time.Time // that it is connected, or that it is not
	Host        string    // its UUID; "" before the first hello
	Schema      int       // of the database
	Synced      time.Time // when the last sync that succeeded was asked for
	RoundTrip   time.Duration
	ClockAhead  time.Duration // ours, of the server's
	Pace        db.Pace
	Generation  int64  // up to which states count
	States      int    // rules that have one
	Wanted      string // publication
	Publication string // that was taken in
	Clone       bool
	Errors      uint64 // since the start
	Error       string // why there is no connection
	StatesError string // why states were not taken in
	RulesError  string // why the publication was not taken in
	ReportError string // why the server was not told which rules run
}

// staleAfter is how many of its intervals a sync may be overdue.
const staleAfter = 3

// Stale says what is older than it should be.
func (s Status) Stale(now time.Time) (what []string) {
	if late := now.Sub(s.Synced); late > staleAfter*s.Pace.Sync+time.Second {
		if s.Synced.IsZero() {
			what = append(what, "states: never read since the start")
		} else {
			what = append(what, fmt.Sprintf("states: read %s ago", late.Round(time.Second)))
		}
	}
	if s.StatesError != "" {
		what = append(what, "states: "+s.StatesError)
	}
	if s.RulesError != "" {
		what = append(what, "rules: "+s.RulesError)
	}
	if s.ReportError != "" {
		what = append(what, "what the fleet knows of this host's rules: "+s.ReportError)
	}
	return what
}

// Status says how the link is.
func (l *Link) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.status
	if l.cfg.Rules != nil {
		s.Publication = l.cfg.Rules.Publication()
	}
	return s
}

// Health is nil while the link holds.
func (l *Link) Health() error {
	s := l.Status()
	switch {
	case !s.Connected && time.Since(s.Since) > l.cfg.Waits.Unsettling:
		return fmt.Errorf("not connected since %s: %s", s.Since.UTC().Format(time.RFC3339), cmp.Or(s.Error, "no answer yet"))
	case s.StatesError != "":
		return fmt.Errorf("states: %s", s.StatesError)
	case s.RulesError != "":
		return fmt.Errorf("rules: %s", s.RulesError)
	case s.ReportError != "":
		return fmt.Errorf("report: %s", s.ReportError)
	case s.Clone:
		return errClone
	}
	return nil
}

// errClone is what is wrong where several machines are one host.
var errClone = fmt.Errorf("several machines say that they are this host (enrol each one by itself: bittern db enroll)")

func (l *Link) update(f func(s *Status)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.status)
}

// problem is the newest one that a heartbeat tells.
func (l *Link) problem() string {
	s := l.Status()
	return cmp.Or(s.StatesError, s.RulesError, s.ReportError)
}

// connected says that a session begins.
func (l *Link) connected() {
	s := l.Status()
	l.update(func(s *Status) { s.Connected, s.Since, s.Error = true, time.Now(), "" })
	l.log.Info("connected to the fleet's database", "host", s.Host, "schema", s.Schema, "clock_ahead", s.ClockAhead.Round(time.Millisecond).String())
	if s.ClockAhead.Abs() > clockWithin {
		l.log.Warn("this host's clock differs from the database's", "ahead", s.ClockAhead.Round(time.Millisecond).String())
	}
}

// clockWithin is by how much clocks may differ.
const clockWithin = 5 * time.Second

// lost says that a session has ended, or that there was none.
func (l *Link) lost(err error, wait time.Duration) {
	if err == nil {
		err = errClosed
	}
	before := l.Status()
	l.update(func(s *Status) {
		if s.Connected {
			s.Connected, s.Since = false, time.Now()
		}
		s.Errors++
		s.Error = err.Error()
	})
	if before.Connected || before.Error != err.Error() { // else it was said
		l.log.Error("no connection to the fleet's database, it is tried again", "error", err, "wait", wait.Round(time.Millisecond).String())
	}
}

// fails notes what is wrong beside the connection, and reports whether that is news.
func (l *Link) fails(field *string, err error) (news bool) {
	text := err.Error()
	l.update(func(s *Status) {
		s.Errors++
		news = *field != text
		*field = text
	})
	return news
}

func (l *Link) mended(field *string) { l.update(func(*Status) { *field = "" }) }

func (l *Link) clone(is bool) {
	was := l.Status().Clone
	l.update(func(s *Status) { s.Clone = is })
	if is && !was {
		l.log.Error("several machines say that they are this host", "hint", "enrol each one by itself: bittern db enroll")
	}
}
