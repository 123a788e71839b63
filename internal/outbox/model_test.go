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
	acked    int // number behind the last record that it has
	next     int // number that it is at least to get next
	inHand   uint64
	received uint64 // that it has acknowledged, by Count
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
		r.next, r.inHand = r.acked, 0
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

// read has a reader read, and acknowledge with luck.
func (m *model) read(r *modelReader, ack bool) int {
	reader := m.log.Reader(r.Name)
	batch := reader.fill()
	for _, got := range batch {
		var n int
		if _, err := fmt.Sscanf(string(got.JSON), `{"n":%d}`, &n); err != nil || n >= len(m.records) {
			m.t.Fatalf("%s got %s", r.Name, got.JSON)
		}
		want := m.records[n]
		switch {
		case n < r.next && !m.damaged:
			m.t.Fatalf("%s got record %d (sequence %d, tier %s), and is at %d", r.Name, n, got.Seq, got.Tier, r.next)
		case !r.Kinds.Has(got.Kind):
			m.t.Fatalf("%s got a %s", r.Name, got.Kind)
		case want.Kind != got.Kind || want.Tier != got.Tier || want.Rule != got.Rule || want.ID != got.ID || want.Group != got.Group || !want.Time.Equal(got.Time) || !bytes.Equal(want.Text, got.Text):
			m.t.Fatalf("%s got record %d as %v, want %v", r.Name, n, got, want)
		}
		r.next = n + 1
		r.inHand += got.Count
	}
	if ack {
		if err := reader.Ack(); err != nil {
			if m.log.Health() == nil && m.disk.failWrite == nil && !m.disk.dead && !m.disk.readOnly {
				m.t.Fatal(err)
			}
			m.again += int(r.inHand)
		} else {
			r.acked = r.next
		}
		r.received, r.inHand = r.received+r.inHand, 0
	}
	return len(batch)
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
		for m.read(r, true) > 0 {
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
		"read":    dead(func() { m.read(reader(), true) }),
		"deliver": dead(func() { m.read(reader(), false) }),
		"sync": dead(func() {
			m.log.Sync()
			if m.log.Health() == nil && !m.disk.dead {
				m.durable = len(m.records)
			}
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
