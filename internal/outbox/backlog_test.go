package outbox

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// divided is an outbox with a backlog of records of 10 KiB, and more of them ahead of it.
func divided(t *testing.T, backlog, ahead int) (Config, *simDisk, *Log, *Reader) {
	cfg, disk, l := simulated(t, backlog)
	r := l.Reader("a")
	if !r.Split(0) {
		t.Fatal("there is no backlog")
	}
	fill(l, ahead, Low, 0)
	l.Sync()
	return cfg, disk, l, r
}

// deliverAhead delivers so many at least.
func deliverAhead(t *testing.T, r *Reader, least int) (n int) {
	for n < least {
		batch := r.fillAhead()
		if len(batch) == 0 {
			t.Fatalf("%d records ahead, want %d", n, least)
		}
		n += len(batch)
		r.AckAhead()
	}
	return n
}

// deliverBacklog delivers all of the backlog.
func deliverBacklog(t *testing.T, r *Reader) (n int) {
	for {
		batch := r.ReadBacklog(7)
		if len(batch) == 0 {
			return n
		}
		n += len(batch)
		if err := r.Ack(); err != nil {
			t.Error(err)
		}
	}
}

func TestSplitNeedsEnough(t *testing.T) {
	_, _, l := simulated(t, 5)
	r := l.Reader("a")
	if r.Split(5) || r.Backlog() != 0 || !r.Split(4) || r.Backlog() != 5 {
		t.Errorf("a backlog of %d", r.Backlog())
	}
	if r.Split(0) {
		t.Error("nothing more is there to split")
	}
	fill(l, 3, Low, 0)
	if r.Lag() != 8 || r.Backlog() != 5 {
		t.Errorf("lag %d, a backlog of %d", r.Lag(), r.Backlog())
	}
	r.fillAhead()
	if r.Lag() != 5 || r.Backlog() != 5 {
		t.Errorf("lag %d, a backlog of %d", r.Lag(), r.Backlog())
	}
	fill(l, 1, Low, 0)
	if r.Split(0) {
		t.Error("what is in hand becomes a part of the backlog")
	}
	r.AckAhead()
	fill(l, 1, Low, 0)
	if r.Split(2) || !r.Split(1) || r.Backlog() != 7 || r.Lag() != 7 {
		t.Errorf("a backlog of %d, lag %d", r.Backlog(), r.Lag())
	}
	if n := deliverBacklog(t, r); n != 7 || r.Lag() != 0 {
		t.Errorf("%d records, lag %d", n, r.Lag())
	}
}

// After a death all that comes after what is acknowledged of the backlog comes again; once it is at its end, nothing does.
func TestAheadIsKeptOnceTheBacklogEnds(t *testing.T) {
	for _, ends := range []bool{false, true} {
		cfg, disk, _, r := divided(t, 20, 30)
		deliverAhead(t, r, 30)
		want := 50 - 7
		if ends {
			deliverBacklog(t, r)
			want = 0
		} else {
			r.ReadBacklog(7)
			if err := r.Ack(); err != nil {
				t.Fatal(err)
			}
		}
		disk.kill()
		wantRecords(t, open(t, cfg).Reader("a"), want)
	}
}

// Where it went on behind the backlog is kept later if the disk did not take it.
func TestEndOfABacklogWhenTheDiskFails(t *testing.T) {
	cfg, disk, l, r := divided(t, 5, 5)
	deliverAhead(t, r, 5)
	r.ReadBacklog(10)
	if err := r.Ack(); err != nil {
		t.Fatal(err)
	}
	disk.failWrite = unix.EIO
	if n := deliverBacklog(t, r); n != 0 || r.split.Load() != 0 {
		t.Fatalf("%d records, split %d", n, r.split.Load())
	}
	disk.works()
	fill(l, 1, Low, 0)
	wantRecords(t, r, 1)
	disk.kill()
	wantRecords(t, open(t, cfg).Reader("a"), 0)
}

// What was delivered ahead is given up before anything that is lacked, and is not lost.
func TestDeliveredAheadIsNotLost(t *testing.T) {
	for _, all := range []bool{false, true} {
		_, _, l, r := divided(t, 60, 60)
		deliverAhead(t, r, 60)
		l.mu.Lock()
		before, _ := l.shelf.bytes()
		l.evictOne(Low, false)
		if after, _ := l.shelf.bytes(); after == before || sumOf(l.Losses()) != 0 {
			t.Errorf("%d bytes, and %d before; %d are lost", after, before, sumOf(l.Losses()))
		}
		for all && l.evictOne(Low, false) {
		}
		l.mu.Unlock()
		lost := int(sumOf(l.Losses()))
		if n := deliverBacklog(t, r); n+lost != 60 || all != (lost > 0) {
			t.Errorf("%d are delivered, and %d lost, of a backlog of 60", n, lost)
		}
		fill(l, 1, Low, 0)
		wantRecords(t, r, 1)
	}
}

// A segment stays until the backlog is past it, too.
func TestDeliveredAheadIsNotRemoved(t *testing.T) {
	_, _, l, r := divided(t, 30, 60)
	deliverAhead(t, r, 60)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reclaim()
	if first, n := l.shelf.tiers[Low][0].first, len(l.shelf.tiers[Low]); first != 1 || n != 8 {
		t.Errorf("%d segments from %d on", n, first)
	}
	deliverBacklog(t, r)
	l.reclaim()
	if n := len(l.shelf.tiers[Low]); n != 1 {
		t.Errorf("%d segments", n)
	}
}

// Damage is counted once, be it in the backlog, ahead of it, or in the segment of both.
func TestDamageAheadIsCounted(t *testing.T) {
	cfg, disk, l, r := divided(t, 18, 42) // twelve in a segment
	all := disk.segments()
	for _, at := range []struct{ segment, record int }{{0, 2}, {1, 1}, {1, 10}, {3, 4}} {
		f := disk.names[all[at.segment]]
		f.cache[segmentHead+at.record*numberedSize()+recordHead+20] ^= 1
	}
	deliverAhead(t, r, 40)
	if n := deliverBacklog(t, r); n != 16 {
		t.Errorf("%d of the backlog, want 16", n)
	}
	fill(l, 12, Low, 0)
	wantRecords(t, r, 12)
	wantLost(t, l, 4)
	disk.kill()
	wantLost(t, open(t, cfg), 4)
}

// Damage at the end of a segment is counted, also if more was not looked at before the backlog ended; and that it ended is kept up to all
// that was delivered ahead.
func TestEndOfABacklogAtTheEndOfASegment(t *testing.T) {
	_, disk, l, r := divided(t, 1, 23)
	fill(l, 1, High, 0)
	l.Sync()
	for _, name := range disk.segments() {
		if tier, first, _, _ := parseSegmentName(name); tier == Low && first == 13 {
			disk.names[name].cache[segmentHead+11*numberedSize()+recordHead+20] ^= 1
		}
	}
	deliverAhead(t, r, 23)
	fill(l, 1, Low, 0)
	if n := deliverBacklog(t, r); n != 1 || r.saved != 25 {
		t.Errorf("a backlog of %d, acknowledged up to %d", n, r.saved)
	}
	wantLost(t, l, 1)
	wantRecords(t, r, 1)
}

// Nothing is looked at again of what was delivered ahead as whole segments, and it is acknowledged all the same.
func TestWholeSegmentsAhead(t *testing.T) {
	_, _, l, r := divided(t, 1, 23)
	deliverAhead(t, r, 23)
	fill(l, 1, Low, 0)
	if n := deliverBacklog(t, r); n != 1 || r.saved != 24 || r.had.Load() != nil {
		t.Errorf("a backlog of %d, acknowledged up to %d", n, r.saved)
	}
	wantRecords(t, r, 1)
}

// What a reader does not want counts as gone past ahead of a backlog.
func TestAheadOfWhatIsNotWanted(t *testing.T) {
	l := open(t, Config{Readers: []ReaderConfig{{"gaps", KindsOf(Gap)}}})
	fill(l, 3, Low, 0)
	r := l.Reader("gaps")
	r.Split(0)
	fill(l, 4, Low, 0)
	r.fillAhead()
	fill(l, 2, Low, 0)
	if lag := r.Lag(); lag != 5 || !r.Split(0) || r.Lag() != 5 || r.Backlog() != 5 {
		t.Errorf("lag %d, and then %d, a backlog of %d, want 5 of each", lag, r.Lag(), r.Backlog())
	}
	closeLog(t, l)
}

// numberedSize is what a record of fill takes.
func numberedSize() int {
	r := numbered(10, Low)
	r.Rule, r.Text = "R", make([]byte, 10<<10)
	return r.size()
}

// Whoever reads ahead waits for what comes, for a moment that it names, and for the end.
func TestReadAheadWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Config{Readers: []ReaderConfig{{"a", AllKinds}}})
		fill(l, 2, Low, 0)
		r := l.Reader("a")
		r.Split(0)
		type result struct {
			n   int
			err error
		}
		results := make(chan result)
		read := func(ctx context.Context, until <-chan time.Time) {
			batch, err := r.ReadAhead(ctx, until)
			results <- result{len(batch), err}
		}
		want := func(what string, n int, err error) {
			t.Helper()
			if got := <-results; got.n != n || !errors.Is(got.err, err) {
				t.Errorf("%s: %d records, %v, want %d, %v", what, got.n, got.err, n, err)
			}
		}
		go read(t.Context(), nil)
		synctest.Wait()
		fill(l, 1, High, 0)
		want("a new record", 1, nil)
		go read(t.Context(), time.After(time.Minute))
		want("a moment", 0, nil)
		ctx, cancel := context.WithCancel(t.Context())
		go read(ctx, nil)
		synctest.Wait()
		cancel()
		want("a context", 0, context.Canceled)
		go read(t.Context(), nil)
		synctest.Wait()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		want("the end", 0, ErrClosed)
		if n := len(r.ReadBacklog(10)); n != 2 {
			t.Errorf("a backlog of %d, want 2", n)
		}
		if err := r.Ack(); err != nil {
			t.Error(err)
		}
		// What is in hand ahead has the backlog stay until it is acknowledged.
		if n := len(r.ReadBacklog(10)); n != 0 || r.split.Load() == 0 {
			t.Errorf("%d records, and no backlog", n)
		}
		r.AckAhead()
		if _, err := r.Read(t.Context()); !errors.Is(err, ErrClosed) || r.split.Load() != 0 || r.acked.Load() != 3 {
			t.Errorf("%v, acknowledged up to %d", err, r.acked.Load())
		}
		if err := l.Release(); err != nil {
			t.Error(err)
		}
	})
}

// A status tells of the oldest record that is in hand in either place.
func TestOldestOfBoth(t *testing.T) {
	_, _, l := simulated(t, 0)
	r := l.Reader("a")
	at := func(second int64) (record Record) {
		record = numbered(int(second), Low)
		record.Time = time.Unix(second, 0)
		return record
	}
	if err := l.Append(at(10)); err != nil {
		t.Fatal(err)
	}
	r.Split(0)
	if err := l.Append(at(20)); err != nil {
		t.Fatal(err)
	}
	want := func(second int64) {
		t.Helper()
		if got := l.Stats().Readers[0].Oldest; second == 0 != got.IsZero() || second > 0 && got.Unix() != second {
			t.Errorf("the oldest is of %v, want %d", got, second)
		}
	}
	want(0)
	r.fillAhead()
	want(20)
	r.ReadBacklog(1)
	want(10)
	_ = r.Ack()
	want(20)
	r.AckAhead()
	want(0)
}

// What is put together was not delivered ahead of the rest of it.
func TestPutTogetherBesidesABacklog(t *testing.T) {
	_, _, l := simulated(t, 0)
	fill(l, 18, Low, 1)
	r := l.Reader("a")
	r.Split(0)
	fill(l, 42, Low, 1)
	got := uint64(deliverAhead(t, r, 12))
	l.Sync()
	l.mu.Lock()
	for l.mergeOne() {
	}
	l.mu.Unlock()
	for _, batch := range [][]Record{r.ReadBacklog(100), r.fillAhead()} {
		for _, record := range batch {
			got += record.Count
		}
	}
	if got != 60 {
		t.Errorf("%d, want 60", got)
	}
}
