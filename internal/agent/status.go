package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"slices"
	"time"

	"bittern/internal/metrics"
	"bittern/internal/rules"
)

// How long parts may be at one thing until they are taken for stuck.
const (
	committerMost = 30 * time.Second // a commit may wait for several grace periods
	outputMost    = 10 * time.Second // to write one record
)

// watchParts puts all that can fail by itself on the board.
func (a *Agent) watchParts(c *committer) {
	a.board.Add("rules", a.store.Health)
	a.board.Add("commits", func() error { return c.working.Within(committerMost) })
	a.board.Add("output", func() error { return a.out.working.Within(outputMost) })
	a.board.Started()
}

// ask has f called between two changes, by the committer's goroutine.
func (c *committer) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case c.asked <- func() { f(); close(done) }:
		<-done
		return nil
	case <-c.ended:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ruleCounts tells metrics how the rules are.
type ruleCounts struct {
	committer *committer
	store     Store
	queue     *rules.Subscription
}

// RuleCounts counts rules by state.
func (r ruleCounts) RuleCounts(ctx context.Context) (metrics.RuleCounts, error) {
	var s summary
	var live map[string]*rules.Rule
	err := r.committer.ask(ctx, func() { s, live = r.committer.summary(), maps.Clone(r.committer.live) })
	if err != nil {
		return metrics.RuleCounts{}, err
	}
	stale := make(map[string]bool)
	for _, source := range r.store.Problems() {
		for _, id := range source.Stale {
			stale[id] = true
		}
	}
	return metrics.RuleCounts{
		Live: s.live, Clipped: s.clipped, Disabled: s.disabled, Refused: s.refused, Stale: len(stale),
		Hash: hashOf(live), Queue: r.queue.Depth(),
	}, nil
}

// hashOf identifies a set of live rules, on whichever host.
func hashOf(live map[string]*rules.Rule) string {
	sum := sha256.New()
	for _, id := range slices.Sorted(maps.Keys(live)) {
		_, _ = io.WriteString(sum, id) // a hash takes everything
		_, _ = sum.Write(live[id].Hash[:])
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// liveAmong says which of some rule versions are live.
func (c *committer) liveAmong(ctx context.Context, some []*rules.Rule) (map[rules.Hash]bool, error) {
	live := make(map[rules.Hash]bool, len(some))
	if len(some) == 0 {
		return live, nil
	}
	err := c.ask(ctx, func() {
		for _, r := range some {
			if now := c.live[r.ID]; now != nil && now.Hash == r.Hash {
				live[r.Hash] = true
			}
		}
	})
	return live, err
}
