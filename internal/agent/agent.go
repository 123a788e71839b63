// Package agent wires Bittern together: the rules of a directory become live in
// the kernel, and what the kernel lets pass becomes detections. Each part has one
// job: the committer changes rules, the pipeline judges events, the gap reporter
// says what was lost. All of it goes through the outbox, from which sinks deliver it.
package agent

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"bittern/internal/attack"
	"bittern/internal/control"
	"bittern/internal/event"
	"bittern/internal/health"
	"bittern/internal/loader"
	"bittern/internal/metrics"
	"bittern/internal/outbox"
	"bittern/internal/rules"
	"bittern/internal/rules/fsstore"
	"bittern/internal/sink"
)

// ErrStopped is returned by Start after Stop.
var ErrStopped = errors.New("agent is stopped")

// lossPoll is how often the loss counters are read.
const lossPoll = time.Second

// healthPoll is how often the store is asked how it is.
const healthPoll = time.Second

// Agent is one detection agent. Its methods are safe for use by several
// goroutines.
type Agent struct {
	cfg    Config
	log    *slog.Logger
	failed chan error    // is sent the first error that ended a part
	first  sync.Once     // guards failed: later errors follow from the first
	quit   chan struct{} // closed when the gap reporter is to end
	done   chan struct{} // closed when Stop is done

	mu       sync.Mutex // guards what follows; held throughout Start
	started  bool
	stopping bool
	rulesDir string
	store    Store
	rescan   func(interval time.Duration) error // of the store
	expired  []rules.Change                     // states, while no agent ran
	clips    *clips
	kernel   *loader.Kernel
	pipeline *pipeline
	gaps     *gapReporter
	repeats  *repeats
	box      *outbox.Log
	sinks    []Sink
	records  *recorder
	out      *sink.Output // nil if there is none
	delivery *delivery    // nil until sinks deliver
	board    *health.Board
	metrics  *metrics.Set
	server   *metrics.Server // nil if there is none
	control  *control.Server
	running  atomic.Pointer[running] // nil until all rules are live
	tally    *tally
	stats    io.Closer // ends the measuring of programs; nil if they are not measured
	fleet    inFleet
	began    time.Time
	stopRule context.CancelFunc
	reading  sync.WaitGroup // the pipeline
	others   sync.WaitGroup // committer and gap reporter
}

// New makes an agent that is not started.
func New(cfg Config) (*Agent, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Kernel.Log == nil {
		cfg.Kernel.Log = cfg.Log.With("component", "kernel")
	}
	a := &Agent{
		cfg: cfg, log: cfg.Log.With("component", "agent"),
		failed: make(chan error, 1), quit: make(chan struct{}), done: make(chan struct{}),
		board: new(health.Board), metrics: metrics.New(Version()), tally: new(tally), began: time.Now(),
	}
	a.control = control.New(controlled{a}, cfg.Log.With("component", "control"))
	a.cfg.Kernel.Found = a.reportHook
	a.metrics.Configured(true)
	return a, nil
}

// Run runs the agent until ctx is done, and returns nil then, or until a part of
// it fails. What the kernel had handed over by then is written out first.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.Start(); err != nil {
		return errors.Join(err, a.Stop())
	}
	select {
	case <-ctx.Done():
		return a.Stop()
	case err := <-a.Failed():
		return errors.Join(err, a.Stop())
	}
}

// Failed hands out the error that ended a part of the agent. The agent has to be
// stopped then.
func (a *Agent) Failed() <-chan error { return a.failed }

// Start returns once all rules are live. After an error the agent must still be
// stopped. It does nothing if the agent was started before.
func (a *Agent) Start() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopping {
		return ErrStopped
	}
	if a.started {
		return nil
	}
	a.started = true

	// First of all: nothing is written by an agent that can't run.
	if err := loader.CheckCapabilities(); err != nil {
		return err
	}
	catalogue, err := attack.Load()
	if err != nil {
		return err
	}
	host, err := readHost(rootFS())
	if err != nil {
		return err
	}
	if err := a.openOutbox(); err != nil {
		return err
	}
	if err := a.serve(a.cfg.Metrics); err != nil {
		// That it can't is no reason not to detect.
		a.log.Error("metrics and health are not told", "error", err)
		a.cfg.Metrics = ""
	}
	a.listen()
	if err := a.open(catalogue); err != nil {
		return err
	}
	if err := a.measure(a.cfg.ProgramStats); err != nil {
		return err
	}
	for _, hook := range a.kernel.Caps(false).Hooks {
		a.reportHook(hook)
	}
	snapshot, changes := a.store.Subscribe()
	c := newCommitter(a.kernel, a.staleIn, a.cfg.Log.With("component", "rules"))
	a.clips, c.metrics, c.tally = c.clips, a.metrics, a.tally
	c.announce = func(change control.Change) {
		a.control.Changes.Publish(change)
		a.fleet.rulesChanged()
		a.fail(a.records.Write(changed(change, host)))
	}
	for _, source := range a.store.Problems() {
		kind := rules.Rejected
		if source.States {
			kind = rules.StatesRejected
		}
		c.apply(rules.Change{Kind: kind, Problems: source.Problems})
	}
	if err := c.begin(snapshot); err != nil {
		return err
	}
	for _, change := range a.expired {
		c.reportState(change, 0)
	}
	// With all rules, so that what another agent's programs have judged until now goes on to ours.
	if err := a.kernel.Attach(); err != nil {
		return err
	}
	if err := a.startReading(catalogue, host); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.stopRule = cancel
	a.others.Go(func() { c.run(ctx, changes) })
	a.others.Go(func() {
		ticker := time.NewTicker(repeatsPoll)
		defer ticker.Stop()
		a.fail(a.repeats.run(ticker.C, a.quit, c.liveAmong))
	})
	up := &running{a.rulesDir, a.store, c, a.kernel, a.pipeline, queue{a.box, a.delivery}}
	a.running.Store(up)
	if err := a.startLink(up, host); err != nil {
		return err
	}
	a.watchParts(c)
	a.metrics.Collect(a.kernel, ruleCounts{up, changes}, up.queue, &a.fleet)
	a.metrics.Loaded()
	a.others.Go(func() {
		ticker := time.NewTicker(healthPoll)
		defer ticker.Stop()
		watchHealth(a.store.Health, a.cfg.Log.With("component", "health"), ticker.C, a.quit)
	})
	a.report(c.summary(), time.Since(a.began))
	// Compiling all rules and finding hooks takes several times the memory that is kept.
	a.kernel.Rest()
	debug.FreeOSMemory()
	return nil
}

// open opens the kernel and the rules at the same time, since each takes a while.
func (a *Agent) open(catalogue *attack.Catalogue) error {
	var kernelErr, rulesErr error
	var opening sync.WaitGroup
	opening.Go(func() { a.kernel, kernelErr = loader.Load(a.cfg.Kernel) })
	opening.Go(func() {
		if a.rulesDir, rulesErr = a.rulesDirectory(); rulesErr == nil {
			rulesErr = a.openStore(fsstore.Config{Dir: a.rulesDir, States: a.cfg.States, Parse: Parser(catalogue), Rescan: a.cfg.Rescan, Logger: a.cfg.Log})
		}
	})
	opening.Wait()
	// Who lacks privileges has to know that first: other errors follow from it.
	return cmp.Or(kernelErr, rulesErr)
}

// openStore reads rules and states, and notes which states have expired while nobody looked.
func (a *Agent) openStore(cfg fsstore.Config) error {
	store, err := fsstore.New(cfg)
	if err != nil {
		return err
	}
	a.store, a.rescan = store, store.SetRescan
	early := store.Changes()
	defer early.Close()
	if err := store.Start(); err != nil {
		return err
	}
	if a.store, err = a.layStates(store); err != nil {
		return err
	}
	for change, ok := early.TryNext(); ok; change, ok = early.TryNext() {
		if change.By == rules.ByExpiry {
			a.expired = append(a.expired, change)
		}
	}
	return nil
}

// startReading starts what turns matches into records, and what delivers these.
func (a *Agent) startReading(catalogue *attack.Catalogue, host *event.Host) (err error) {
	if a.delivery, err = deliver(a.box, a.sinks, a.cfg.Log.With("component", "sinks"), a.fail); err != nil {
		return err
	}
	describe := &describer{users: newUsers(passwdFile), host: host, catalogue: catalogue, clips: a.clips}
	reader := a.kernel.Reader()
	a.repeats = &repeats{
		sink: a.records, before: a.box, describe: describe, idle: reader.Idle, uptime: loader.Uptime,
		log: a.cfg.Log.With("component", "repeats"), metrics: a.metrics,
	}
	if err := a.repeats.start(a.cfg.Repeats, host.BootID); err != nil {
		return err
	}
	a.pipeline = &pipeline{
		describer: describe, source: reader, sink: a.records, repeats: a.repeats, before: a.box,
		log: a.cfg.Log.With("component", "events"), metrics: a.metrics, tally: a.tally,
	}
	a.gaps = newGapReporter(a.losses, a.kernel.Dispose, a.records, a.box, host, a.cfg.Log.With("component", "losses"), time.Now)
	a.gaps.counts = a.metrics
	a.reading.Go(func() { a.fail(a.pipeline.run()) })
	a.others.Go(func() {
		ticker := time.NewTicker(lossPoll)
		defer ticker.Stop()
		a.fail(a.gaps.run(ticker.C, reader.CaughtUp(), a.quit))
	})
	return nil
}

// report says what has been started.
func (a *Agent) report(s summary, took time.Duration) {
	scope := "all processes"
	if a.cfg.Kernel.Cgroup != "" {
		scope = "processes of cgroup " + a.cfg.Kernel.Cgroup
	}
	a.log.Info("rules loaded", "dir", a.rulesDir, "kernel_exact", s.exact, "narrowed", s.narrowed, "not_narrowed", s.unnarrowed, "disabled", s.disabled, "clipped", s.clipped)
	a.log.Info("bittern is running", "watching", scope, "rules", s.live, "refused", s.refused,
		"took", took.Round(time.Millisecond).String(), "version", Version())
}

// reportHook says where the events of a class come from, or that they can't be had.
func (a *Agent) reportHook(hook loader.Hook) {
	log := a.log.With("class", hook.Class.String())
	switch {
	case hook.Name == "":
		log.Warn("event class unsupported here", "error", &loader.UnsupportedError{Hook: hook})
	case hook.Misses != "":
		log.Warn("hook found, not the best", "hook", hook.Name, "misses", hook.Misses)
	default:
		log.Info("hook found", "hook", hook.Name)
	}
	for _, r := range hook.Refused {
		log.Debug("hook not taken", "hook", r.Name, "reason", r.Reason, "remedy", r.Remedy)
	}
}

// Stop ends the agent: hooks are detached, and what the kernel had handed over is
// judged and written. It may be called at any time, and again; it returns when the
// agent has stopped.
func (a *Agent) Stop() error {
	a.mu.Lock()
	first := !a.stopping
	a.stopping = true
	a.mu.Unlock()
	if !first {
		<-a.done
		return nil
	}
	defer close(a.done)
	var errs []error
	a.stopLink() // first, since it asks all others
	if a.stopRule != nil {
		a.stopRule()
	}
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	close(a.quit)
	errs = append(errs, a.control.Close())
	if a.server != nil {
		// Before the kernel's side is gone, which it asks.
		errs = append(errs, a.server.Close())
	}
	if a.stats != nil {
		errs = append(errs, a.stats.Close())
	}
	if a.kernel == nil {
		return errors.Join(append(errs, a.closeOutbox())...)
	}
	a.others.Wait()
	if a.cfg.Keep {
		a.kernel.Leave()
	} else {
		a.kernel.Stop()
	}
	a.reading.Wait()
	if a.repeats != nil {
		a.fail(a.repeats.stop(a.cfg.Keep))
	}
	if a.gaps != nil {
		// What was lost since the last look, while the hooks were still there.
		a.fail(a.gaps.poll())
		a.farewell()
	}
	errs = append(errs, a.closeOutbox())
	select {
	case err := <-a.failed: // a part failed while draining
		errs = append(errs, err)
	default:
	}
	return errors.Join(append(errs, a.kernel.Close())...)
}

// farewell says what the agent did.
func (a *Agent) farewell() {
	counters, err := a.kernel.Counters()
	if err != nil {
		a.log.Error("reading the kernel's counters", "error", err)
		return
	}
	s, kernel := a.pipeline.stats(), counters.Total()
	a.log.Info("bittern has stopped", "events", kernel.Events, "candidates", kernel.Matches,
		"detections", s.Detections, "repeats", s.Repeats, "prefiltered", s.Prefiltered, "lost", kernel.LostRingFull+kernel.LostBusy+kernel.LostSkipped+s.Undecodable,
		"unknown_parents", kernel.UnknownParents, "untracked_processes", counters.Untracked)
}

// fail hands out the first error of a part.
func (a *Agent) fail(err error) {
	if err == nil {
		return
	}
	a.first.Do(func() { a.failed <- err })
}

// staleIn returns the rules of a file that are live in an older version than the
// file has now.
func (a *Agent) staleIn(file string) []string {
	for _, s := range a.store.Problems() {
		if s.Source == file {
			return s.Stale
		}
	}
	return nil
}
