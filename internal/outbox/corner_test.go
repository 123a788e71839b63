package outbox

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// simulated is an outbox on a disk of its own, with n records of 10 KiB.
func simulated(t *testing.T, n int) (Config, *simDisk, *Log) {
	disk := newSimDisk(1)
	cfg := Config{Quota: LeastQuota, disk: disk, still: true, Readers: []ReaderConfig{{"a", AllKinds}}}
	l := open(t, cfg)
	fill(l, n, Low, 0)
	l.Sync()
	return cfg, disk, l
}

func (d *simDisk) segments() (names []string) {
	for name := range d.names {
		if strings.HasSuffix(name, segmentSuffix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func wantRecords(t *testing.T, r *Reader, want int) {
	t.Helper()
	if got := len(drain(t, r)); got != want {
		t.Errorf("%s gets %d records, want %d", r.Name(), got, want)
	}
}

func wantLost(t *testing.T, l *Log, want uint64) {
	t.Helper()
	if got := sumOf(l.Losses()); got != want {
		t.Errorf("%d are counted as lost, want %d", got, want)
	}
}

func TestCursorsAreLost(t *testing.T) {
	cfg, disk, l := simulated(t, 5)
	wantRecords(t, l.Reader("a"), 5)
	disk.kill()
	delete(disk.names, cursorsFile)
	l = open(t, cfg)
	wantRecords(t, l.Reader("a"), 5)
	disk.kill()
	cfg.Readers = append(cfg.Readers, ReaderConfig{"new", AllKinds})
	l = open(t, cfg)
	wantRecords(t, l.Reader("new"), 0)
	cfg.Readers = cfg.Readers[1:]
	disk.kill()
	l = open(t, cfg)
	if l.Reader("a") != nil || l.cursors.find("a") >= 0 {
		t.Error("a reader that is not configured is there")
	}
}

// A reader that is new has its place after a power failure.
func TestNewReaderOutlivesPowerFailure(t *testing.T) {
	for seed := range uint64(20) {
		disk := newSimDisk(seed)
		cfg := Config{Quota: LeastQuota, disk: disk, still: true, Readers: []ReaderConfig{{"a", AllKinds}}}
		open(t, cfg)
		disk.kill()
		cfg.Readers = append(cfg.Readers, ReaderConfig{"b", AllKinds})
		l := open(t, cfg)
		fill(l, 3, Low, 0)
		l.Sync()
		disk.powerFail()
		l = open(t, cfg)
		wantRecords(t, l.Reader("a"), 3)
		wantRecords(t, l.Reader("b"), 3)
	}
}

// What a reader has acknowledged may not have been on the disk: its number is not given again.
func TestCursorIsAhead(t *testing.T) {
	cfg, disk, l := simulated(t, 5)
	wantRecords(t, l.Reader("a"), 5)
	disk.kill()
	for _, name := range disk.segments() {
		delete(disk.names, name)
	}
	l = open(t, cfg)
	fill(l, 2, Low, 0)
	wantRecords(t, l.Reader("a"), 2)
}

// Records that a reader has in hand are neither given up nor put together.
func TestInHandStays(t *testing.T) {
	_, _, l := simulated(t, 60)
	reader := l.Reader("a")
	before := len(reader.fill())
	l.mu.Lock()
	for l.mergeOne() || l.evictOne(Low, false) {
	}
	l.mu.Unlock()
	if first := l.shelf.tiers[Low][0].first; first != 1 || sumOf(l.Losses()) == 0 {
		t.Errorf("the first segment begins with %d, %d are lost", first, sumOf(l.Losses()))
	}
	after := len(drain(t, reader))
	if sum := uint64(before+after) + sumOf(l.Losses()); sum != 60 {
		t.Errorf("%d read and lost, want 60", sum)
	}
}

// Damage is counted once, whoever comes upon it: a reader that goes on, one that is at its end, or who makes room.
func TestDamageIsCounted(t *testing.T) {
	for what, meet := range map[string]func(l *Log){
		"read":  func(l *Log) { drain(t, l.Reader("a")) },
		"evict": func(l *Log) { l.evictOne(Low, false) },
		"reclaim": func(l *Log) {
			r := l.Reader("a")
			for r.read.Load() < 12 {
				r.earliest(12).take()
				r.read.Store(r.at[Low].index.Load() - 1)
			}
			_ = r.Ack()
			l.reclaim()
			r.fill()
		},
	} {
		cfg, disk, l := simulated(t, 30)
		disk.kill()
		disk.names[disk.segments()[0]].cache[segmentHead+recordHead+20] ^= 1
		for range 2 {
			l = open(t, cfg)
			meet(l)
			disk.kill()
		}
		var damaged uint64
		for _, loss := range l.Losses() {
			if loss.Cause == Damaged {
				damaged += loss.Count
			}
		}
		if damaged != 1 {
			t.Errorf("%s: %d damaged, want 1", what, damaged)
		}
	}
}

// Segments whose headers are damaged are not taken for each other.
func TestHeadersAreDamaged(t *testing.T) {
	cfg, disk, _ := simulated(t, 30)
	disk.kill()
	for _, name := range disk.segments() {
		disk.names[name].cache[20] ^= 1
	}
	l := open(t, cfg)
	l.evictOne(Low, false)
	disk.kill()
	l = open(t, cfg)
	lost := sumOf(l.Losses())
	wantRecords(t, l.Reader("a"), 30-int(lost))
	wantLost(t, l, 12)
}

// Behind what is torn nothing is appended: some of it may be good.
func TestTornEnd(t *testing.T) {
	cfg, disk, l := simulated(t, 5)
	end := l.active[Low].end.Load()
	disk.kill()
	name := disk.segments()[0]
	disk.names[name].cache[end+10] = 1
	l = open(t, cfg)
	if l.active[Low] != nil {
		t.Error("it is appended to")
	}
	fill(l, 2, Low, 0)
	wantRecords(t, l.Reader("a"), 7)
	wantLost(t, l, 0)
}

// A number is not given again that only the header of a record has.
func TestHeaderKeepsItsSequence(t *testing.T) {
	cfg, disk, l := simulated(t, 5)
	end := l.active[Low].end.Load()
	disk.kill()
	disk.names[disk.segments()[0]].cache[end-100] ^= 1
	l = open(t, cfg)
	if l.nextSeq != 6 {
		t.Errorf("the next sequence is %d, want 6", l.nextSeq)
	}
	fill(l, 1, Low, 0)
	wantRecords(t, l.Reader("a"), 5)
}

func TestNoteOnce(t *testing.T) {
	cfg, disk, l := simulated(t, 0)
	loss := Loss{Sink: "a", Rule: "R", Cause: "ring_full", Count: 2}
	for range 2 {
		for range 2 {
			if err := l.Note(ID{8: 1}, loss); err != nil {
				t.Error(err)
			}
		}
		disk.kill()
		l = open(t, cfg)
	}
	wantLost(t, l, 2)
	if untold, err := l.Untold(); err != nil || len(untold) != 0 {
		t.Errorf("untold: %v, %v", untold, err)
	}
}

// What is told of is what was lost, also if an agent dies while it tells.
func TestUntold(t *testing.T) {
	cfg, disk, l := simulated(t, 30)
	l.evictOne(Low, false)
	var told uint64
	for range 3 {
		untold, err := l.Untold()
		if err != nil || len(untold) != 1 || told > 0 && untold[0].Count != told {
			t.Fatalf("untold: %v, %v, want %d", untold, err, told)
		}
		told = untold[0].Count
		disk.kill()
		l = open(t, cfg)
		l.evictOne(Low, false) // more comes after it
	}
	untold, _ := l.Untold()
	if err := l.Told(untold[0]); err != nil {
		t.Error(err)
	}
	rest, _ := l.Untold()
	if told+rest[0].Count != sumOf(l.Losses()) {
		t.Errorf("%d and %d are told of, of %v", told, rest[0].Count, l.Losses())
	}
}

// A ledger of more names than there is room for has them put together, and keeps the sum.
func TestLedgerIsFull(t *testing.T) {
	cfg, disk, l := simulated(t, 0)
	g := l.ledger
	for n := range 3000 {
		loss := Loss{Rule: strings.Repeat("r", 150) + string(rune('a'+n%26)) + string(rune(0x4e00+n)), Cause: "c", Count: 1}
		g.losses.add(loss)
		g.noted[loss.what()] = "x"
	}
	if err := g.save(); err != nil {
		t.Error(err)
	}
	disk.kill()
	wantLost(t, open(t, cfg), 3000)
}

// The last time that records in memory can be brought to the disk is the end; else they are counted.
func TestEndWithRecordsInMemory(t *testing.T) {
	for _, works := range []bool{true, false} {
		cfg, disk, l := simulated(t, 2)
		disk.failCreate, disk.failWrite = unix.ENOSPC, unix.ENOSPC
		fill(l, 3, Low, 0)
		disk.works()
		if !works {
			disk.failCreate = unix.ENOSPC
		}
		_ = l.Close()
		_ = l.Release()
		disk.kill()
		disk.works()
		l = open(t, cfg)
		lost := sumOf(l.Losses())
		if works != (lost == 0) {
			t.Errorf("works: %v, lost: %d", works, lost)
		}
		wantRecords(t, l.Reader("a"), 5-int(lost))
	}
}

// What a reader has of a segment that is given up is not lost to it.
func TestGivenUpInTheMiddle(t *testing.T) {
	_, _, l := simulated(t, 60)
	reader := l.Reader("a")
	have := len(reader.fill())
	if err := reader.Ack(); err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.reclaim()
	for l.evictOne(Low, false) {
	}
	l.mu.Unlock()
	rest := len(drain(t, reader))
	wantLost(t, l, uint64(60-have-rest))
}

// What a reader was given, it is not given again from where it went when the disk failed.
func TestInHandWhenTheDiskFails(t *testing.T) {
	_, disk, l := simulated(t, 5)
	fill(l, 5, Low, 0)
	reader := l.Reader("a")
	if n := len(reader.fill()); n != 10 {
		t.Fatalf("%d records, want 10", n)
	}
	disk.failSync = unix.EIO
	l.Sync()
	fill(l, 1, Low, 0)
	wantRecords(t, reader, 1)
}

// What a file has not kept goes to another one. While that is being made, readers don't go past it: they would never see it.
func TestReadWhileAFileIsAbandoned(t *testing.T) {
	disk := newSimDisk(1)
	l := open(t, Config{Quota: LeastQuota, disk: disk, still: true, Readers: []ReaderConfig{{"a", AllKinds}}})
	fill(l, 1, Low, 0)
	l.Sync()
	r := l.Reader("a")
	wantRecords(t, r, 1)
	fill(l, 2, High, 1)
	fill(l, 2, Low, 3) // after the others, so that a reader can go past these
	looks, early := 0, 0
	disk.creating = func() {
		looks++
		disk.failWrite = nil
		early += len(drain(t, r))
	}
	disk.failWrite = unix.EIO
	fill(l, 1, High, 5)
	disk.creating = nil
	if looks == 0 {
		t.Fatal("no other file was made")
	}
	if n := early + len(drain(t, r)); n != 5 {
		t.Errorf("%d records of 5, %d of them while a file was made", n, early)
	}
	wantLost(t, l, 0)
}
