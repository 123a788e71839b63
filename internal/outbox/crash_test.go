package outbox

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// crashes are what is done by an agent that dies after each of its operations in turn. Each begins with an outbox of its own.
var crashes = []struct {
	name   string
	before func(l *Log) // it lives through this
	do     func(l *Log)
}{
	{"open", func(*Log) {}, func(*Log) {}},
	{"rotation", func(l *Log) { fill(l, 20, System, 0) }, func(l *Log) { fill(l, 30, System, 0) }},
	{"merging", func(l *Log) { fill(l, 60, Low, 1); l.Sync() }, func(l *Log) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for l.mergeOne() {
		}
	}},
	{"eviction", func(l *Log) { fill(l, 60, Low, 0); l.Sync() }, func(l *Log) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for l.evictOne(Low, false) {
		}
	}},
	{"merging and eviction", func(l *Log) { fill(l, 60, Low, 1); l.Sync() }, func(l *Log) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for l.mergeOne() || l.evictOne(Low, false) {
		}
	}},
	{"acknowledging", func(l *Log) { fill(l, 60, Low, 0) }, func(l *Log) {
		for r := l.readers[0]; len(r.fill()) > 0; {
			_ = r.Ack()
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.reclaim()
	}},
	{"ending a backlog", func(l *Log) { fill(l, 30, Low, 0); l.readers[0].Split(0); fill(l, 30, Low, 0) }, func(l *Log) {
		r := l.readers[0]
		for len(r.fillAhead()) > 0 {
			r.AckAhead()
		}
		for len(r.ReadBacklog(5)) > 0 {
			_ = r.Ack()
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.reclaim()
	}},
	{"losses", func(*Log) {}, func(l *Log) {
		for n := range 5 {
			_ = l.Note(ID{8: byte(n)}, Loss{Cause: "ring_full", Count: 1})
		}
	}},
	{"mending", func(l *Log) {
		fill(l, 20, Low, 0)
		l.Sync()
		l.cfg.disk.(*simDisk).failSync = unix.EIO
		fill(l, 30, Low, 0)
		l.Sync()
		l.cfg.disk.(*simDisk).works()
	}, func(l *Log) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.mend()
	}},
	{"abandoning", func(l *Log) { fill(l, 20, Low, 0) }, func(l *Log) {
		l.cfg.disk.(*simDisk).failWrite = unix.EIO
		fill(l, 1, Low, 0)
	}},
}

// fill appends records of 10 KiB, of which a segment takes twelve.
func fill(l *Log, n int, tier Tier, group uint64) {
	for range n {
		r := numbered(int(l.written.Load()), tier)
		r.Rule, r.Group, r.Text = "R", group, bytes.Repeat([]byte{'x'}, 10<<10)
		if err := l.Append(r); err != nil {
			panic(err)
		}
	}
}

// Wherever an agent dies, or a machine, what was there is read once or counted once.
func TestDeathAtEachOperation(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long, and there is only one goroutine in it")
	}
	t.Parallel()
	for _, c := range crashes {
		for _, power := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/power failure %v", c.name, power), func(t *testing.T) {
				t.Parallel()
				for left := 1; ; left++ {
					if dieAt(t, left, power, c.before, c.do) {
						t.Logf("%d operations", left-1)
						return
					}
				}
			})
		}
	}
}

// dieAt does so after some operations; true if there were not as many.
func dieAt(t *testing.T, left int, power bool, before, do func(l *Log)) (lived bool) {
	disk := newSimDisk(uint64(left))
	cfg := Config{Quota: LeastQuota, disk: disk, still: true, Readers: []ReaderConfig{{"a", AllKinds}}}
	l := open(t, cfg)
	before(l)
	appended := l.appended.Load()
	losses := sumOf(l.Losses())
	if l.Health() != nil {
		appended, losses = 0, 0 // the rest is in memory only
	}
	if power && l.Health() == nil {
		l.Sync()
	}
	disk.left = left
	do(l)
	lived = !disk.dead
	appendedAfter, acked := l.appended.Load(), l.readers[0].acked.Load()
	if power {
		disk.powerFail()
	} else {
		disk.kill()
	}
	disk.works()
	for range 3 { // what is done when it is opened is done once
		disk.left = left
		open(t, cfg)
		disk.kill()
		disk.left = -1
		l = open(t, cfg)
		if err := l.Health(); err != nil {
			t.Fatalf("dead after %d operations: %v", left, err)
		}
		lost := sumOf(l.Losses())
		if lost < losses {
			t.Fatalf("dead after %d operations: %d counted, and were %d", left, lost, losses)
		}
		losses = lost
		disk.kill()
	}
	l = open(t, cfg)
	var got uint64
	seen := make(map[string]bool)
	for _, r := range drain(t, l.Reader("a")) {
		if seen[string(r.JSON)] {
			t.Fatalf("dead after %d operations: %s comes twice", left, r.JSON)
		}
		seen[string(r.JSON)] = true
		got += r.Count
	}
	var outside uint64
	for _, loss := range l.Losses() {
		if loss.Cause == "ring_full" {
			outside += loss.Count
		}
	}
	sum := got + losses - outside
	if sum > appendedAfter || sum+acked < appended {
		t.Fatalf("dead after %d operations: %d records, %d counted, %d were acknowledged, of %d to %d", left, got, losses-outside, acked, appended, appendedAfter)
	}
	return lived
}

func sumOf(all []Loss) (n uint64) {
	for _, l := range all {
		n += l.Count
	}
	return n
}
