package main

import (
	"errors"
	"fmt"
	"time"

	"bittern/internal/bench/subject"
)

// bench is what is to be measured, and with what.
type bench struct {
	agent        subject.Config
	workload     subject.Workload
	tiny         string
	rounds       int
	replacements int
	dir          string
	kinds        []subject.Kind
}

// costs are those of each kind.
type costs []float64

// measure alternates: no agent, one with the fewest rules, no agent, one with more, and
// so on. A cost is set against the mean of those without an agent just before and just
// after, which a steady drift of the machine leaves as it is.
func (b *bench) measure() (*table, error) {
	t := newTable(b.kinds)
	began := time.Now()
	before, err := b.costs()
	if err != nil {
		return nil, err
	}
	t.addWithout(before)
	for round := range b.rounds {
		for size, n := range sizes {
			fmt.Printf("%4.0f s: round %d of %d, %d rules\n", time.Since(began).Seconds(), round+1, b.rounds, n)
			with, err := b.costsWith(n, &t.sizes[size])
			if err != nil {
				return nil, err
			}
			after, err := b.costs()
			if err != nil {
				return nil, err
			}
			t.addWithout(after)
			for k := range b.kinds {
				t.before[k][size] = append(t.before[k][size], before[k])
				t.with[k][size] = append(t.with[k][size], with[k])
				t.ratios[k][size] = append(t.ratios[k][size], with[k]/((before[k]+after[k])/2))
			}
			before = after
		}
	}
	return t, nil
}

func (b *bench) costs() (costs, error) {
	all := make(costs, len(b.kinds))
	for i, k := range b.kinds {
		var err error
		if all[i], err = b.workload.Cost(k); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// costsWith measures with an agent on n rules, and notes what that takes.
func (b *bench) costsWith(n int, f *footprint) (_ costs, err error) {
	config := b.agent
	config.Rules = b.rules(n)
	agent, err := subject.Start(config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, agent.Stop()) }()
	if err := agent.Settle(); err != nil {
		return nil, err
	}
	if err := f.add(agent); err != nil {
		return nil, err
	}
	return b.costs()
}

// footprint is what agents on one number of rules took, one value for each.
type footprint struct {
	rss, maps, programs []float64 // bytes
	startUp             []float64 // seconds
}

func (f *footprint) add(a *subject.Agent) error {
	rss, err := a.RSS()
	if err != nil {
		return err
	}
	maps, programs, err := a.KernelMemory()
	if err != nil {
		return err
	}
	f.rss = append(f.rss, float64(rss))
	f.maps = append(f.maps, float64(maps))
	f.programs = append(f.programs, float64(programs))
	f.startUp = append(f.startUp, a.StartUp.Seconds())
	return nil
}
