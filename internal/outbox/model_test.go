package outbox

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// model knows what an outbox on a simulated disk has been given, and what each reader must get of it.
type model struct {
	t       *rapid.T
	disk    *simDisk
	log     *Log
	cfg     Config
	records []Record // all that were appended: the n-th one says n
	readers []*modelReader
	counted map[lossKey]uint64 // the ledger must not go below it

	// What was appended up to here is on the platter, since Sync said so.
	durable int
	// Records that may be lost uncounted, and those that may come, or be counted, once more.
	missing, again int
	loose          bool // both are without bound
	damaged        bool // what could not be read may come after all, later
	sick           bool // Health said so
	duplicates     bool // cursors may have gone back
}

type modelReader struct {
	ReaderConfig
	acked    int            // number behind the last record that it has
	next     int            // number that it is at least to get next
	inHand   map[int]uint64 // what it got and did not acknowledge, by number, with Count
	received uint64         // that it has acknowledged, by Count

	split      int            // number behind the last record of the backlog; 0: there is none
	aheadNext  int            // number that it is at least to get next ahead of that
	aheadHand  map[int]uint64 // what it got there and did not acknowledge, by number, with Count
	ahead      map[int]uint64 // what it acknowledged there
	deliveries map[int]uint64 // what it acknowledged there before a death, and may get again
}

// takes counts what is acknowledged. What comes again after a death is known by its id.
func (r *modelReader) takes(got map[int]uint64) {
	for n, count := range got {
		had := r.deliveries[n]
		delete(r.deliveries, n)
		r.received += max(count, had) - had
	}
}

func newModel(t *rapid.T) *model {
	m := &model{t: t, disk: newSimDisk(rapid.Uint64().Draw(t, "seed")), counted: make(map[lossKey]uint64)}
	m.cfg = Config{Quota: LeastQuota, Memory: 1 << 20, Log: slog.New(slog.DiscardHandler), disk: m.disk, still: true}
	for _, c := range []ReaderConfig{{"all", AllKinds}, {"detections", KindsOf(Detection, Repeats)}, {"gaps", KindsOf(Gap)}} {
		m.cfg.Readers = append(m.cfg.Readers, c)
		m.readers = append(m.readers, &modelReader{ReaderConfig: c})
	}
	m.open()
	return m
}

func (m *model) open() {
	l, err := Open(m.cfg)
	if err != nil {
		m.t.Fatalf("opening: %v", err)
	}
	m.log = l
	if l.Health() == nil {
		m.durable = len(m.records)
	}
	for _, r := range m.readers {
		for n, count := range r.ahead {
			m.again += int(count) // also as lost, or as part of another one
			if r.deliveries == nil {
				r.deliveries = make(map[int]uint64)
			}
			r.deliveries[n] = max(r.deliveries[n], count)
		}
		r.next, r.inHand = r.acked, nil
		r.split, r.ahead, r.aheadHand = 0, nil, nil
		if m.duplicates {
			r.next = 0
		}
	}
}

func (m *model) append() {
	some := make([]Record, rapid.IntRange(1, 12).Draw(m.t, "records"))
	for i := range some {
		n := len(m.records) + i
		r := &some[i]
		*r = numbered(n, Tier(rapid.IntRange(0, int(tiers)-1).Draw(m.t, "tier")))
		r.Kind = rapid.SampledFrom([]Kind{Detection, Detection, Repeats, Gap}).Draw(m.t, "kind")
		r.Group = rapid.Uint64Range(0, 3).Draw(m.t, "group")
		r.Time = time.Unix(rapid.Int64Range(0, 1e6).Draw(m.t, "time"), 0).UTC()
		r.Text = bytes.Repeat([]byte{'x'}, rapid.SampledFrom([]int{0, 100, 5_000, 40_000}).Draw(m.t, "size"))
	}
	m.records = append(m.records, some...)
	if err := m.log.Append(some...); err != nil {
		m.t.Fatal(err)
	}
	copy(m.records[len(m.records)-len(some):], some)
	for i, r := range some {
		if i > 0 && r.Seq != some[i-1].Seq+1 {
			m.t.Fatalf("record %d has sequence %d behind %d", i, r.Seq, some[i-1].Seq)
		}
	}
	if m.disk.dead {
		m.missing += len(some) // nobody knows
	}
}

// take checks a batch, of which each record is to have at least a number, and returns the number behind the last one.
func (m *model) take(r *modelReader, batch []Record, least int, into *map[int]uint64) int {
	for _, got := range batch {
		var n int
		if _, err := fmt.Sscanf(string(got.JSON), `{"n":%d}`, &n); err != nil || n >= len(m.records) {
			m.t.Fatalf("%s got %s", r.Name, got.JSON)
		}
		want := m.records[n]
		_, twice := r.ahead[n]
		switch {
		case n < least && !m.damaged:
			m.t.Fatalf("%s got record %d (sequence %d, tier %s), and is at %d", r.Name, n, got.Seq, got.Tier, least)
		case twice:
			m.t.Fatalf("%s got record %d (sequence %d, tier %s) again, which it has", r.Name, n, got.Seq, got.Tier)
		case !r.Kinds.Has(got.Kind):
			m.t.Fatalf("%s got a %s", r.Name, got.Kind)
		case want.Kind != got.Kind || want.Tier != got.Tier || want.Rule != got.Rule || want.ID != got.ID || want.Group != got.Group || !want.Time.Equal(got.Time) || !bytes.Equal(want.Text, got.Text):
			m.t.Fatalf("%s got record %d as %v, want %v", r.Name, n, got, want)
		}
		least = n + 1
		if *into == nil {
			*into = make(map[int]uint64)
		}
		(*into)[n] += got.Count
	}
	return least
}

// read has a reader read, of a backlog at most so many, and acknowledge with luck.
func (m *model) read(r *modelReader, most int, ack bool) int {
	reader := m.log.Reader(r.Name)
	batch := reader.ReadBacklog(most)
	if len(batch) > most {
		m.t.Fatalf("%s got %d records, and wanted %d", r.Name, len(batch), most)
	}
	if r.split > 0 && reader.split.Load() == 0 { // it goes on behind what it has delivered ahead
		if len(batch) > 0 || len(r.aheadHand) > 0 || len(r.inHand) > 0 {
			m.t.Fatalf("%s ends its backlog with %d records, %d and %d of which are in hand", r.Name, len(batch), len(r.inHand), len(r.aheadHand))
		}
		if lag, ahead := reader.Backlog(), reader.had.Load(); lag != 0 || ahead != nil {
			m.t.Fatalf("%s has no backlog, of %d, and is ahead of it by %v", r.Name, lag, ahead)
		}
		if reader.saved == reader.acked.Load() {
			r.acked = max(r.acked, r.aheadNext)
		} else {
			m.again += int(sumOfCounts(r.ahead))
		}
		r.next, r.split, r.ahead = max(r.next, r.aheadNext), 0, nil
	}
	if r.split == 0 && len(batch) == 0 {
		batch = reader.fill()
	}
	r.next = m.take(r, batch, r.next, &r.inHand)
	if r.split > 0 && r.next > r.split && !m.damaged {
		m.t.Fatalf("%s got record %d as one of a backlog of up to %d", r.Name, r.next-1, r.split-1)
	}
	if ack {
		if err := reader.Ack(); err != nil {
			if m.log.Health() == nil && m.disk.failWrite == nil && !m.disk.dead && !m.disk.readOnly {
				m.t.Fatal(err)
			}
			m.again += int(sumOfCounts(r.inHand))
		} else {
			r.acked = r.next
		}
		r.takes(r.inHand)
		r.inHand = nil
	}
	return len(batch)
}

// readAhead is read of what comes after the backlog.
func (m *model) readAhead(r *modelReader, ack bool) int {
	reader := m.log.Reader(r.Name)
	batch := reader.fillAhead()
	r.aheadNext = m.take(r, batch, r.aheadNext, &r.aheadHand)
	if ack {
		reader.AckAhead()
		for n, count := range r.aheadHand {
			r.ahead[n] = count
		}
		r.takes(r.aheadHand)
		r.aheadHand = nil
	}
	return len(batch)
}

func (m *model) split(r *modelReader) {
	reader := m.log.Reader(r.Name)
	lag := reader.Lag()
	if !reader.Split(0) {
		if len(r.aheadHand) == 0 && r.split == 0 && lag > 0 {
			m.t.Fatalf("%s does not split %d records", r.Name, lag)
		}
		return
	}
	if len(r.aheadHand) > 0 {
		m.t.Fatalf("%s splits what is in hand", r.Name)
	}
	if r.ahead == nil {
		r.ahead = make(map[int]uint64)
	}
	r.split, r.aheadNext = len(m.records), len(m.records)
	if now := reader.Lag(); now != lag || reader.Backlog() != lag {
		m.t.Fatalf("%s lagged %d behind, and when that is a backlog %d, of %d", r.Name, lag, reader.Backlog(), now)
	}
}

func sumOfCounts(got map[int]uint64) (sum uint64) {
	for _, count := range got {
		sum += count
	}
	return sum
}

// kill ends the process, or all.
func (m *model) kill(power bool) {
	m.loose = m.loose || m.sick || m.disk.faulty() // what is in memory is lost, and what was counted there
	m.log = nil
	if power {
		m.missing += len(m.records) - m.durable
		m.again += len(m.records) // since cursors are not synced
		m.duplicates = true
		m.disk.powerFail()
	} else {
		m.disk.kill()
	}
	m.disk.works()
	m.open()
}

func (m *model) close() {
	if err := m.log.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.loose = m.loose || m.sick || m.disk.faulty()
	_ = m.log.Release()
	if m.disk.open != 0 && !m.disk.dead {
		m.t.Fatalf("%d files are open after all", m.disk.open)
	}
}

// check holds after each step: the ledger never goes back.
func (m *model) check() {
	if m.disk.dead {
		return
	}
	counts := make(map[lossKey]uint64)
	for _, loss := range m.log.Losses() {
		counts[loss.key()] = loss.Count
	}
	for key, n := range m.counted {
		if counts[key] < n && !m.loose {
			m.t.Fatalf("the ledger has %d of %v, and had %d", counts[key], key, n)
		}
	}
	m.sick = m.log.Health() != nil
	if !m.sick {
		m.counted = counts
	}
}

// settle has all readers read all, and sums up.
func (m *model) settle() {
	if m.disk.dead {
		m.kill(false)
	}
	m.disk.works()
	if f := m.disk.names[ledgerFile]; f != nil {
		f.bad = nil // else it is waited for, and Health says so
	}
	m.log.Sync()
	m.log.mend()
	if err := m.log.Health(); err != nil {
		m.t.Fatalf("the disk works: %v", err)
	}
	for _, r := range m.readers {
		for m.read(r, 50, true)+m.readAhead(r, true) > 0 {
		}
		if r.split > 0 {
			m.read(r, 50, true) // what was in hand is acknowledged now
		}
		if r.split > 0 {
			m.t.Fatalf("%s has a backlog that does not end", r.Name)
		}
		if lag := m.log.Reader(r.Name).Lag(); lag != 0 && !m.loose && !m.duplicates { // damage at the end is not known to be behind it
			m.t.Fatalf("%s lags %d behind", r.Name, lag)
		}
		var wanted, lost, damaged uint64
		for i := range m.records {
			if r.Kinds.Has(m.records[i].Kind) {
				wanted++
			}
		}
		for _, loss := range m.log.Losses() {
			switch loss.Sink {
			case r.Name:
				lost += loss.Count
			case "": // of what kind they were is not known, and each may have stood for several
				damaged += loss.Count
			}
		}
		if m.loose {
			continue
		}
		if r.received+lost+damaged+uint64(m.missing) < wanted || r.received+lost > wanted+uint64(m.again) {
			m.t.Fatalf("%s has %d, %d are counted as lost, %d as damaged: together that is not %d (less %d, more %d)",
				r.Name, r.received, lost, damaged, wanted, m.missing, m.again)
		}
	}
	if all, _ := m.log.shelf.bytes(); all > m.cfg.Quota+int64(tiers)*m.log.segment {
		m.t.Fatalf("the outbox takes %d bytes", all)
	}
}

func (m *model) actions(power, faults, flips bool) map[string]func(*rapid.T) {
	// What an action draws is the next record's or reader's, so that it shrinks well.
	dead := func(f func()) func(*rapid.T) {
		return func(*rapid.T) {
			if m.disk.dead {
				m.kill(power && m.disk.rand.IntN(2) == 0)
			}
			f()
		}
	}
	reader := func() *modelReader { return rapid.SampledFrom(m.readers).Draw(m.t, "reader") }
	all := map[string]func(*rapid.T){
		"":        func(*rapid.T) { m.check() },
		"append":  dead(m.append),
		"append2": dead(m.append),
		"append3": dead(m.append),
		"read":    dead(func() { m.read(reader(), rapid.IntRange(1, 20).Draw(m.t, "most"), true) }),
		"deliver": dead(func() { m.read(reader(), 20, false) }),
		"split":   dead(func() { m.split(reader()) }),
		"ahead": dead(func() {
			if r := reader(); r.split > 0 {
				m.readAhead(r, rapid.IntRange(0, 3).Draw(m.t, "ack") > 0)
			}
		}),
		"sync": dead(func() {
			m.log.Sync()
			if m.log.Health() == nil && !m.disk.dead {
				m.durable = len(m.records)
			}
		}),
		"evict": dead(func() {
			m.log.mu.Lock()
			defer m.log.mu.Unlock()
			m.log.evictOne(Tier(rapid.IntRange(0, int(tiers)-1).Draw(m.t, "from")), false)
		}),
		"merge": dead(func() {
			m.log.mu.Lock()
			defer m.log.mu.Unlock()
			m.log.mergeOne()
		}),
		"mend":   dead(func() { m.log.mend(); m.log.reclaim() }),
		"kill":   dead(func() { m.kill(false) }),
		"die":    dead(func() { m.disk.left = rapid.IntRange(1, 40).Draw(m.t, "operations") }),
		"reopen": dead(func() { m.close(); m.disk.kill(); m.open() }),
	}
	if power {
		all["powerFail"] = dead(func() { m.kill(true) })
	}
	if faults {
		all["fault"] = dead(func() { m.disk.fault(rapid.IntRange(0, 4).Draw(m.t, "fault")) })
		all["works"] = dead(m.disk.works)
	}
	if flips {
		all["flip"] = dead(func() { m.loose, m.duplicates, m.damaged = true, true, true; m.disk.flip() })
		all["unreadable"] = dead(func() { m.loose, m.damaged, m.disk.failRead = true, true, unix.EIO })
	}
	return all
}

func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                 string
		power, faults, flips bool
	}{{"kills", false, false, false}, {"power failures", true, false, false}, {"faults", false, true, false}, {"all", true, true, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				m := newModel(t)
				actions := m.actions(c.power, c.faults, c.flips)
				t.Repeat(actions)
				m.settle()
				m.close()
			})
		})
	}
}
