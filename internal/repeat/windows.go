package repeat

import (
	"container/list"
	"time"

	"bittern/internal/rules"
)

// Interim is how long a window's count stays untold, while the window goes on.
const Interim = time.Minute

// Bounds of what is kept, in windows.
const (
	DefaultMost       = 16384
	DefaultMostOfRule = 4096
)

// Verdict is what becomes of a detection.
type Verdict uint8

// The verdicts.
const (
	Write     Verdict = iota
	HoldFirst         // it was counted, as the first one of its window
	Hold              // it was counted
	Unlimited         // write it: there was no room for its window, or the journal is broken
)

// Told is a part of a window's count that is to be written as a record. Record and part have the same
// ID if they are told again.
type Told struct {
	*Window
	Count uint64
	Over  bool // the window has ended
}

// ID names it for good.
func (t Told) ID() []any {
	from := t.Source
	return []any{"repeats", t.Boot, t.Rule.ID, t.Rule.Hash, from.Per, from.PID, from.Start, from.User, t.Opened, t.Announced}
}

// Config is what Windows need. Boot and Tell are required.
type Config struct {
	Boot             string // id of this boot
	Journal          *Journal
	Tell             func(Told) error // writes a record
	Broken           func(error)      // is called once, when the journal can't be written
	Most, MostOfRule int              // windows; 0 means the default
}

// Windows are all that are open. They must not be used by several goroutines at once.
//
// What they answer for a record of the kernel holds until it is given back to the kernel. Tick, Flush and Close may
// forget it, so they must be called only while there is no such record: neither a record that was
// judged and not given back, nor one that an agent before us may have judged and not given back.
type Windows struct {
	cfg       Config
	open      map[key]*Window
	rules     map[rules.Hash]*ofRule
	forgotten uint64
	broken    bool
}

// ofRule are the windows of one rule version.
type ofRule struct {
	rule    *rules.Rule
	windows int
	quiet   list.List // of *Window: nothing is held; the one that has waited longest is first
}

// New takes up the windows of the agents before us, and tells what they were about to tell.
func New(cfg Config, before []*Window) (*Windows, error) {
	if cfg.Most == 0 {
		cfg.Most = DefaultMost
	}
	if cfg.MostOfRule == 0 {
		cfg.MostOfRule = DefaultMostOfRule
	}
	w := &Windows{cfg: cfg, open: make(map[key]*Window), rules: make(map[rules.Hash]*ofRule)}
	for _, win := range before {
		w.add(win)
	}
	for _, win := range before {
		if win.Announced == win.Told {
			continue
		}
		if err := w.finish(win, false); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Open returns how many windows are open.
func (w *Windows) Open() int { return len(w.open) }

// Rules returns the rule versions that have windows.
func (w *Windows) Rules() []*rules.Rule {
	all := make([]*rules.Rule, 0, len(w.rules))
	for _, of := range w.rules {
		all = append(all, of.rule)
	}
	return all
}

// Forgotten returns how many windows have been given up for others. None of them had held anything.
func (w *Windows) Forgotten() uint64 { return w.forgotten }

// Judge says what becomes of a detection of a rule with a limit, and keeps the answer. An error is that of Tell.
func (w *Windows) Judge(r *rules.Rule, from Source, executable string, at Moment) (Verdict, error) {
	if w.broken {
		return Unlimited, nil
	}
	win := w.open[key{r.Hash, from}]
	if win != nil && win.Record == at.Record {
		return win.answer(), nil
	}
	if win != nil && at.Uptime >= win.end() {
		if err := w.close(win); err != nil || w.broken {
			return Unlimited, err
		}
		win = nil
	}
	if win == nil {
		if !w.room(r) {
			return Unlimited, nil
		}
		win = &Window{Rule: r, Source: from, Executable: executable, Boot: w.cfg.Boot, Opened: at.Uptime, Began: at.Time}
		if err := w.cfg.Journal.begin(win); err != nil {
			return Unlimited, w.fail(err)
		}
		w.add(win)
	}
	before := *win
	win.Record, win.LastHeld = at.Record, win.Written >= uint64(r.Limit.Max)
	if win.LastHeld {
		win.hold(at)
	} else {
		win.Written++
	}
	if err := w.cfg.Journal.save(win); err != nil {
		*win = before // it is not counted, but written
		return Unlimited, w.fail(err)
	}
	w.touch(win)
	if win.LastHeld && win.Held == 1 {
		return HoldFirst, nil
	}
	return win.answer(), nil
}

func (w *Window) answer() Verdict {
	if w.LastHeld {
		return Hold
	}
	return Write
}

// Tick ends the windows that are over, and tells what others hold if they have not told anything for long. All
// that happened before horizon has been judged; both times are since boot. live says whether a rule
// version still is.
func (w *Windows) Tick(now, horizon time.Duration, live func(rules.Hash) bool) error {
	for _, win := range w.open {
		if live(win.Rule.Hash) {
			win.retired = 0
		} else if win.retired == 0 {
			win.retired = now
		}
		over := horizon >= win.end() || win.retired != 0 && horizon >= win.retired || win.Boot != w.cfg.Boot
		var err error
		switch {
		case over:
			err = w.close(win)
		case win.Held > win.Told && now-win.ToldAt >= Interim:
			win.ToldAt = now
			err = w.tell(win, false)
		}
		if err != nil {
			return err
		}
	}
	w.cfg.Journal.sweep(func(version rules.Hash) bool { return w.rules[version] != nil })
	return nil
}

// Flush tells all that is held; windows go on.
func (w *Windows) Flush() error {
	for _, win := range w.open {
		if err := w.tell(win, false); err != nil {
			return err
		}
	}
	return nil
}

// Close ends all windows.
func (w *Windows) Close() error {
	for _, win := range w.open {
		if err := w.close(win); err != nil {
			return err
		}
	}
	return nil
}

// close ends a window, and tells what it holds.
func (w *Windows) close(win *Window) error {
	if err := w.tell(win, true); err != nil || w.broken {
		return err
	}
	w.remove(win)
	return w.fail(w.cfg.Journal.free(win))
}

// tell tells what a window holds, if that is anything. First it notes that it is about to: whoever comes
// after us then tells just that, and knows it again in the output.
func (w *Windows) tell(win *Window, over bool) error {
	if win.Held == win.Told {
		return nil
	}
	win.Announced = win.Held
	if err := w.cfg.Journal.save(win); err != nil {
		return w.fail(err) // which tells it
	}
	return w.finish(win, over)
}

// finish tells what was announced.
func (w *Windows) finish(win *Window, over bool) error {
	if err := w.cfg.Tell(Told{win, win.Announced - win.Told, over}); err != nil {
		return err
	}
	win.Told = win.Announced
	return w.fail(w.cfg.Journal.save(win))
}

// fail gives the limits up when the journal can't be written, with a nil error it does nothing. What
// is held is told, and everything is written from then on.
func (w *Windows) fail(err error) error {
	if err == nil || w.broken {
		return nil
	}
	w.broken = true
	w.cfg.Broken(err)
	w.cfg.Journal.discard()
	for _, win := range w.open {
		w.remove(win)
		if win.Announced = win.Held; win.Held == win.Told {
			continue
		}
		if err := w.cfg.Tell(Told{win, win.Held - win.Told, true}); err != nil {
			return err
		}
		win.Told = win.Held
	}
	return nil
}

// room makes room for a window of a rule. One that has not held anything can be given up: should its source come
// again, more is written, not less.
func (w *Windows) room(r *rules.Rule) bool {
	of := w.rules[r.Hash]
	if len(w.open) < w.cfg.Most && (of == nil || of.windows < w.cfg.MostOfRule) {
		return true
	}
	if of == nil || of.quiet.Len() == 0 {
		return false
	}
	oldest := of.quiet.Front().Value.(*Window)
	w.remove(oldest)
	w.cfg.Journal.reuse(oldest)
	w.forgotten++
	return true
}

func (w *Windows) add(win *Window) {
	w.open[win.key()] = win
	of := w.rules[win.Rule.Hash]
	if of == nil {
		of = &ofRule{rule: win.Rule}
		w.rules[win.Rule.Hash] = of
	}
	of.windows++
	w.touch(win)
}

// touch notes that a window was used.
func (w *Windows) touch(win *Window) {
	of := w.rules[win.Rule.Hash]
	switch {
	case win.Held > 0:
		of.forget(win)
	case win.quiet != nil:
		of.quiet.MoveToBack(win.quiet)
	default:
		win.quiet = of.quiet.PushBack(win)
	}
}

func (w *Windows) remove(win *Window) {
	delete(w.open, win.key())
	of := w.rules[win.Rule.Hash]
	of.forget(win)
	if of.windows--; of.windows == 0 {
		delete(w.rules, win.Rule.Hash)
	}
}

// forget takes a window from the quiet ones, if it is one.
func (of *ofRule) forget(win *Window) {
	if win.quiet != nil {
		of.quiet.Remove(win.quiet)
		win.quiet = nil
	}
}
