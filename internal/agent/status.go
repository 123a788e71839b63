package agent

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"slices"
	"time"

	"bittern/internal/control"
	"bittern/internal/metrics"
	"bittern/internal/rules"
)

// How long parts may be at one thing until they are taken for stuck.
const (
	committerMost = 30 * time.Second // a commit may wait for several grace periods
	outboxMost    = 10 * time.Second // to keep one record
)

// watchParts puts all that can fail by itself on the board.
func (a *Agent) watchParts(c *committer) {
	a.board.Add("rules", a.store.Health)
	a.board.Add("commits", func() error { return c.working.Within(committerMost) })
	a.board.Add("outbox", func() error { return cmp.Or(a.box.Health(), a.records.working.Within(outboxMost)) })
	for i, runner := range a.delivery.runners {
		a.board.Add("sink "+a.delivery.names[i], runner.Health)
	}
	if link := a.fleet.link.Load(); link != nil {
		a.board.Add("fleet", link.Health)
	}
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

// counts counts rules by condition, and identifies the set of those that are live, on whichever host.
func (up *running) counts(ctx context.Context) (n control.Counts, hash string, err error) {
	views, err := up.overview(ctx)
	if err != nil {
		return n, "", err
	}
	sum := sha256.New()
	for _, id := range slices.Sorted(maps.Keys(views)) {
		v := views[id]
		count(&n, v)
		if v.live != nil {
			_, _ = io.WriteString(sum, id) // a hash takes everything
			_, _ = sum.Write(v.live.Hash[:])
		}
	}
	return n, hex.EncodeToString(sum.Sum(nil)[:16]), nil
}

func count(n *control.Counts, v view) {
	switch v.is {
	case control.Live:
		n.Live++
	case control.Stale:
		n.Stale++
	case control.Disabled:
		n.Disabled++
	case control.Refused:
		n.Refused++
	case control.Rejected:
		n.Rejected++
	case control.Waiting:
		n.Waiting++
	}
	if v.state.State == rules.Clipped {
		n.Clipped++
	}
}

// ruleCounts tells metrics how the rules are.
type ruleCounts struct {
	*running
	queue *rules.Subscription
}

// RuleCounts counts rules by condition.
func (r ruleCounts) RuleCounts(ctx context.Context) (metrics.RuleCounts, error) {
	n, hash, err := r.counts(ctx)
	return metrics.RuleCounts{
		States: map[string]int{
			"live": n.Live, "stale": n.Stale, "clipped": n.Clipped, "disabled": n.Disabled,
			"refused": n.Refused, "rejected": n.Rejected, "waiting": n.Waiting,
		},
		Hash: hash, Queue: r.queue.Depth(),
	}, err
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
