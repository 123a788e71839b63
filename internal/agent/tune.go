package agent

import (
	"errors"
	"net"
	"syscall"

	"bittern/internal/loader"
	"bittern/internal/metrics"
)

// Tunables are those in force: not those that could not be put into force. It waits for a Start.
func (a *Agent) Tunables() Tunables {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cfg.Tunables
}

// Reconfigure puts other tunables into force: when it returns they count, and records that are written from
// then on have the new form. After an error those that could not be changed are what they were, and all others
// are changed. It waits for a Start; before one, the agent starts with them; after a Stop it returns ErrStopped.
func (a *Agent) Reconfigure(t Tunables) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.stopping || a.started && a.running.Load() == nil:
		return ErrStopped
	case !a.started:
		a.cfg.Tunables = t
		return nil
	}
	now := &a.cfg.Tunables
	now.Keep, now.Format = t.Keep, t.Format
	if a.out != nil {
		a.out.SetFormat(t.Format)
	}
	return errors.Join(
		retune(&now.Rescan, t.Rescan, a.rescan),
		retune(&now.ProgramStats, t.ProgramStats, a.measure),
		retune(&now.Metrics, t.Metrics, a.serve),
	)
}

// retune changes one of them that may fail, if it is another one.
func retune[T comparable](now *T, want T, change func(T) error) error {
	if *now == want {
		return nil
	}
	if err := change(want); err != nil {
		return err
	}
	*now = want
	return nil
}

// Configured notes for the metrics that the configuration was read, and whether it was right.
func (a *Agent) Configured(right bool) { a.metrics.Configured(right) }

// measure has the kernel measure its programs, or not.
func (a *Agent) measure(on bool) (err error) {
	if on {
		a.stats, err = loader.EnableStats()
	} else if a.stats != nil {
		err = a.stats.Close()
		a.stats = nil
	}
	return err
}

// serve tells metrics and health at an address, "" for none, and no longer where it did before. After an error it
// does as before.
func (a *Agent) serve(address string) error {
	old := a.server
	next, err := a.listenMetrics(address)
	if old != nil && errors.Is(err, syscall.EADDRINUSE) && samePort(old.Address(), address) {
		// The old one may be in the way: 127.0.0.1:9435 of :9435.
		before := old.Address()
		a.closeServer(old)
		old, a.server = nil, nil
		if next, err = a.listenMetrics(address); err != nil {
			back, backErr := a.listenMetrics(before)
			a.server, err = back, errors.Join(err, backErr)
		}
	}
	if err != nil {
		return err
	}
	a.server = next
	if old != nil {
		a.closeServer(old)
	}
	return nil
}

// listenMetrics returns nil if there is no address.
func (a *Agent) listenMetrics(address string) (*metrics.Server, error) {
	if address == "" {
		return nil, nil
	}
	log := a.cfg.Log.With("component", "metrics")
	server, err := metrics.Listen(address, a.metrics.Handler(a.board, log))
	if err == nil {
		log.Info("telling metrics and health", "address", server.Address())
	}
	return server, err
}

func (a *Agent) closeServer(s *metrics.Server) {
	if err := s.Close(); err != nil {
		a.log.Warn("ending to tell metrics and health", "address", s.Address(), "error", err)
	}
}

func samePort(one, other string) bool {
	_, p, err := net.SplitHostPort(one)
	_, q, otherErr := net.SplitHostPort(other)
	return err == nil && otherErr == nil && p == q
}
