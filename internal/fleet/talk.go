package fleet

import (
	"context"
	"reflect"
	"time"

	"bittern/internal/db"
	"bittern/internal/rules/fleetstate"
)

// talk is one session, and what was said in it.
type talk struct {
	*Link
	session   *db.Session
	works     bool
	pace      db.Pace
	inventory db.Inventory
	told      db.Report // the last one; its Ruleset is "" before
	reports   retry
	states    retry
	wanted    string // publication
	rules     retry
	beat      time.Time // when a heartbeat is due
}

// retry spaces attempts at something that the server, or what it has given, does not allow at present.
type retry struct {
	attempts int
	at       time.Time
}

func (r *retry) due() bool { return !time.Now().Before(r.at) }

func (r *retry) failed(l *Link) {
	r.at = time.Now().Add(l.backoff(r.attempts))
	r.attempts++
}

// hello is said at first, and when what it says is another thing.
func (t *talk) hello(ctx context.Context) error {
	inventory := t.cfg.Host.Inventory()
	inventory.Instance = t.instance
	if reflect.DeepEqual(inventory, t.inventory) {
		return nil
	}
	asked := time.Now()
	w, err := t.session.Hello(ctx, inventory)
	if err != nil {
		return err
	}
	t.inventory = inventory
	t.keepPace(w.Pace)
	t.wanted = w.Publication
	t.update(func(s *Status) {
		s.Host, s.Schema, s.Wanted = w.Host, w.Schema, w.Publication
		s.ClockAhead = ahead(asked, time.Now(), w.ServerTime)
	})
	t.clone(w.Clone)
	return nil
}

// ahead is by how much our clock is ahead of the server's, which was read at some time between two.
func ahead(asked, answered, server time.Time) time.Duration {
	return asked.Add(answered.Sub(asked) / 2).Round(0).Sub(server)
}

// keepPace does as the server wishes, within bounds: a host must neither wear itself out nor fall silent because of it.
func (t *talk) keepPace(p db.Pace) {
	p.Sync = min(max(p.Sync, 100*time.Millisecond), 10*time.Minute)
	p.Heartbeat = min(max(p.Heartbeat, time.Second), time.Hour)
	p.DrainRows = max(p.DrainRows, 1)
	t.pace = p
	if t.cfg.Drain != nil {
		t.cfg.Drain.set(p.DrainRows)
	}
	t.update(func(s *Status) { s.Pace = p })
}

// sync asks for what is new, and takes states in.
func (t *talk) sync(ctx context.Context) error {
	if err := t.hello(ctx); err != nil {
		return err
	}
	generation, timeline, ok := t.cfg.States.Known()
	known := db.Known{Generation: generation, Timeline: timeline}
	if !ok {
		known = db.Known{}
	}
	asked, uptime := time.Now(), fleetstate.System{}.Uptime()
	var heartbeat *db.Heartbeat
	if !asked.Before(t.beat) {
		heartbeat = t.heartbeat(generation)
	}
	news, err := t.session.Sync(ctx, known, heartbeat)
	if err != nil {
		return err
	}
	if t.synced != nil {
		t.synced(time.Since(asked))
	}
	t.keepPace(news.Pace)
	switch {
	case heartbeat != nil && t.works:
		t.beat = asked.Add(t.pace.Heartbeat)
	case heartbeat != nil:
		t.beat = asked // once more: then it says what the session has begun with
	}
	if news.Clone != nil {
		t.clone(*news.Clone)
	}
	if news.Changed {
		t.wanted = news.Publication
		t.takeStates(news, uptime)
	}
	if !t.works {
		t.works = true // only now it is known
		t.connected()
	}
	t.update(func(s *Status) {
		s.Synced, s.RoundTrip, s.Generation = asked, time.Since(asked), news.Generation
		s.States, s.Wanted = t.cfg.States.Remote(), t.wanted
	})
	return nil
}

// takeStates takes in what has changed. What can't be kept is asked for again, since what is known is what was kept.
func (t *talk) takeStates(news db.News, asked time.Duration) {
	if !t.states.due() {
		return
	}
	if err := t.cfg.States.Apply(updateOf(news, asked, t.log)); err != nil {
		t.states.failed(t.Link)
		if t.fails(&t.status.StatesError, err) {
			t.log.Error("states of the fleet are not taken in, those before count", "error", err)
		}
		return
	}
	t.states = retry{}
	t.mended(&t.status.StatesError)
	if news.Resync {
		t.log.Info("all states of the fleet were read anew", "generation", news.Generation)
	}
}

func (t *talk) heartbeat(generation int64) *db.Heartbeat {
	h := t.cfg.Host.Heartbeat()
	h.Instance, h.BootID, h.MachineID = t.instance, t.inventory.BootID, t.inventory.MachineID
	h.AppliedGen, h.Ruleset, h.Problem = generation, t.told.Ruleset, t.problem()
	if t.cfg.Rules != nil {
		h.Publication = t.cfg.Rules.Publication()
	}
	h.Time = time.Now()
	return &h
}

// takeRules takes in the publication that the host is to run. That it can't is told, and tried again: what runs goes on to run.
func (t *talk) takeRules(ctx context.Context) {
	rules := t.cfg.Rules
	if rules == nil || !t.rules.due() || t.wanted == "" || t.wanted == rules.Publication() && rules.Problem() == nil {
		return
	}
	p, err := t.session.Publication(ctx, "")
	if err == nil && p != nil {
		err = rules.Take(ctx, *p, t.session.Blobs)
	}
	if ctx.Err() != nil {
		return // it is stopped
	}
	if err != nil {
		t.rules.failed(t.Link)
		if t.fails(&t.status.RulesError, err) {
			t.log.Error("rules of the database are not taken in, the ones before stay live", "error", err)
		}
		return
	}
	t.rules = retry{}
	t.mended(&t.status.RulesError)
	if p != nil {
		t.wanted, t.beat = p.ID, time.Time{} // which is to be told
	}
}

// report says which rules run, if that is news. An error is one of the session; what the server does not take is tried again.
func (t *talk) report(ctx context.Context) error {
	if !t.reports.due() || t.told.Ruleset != "" && !t.rulesChanged.Load() {
		return nil
	}
	t.rulesChanged.Store(false) // before they are looked at
	r, err := t.cfg.Host.Report(ctx)
	if err == nil && (r.Ruleset != t.told.Ruleset || !reflect.DeepEqual(r.Exceptions, t.told.Exceptions)) {
		err = t.session.Report(ctx, r)
	}
	if err == nil {
		t.told, t.reports = r, retry{}
		t.told.Rules = nil // large
		t.mended(&t.status.ReportError)
		return nil
	}
	t.rulesChanged.Store(true)
	if t.session.Closed() || ctx.Err() != nil {
		return err
	}
	t.reports.failed(t.Link)
	if t.fails(&t.status.ReportError, err) {
		t.log.Error("the database was not told which rules run", "error", err)
	}
	return nil
}
