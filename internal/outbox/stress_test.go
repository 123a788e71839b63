package outbox

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// Who appends, reads and has no room does so at the same time, and all adds up.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	disk := newSimDisk(1)
	l, err := Open(Config{
		Quota: LeastQuota, disk: disk, Log: slog.New(slog.DiscardHandler), SyncWithin: 1,
		Readers: []ReaderConfig{{"fast", AllKinds}, {"slow", AllKinds}, {"gaps", KindsOf(Gap)}, {"divided", AllKinds}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const writers = 3
	each := 1500
	if testing.Short() {
		each = 500
	}
	var writing, reading sync.WaitGroup
	var appended, gaps atomic.Uint64
	for w := range writers {
		writing.Go(func() {
			for n := range each {
				r := numbered(n, Tier(n*7%5))
				r.Group, r.Text = uint64(n%3), make([]byte, 4000)
				if r.Kind = Detection; n%5 == w {
					r.Kind = Gap
					gaps.Add(1)
				}
				if err := l.Append(r, r); err != nil {
					t.Error(err)
				}
				if appended.Add(2); r.Kind == Gap {
					gaps.Add(1)
				}
			}
		})
	}
	got := make([]uint64, 4)
	for i, r := range l.readers {
		if r.Name() == "divided" {
			reading.Go(func() { got[i] = readDivided(t, r) })
			continue
		}
		reading.Go(func() {
			var last uint64
			for round := 0; ; round++ {
				batch, err := r.Read(t.Context())
				if errors.Is(err, ErrClosed) {
					return
				} else if err != nil {
					t.Error(err)
					return
				}
				for _, record := range batch {
					if record.Seq <= last {
						t.Errorf("%s got %d after %d", r.Name(), record.Seq, last)
					}
					last = record.Seq
					got[i] += record.Count
				}
				_ = r.Lag()
				if r.Name() == "slow" {
					for range 20 { // as if a server took its time: the others append meanwhile
						l.Sync()
					}
				}
				if err := r.Ack(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writing.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	reading.Wait()
	lost := make(map[string]uint64)
	for _, loss := range l.Losses() {
		lost[loss.Sink] += loss.Count
	}
	t.Logf("lost: %v, read: %v", lost, got)
	for i, want := range []uint64{appended.Load(), appended.Load(), gaps.Load(), appended.Load()} {
		if name := l.readers[i].name; got[i]+lost[name] != want || lost[""] > 0 {
			t.Errorf("%s has %d, %d are counted as lost, of %d (%d damaged)", name, got[i], lost[name], want, lost[""])
		}
	}
	if err := errors.Join(l.Health(), l.Release()); err != nil {
		t.Error(err)
	}
	if disk.open != 0 {
		t.Errorf("%d files are open after all", disk.open)
	}
}

// readDivided has a reader deliver a backlog again and again, and what comes ahead of it.
func readDivided(t *testing.T, r *Reader) (got uint64) {
	seen := make(map[uint64]bool)
	take := func(batch []Record) {
		for _, record := range batch {
			if seen[record.Seq] {
				t.Errorf("%s got %d twice", r.Name(), record.Seq)
			}
			seen[record.Seq] = true
			got += record.Count
		}
		_, _ = r.Lag(), r.Backlog()
	}
	for round := 0; ; round++ {
		if round%3 == 0 {
			r.Split(100)
		}
		batch := r.fillAhead()
		r.log.Sync() // as if a server took its time
		take(batch)
		r.AckAhead()
		batch = r.ReadBacklog(20)
		take(batch)
		if len(batch) == 0 {
			var err error
			if batch, err = r.Read(t.Context()); err != nil {
				if !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
				return got
			}
			take(batch)
		}
		if err := r.Ack(); err != nil {
			t.Error(err)
		}
	}
}

// A record is on the disk within the time that is configured, and a disk that works again is noticed.
func TestBackground(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := newSimDisk(1)
		l := open(t, Config{Quota: LeastQuota, disk: disk, Readers: []ReaderConfig{{"a", AllKinds}}})
		fill(l, 1, High, 0)
		synctest.Wait()
		<-time.After(DefaultSyncWithin)
		synctest.Wait()
		if n := len(l.syncer.pending); n != 0 {
			t.Errorf("%d segments are not on the disk", n)
		}
		disk.mu.Lock()
		disk.failWrite = unix.EIO
		disk.mu.Unlock()
		fill(l, 1, High, 0)
		if l.Health() == nil {
			t.Error("all is well on a disk that fails")
		}
		disk.works()
		<-time.After(2 * mendEvery)
		synctest.Wait()
		if err := l.Health(); err != nil {
			t.Error(err)
		}
		if n := len(drain(t, l.Reader("a"))); n != 2 {
			t.Error(fmt.Errorf("%d records, want 2", n))
		}
		closeLog(t, l)
	})
}
