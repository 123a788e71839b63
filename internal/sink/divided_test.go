package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bittern/internal/outbox"
)

// perSecond is a pace that may change.
type perSecond struct{ atomic.Int64 }

func (p *perSecond) RowsPerSecond() int { return int(p.Load()) }

// delivery is when a sink took a record.
type delivery struct {
	seq   uint64
	batch int
	at    time.Duration
}

// server is a sink in fake time.
type server struct {
	mu     sync.Mutex
	began  time.Time
	takes  time.Duration                 // a batch
	fails  func(b []outbox.Record) error // nil: never
	took   []delivery
	sizes  []int
	closed bool
}

func (s *server) Deliver(_ context.Context, batch []outbox.Record) error {
	<-time.After(s.takes)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		if err := s.fails(batch); err != nil {
			return err
		}
	}
	for _, r := range batch {
		s.took = append(s.took, delivery{r.Seq, len(s.sizes), time.Since(s.began)})
	}
	s.sizes = append(s.sizes, len(batch))
	return nil
}

func (s *server) Close() error { s.closed = true; return nil }

func (s *server) setFails(f func(b []outbox.Record) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = f
}

// seqs are the sequences it took, in the order in which it did.
func (s *server) seqs() (all []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.took {
		all = append(all, d.seq)
	}
	return all
}

// takenAt is when a record was taken; it fails if that was not once.
func (s *server) takenAt(t *testing.T, seq uint64) (at time.Duration) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, d := range s.took {
		if d.seq == seq {
			at = d.at
			n++
		}
	}
	if n != 1 {
		t.Errorf("record %d was taken %d times", seq, n)
	}
	return at
}

// paced is an outbox whose reader a runner reads at a pace.
type paced struct {
	t      *testing.T
	dir    string
	box    *outbox.Log
	server *server
	pace   *perSecond
	runner *Runner
	log    logbook
	cancel context.CancelFunc
	done   chan error
}

func newPaced(t *testing.T, old, pace int) *paced {
	p := &paced{t: t, dir: t.TempDir(), server: &server{began: time.Now(), takes: time.Millisecond}, pace: new(perSecond), done: make(chan error, 1)}
	p.pace.Store(int64(pace))
	p.box = p.open()
	p.append(old)
	return p
}

func (p *paced) open() *outbox.Log {
	p.t.Helper()
	box, err := outbox.Open(outbox.Config{Dir: p.dir, Readers: []outbox.ReaderConfig{{Name: "db", Kinds: outbox.AllKinds}}, Log: slog.New(slog.DiscardHandler)})
	must(p.t, err)
	return box
}

func (p *paced) append(n int) {
	p.t.Helper()
	for n > 0 {
		some := make([]outbox.Record, min(n, 500))
		for i := range some {
			some[i] = record(uint64(i))
			some[i].Tier, some[i].JSON, some[i].Text = outbox.Tier(i%5), []byte("{}"), nil
		}
		must(p.t, p.box.Append(some...))
		n -= len(some)
	}
}

// run starts the runner, which waits for 15 s until it begins with a backlog.
func (p *paced) run() {
	p.t.Helper()
	p.runner = runner(p.t, p.box.Reader("db"), p.server, RunnerConfig{Log: p.log.log(), Pace: p.pace, Random: func() float64 { return 0.5 }})
	ctx, cancel := context.WithCancel(p.t.Context())
	p.cancel = cancel
	go func() { p.done <- p.runner.Run(ctx) }()
	synctest.Wait()
}

func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// end closes the outbox and waits for the runner.
func (p *paced) end() {
	p.t.Helper()
	must(p.t, p.box.Close())
	must(p.t, <-p.done)
	p.cancel()
	must(p.t, p.box.Release())
}

// wantLeft opens the outbox again and reads what is left.
func (p *paced) wantLeft(want int) {
	p.t.Helper()
	box := p.open()
	must(p.t, box.Close())
	got := 0
	for {
		batch, err := box.Reader("db").Read(p.t.Context())
		if errors.Is(err, outbox.ErrClosed) {
			break
		}
		must(p.t, err)
		got += len(batch)
	}
	if got != want {
		p.t.Errorf("%d records are left, want %d", got, want)
	}
	must(p.t, box.Release())
}

// What is new is delivered within a batch while old records are delivered no faster than the pace, and each is delivered once.
func TestBacklogAtItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const old, pace = 20_000, 2_000
		p := newPaced(t, old, pace)
		p.server.takes = 20 * time.Millisecond
		p.run()
		appended := make(map[uint64]time.Duration)
		for seq := uint64(old + 1); seq <= old+280; seq++ {
			p.append(1)
			appended[seq] = time.Since(p.server.began)
			after(100 * time.Millisecond)
		}
		if got := p.runner.Stats(); got.Backlog != 0 || got.Delivered != old+280 {
			t.Errorf("after 28 s: %+v", got)
		}
		p.end()
		for seq, at := range appended {
			if took := p.server.takenAt(t, seq) - at; took > 2*p.server.takes {
				t.Errorf("record %d took %v, which is more than a batch in hand and its own", seq, took)
			}
		}
		var before uint64
		var n int
		for _, d := range p.server.took {
			if d.seq > old {
				continue
			}
			if d.seq != before+1 {
				t.Fatalf("record %d comes after %d", d.seq, before)
			}
			before = d.seq
			n++
			if most := pace + pace*(d.at-15*time.Second).Seconds(); float64(n) > most {
				t.Fatalf("%d old records after %v, want %v at most", n, d.at, most)
			}
		}
		if last := p.server.takenAt(t, old); n != old || last < 24*time.Second || last > 26*time.Second {
			t.Errorf("%d old records, the last one after %v, want all of them 10 s after the first one", n, last)
		}
		p.wantLeft(0)
	})
}

func TestFewRecordsAreDeliveredInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaced(t, leastBacklog, 1)
		p.run()
		after(time.Second)
		wantSeqs(t, p.server.seqs(), upTo(leastBacklog))
		p.end()
		p.wantLeft(0)
	})
}

func TestBatchesAreCutToThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const old = leastBacklog + 1
		p := newPaced(t, old, 10)
		p.run()
		after(25*time.Second + 100*time.Millisecond) // between two batches
		if n := len(p.server.seqs()); n < 95 || n > 110 || slices.Max(p.server.sizes) > 10 {
			t.Errorf("%d records in 10 s, batches of %v, want 10 a second", n, p.server.sizes)
		}
		if got := p.runner.Stats().Backlog; got != uint64(old-len(p.server.seqs())) {
			t.Errorf("a backlog of %d", got)
		}
		p.pace.Store(1) // it is heard of within a second
		after(time.Second)
		n := len(p.server.seqs())
		after(10 * time.Second)
		if more := len(p.server.seqs()) - n; more < 9 || more > 11 {
			t.Errorf("%d records in 10 s, want 1 a second", more)
		}
		p.pace.Store(0)
		after(2 * time.Second)
		wantSeqs(t, p.server.seqs(), upTo(old))
		p.end()
	})
}

// What comes faster than it is delivered does not hold back a backlog for ever.
func TestBacklogTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const old = 2000
		p := newPaced(t, old, 0)
		p.server.takes = 100 * time.Millisecond
		p.run()
		for range 200 {
			p.append(1)
			after(50 * time.Millisecond)
		}
		for range 400 { // 20 s
			p.append(1)
			after(50 * time.Millisecond)
		}
		p.server.takenAt(t, old)
		p.end()
		p.wantLeft(0)
	})
}

// A batch that the sink does not take holds back its own part only, and all is told of as before.
func TestPoison(t *testing.T) {
	for _, poison := range []uint64{1000, 3001} {
		t.Run(fmt.Sprint(poison), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const old = 3000
				p := newPaced(t, old, 1000)
				p.server.fails = func(b []outbox.Record) error {
					if b[0].Seq <= poison && poison <= b[len(b)-1].Seq {
						return errors.New("poison")
					}
					return nil
				}
				p.run()
				p.append(1)
				after(20 * time.Second)
				p.append(1)
				after(20 * time.Second)
				if err := p.runner.Health(); err == nil || !strings.Contains(err.Error(), "poison") {
					t.Errorf("health: %v", err)
				}
				if poison <= old {
					p.server.takenAt(t, old+1)
					p.server.takenAt(t, old+2)
				} else {
					p.server.takenAt(t, old)
				}
				if p.log.count("poison") != 1 {
					t.Error(p.log.buf.String())
				}
				p.server.setFails(nil)
				after(2 * time.Minute)
				if err := p.runner.Health(); err != nil || p.log.count("delivers again") != 1 {
					t.Errorf("health: %v; %s", err, p.log.buf.String())
				}
				for seq := range uint64(old + 2) {
					p.server.takenAt(t, seq+1)
				}
				p.end()
				p.wantLeft(0)
			})
		})
	}
}

// What gathers while the sink is away is a backlog when it is back, also if it was delivered at a pace before.
func TestBacklogAfterAnOutage(t *testing.T) {
	for _, before := range []int{0, 5000} {
		t.Run(fmt.Sprint(before), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPaced(t, before, 100)
				p.run()
				p.append(10)
				after(20 * time.Second)
				p.server.takenAt(t, uint64(before+10))
				p.server.setFails(func([]outbox.Record) error { return errors.New("away") })
				const gathered = 20_000
				p.append(gathered)
				after(10 * time.Minute)
				p.server.setFails(nil)
				delivered := len(p.server.seqs())
				for range 60 {
					if after(time.Second); p.runner.Health() == nil {
						break
					}
				}
				back := time.Since(p.server.began)
				p.append(1)
				after(time.Second)
				p.server.takenAt(t, uint64(before+gathered+11))
				if more := len(p.server.seqs()) - delivered; more > 6000 {
					t.Errorf("%d records at once after an outage, want a batch of each part that was in hand", more)
				}
				delivered = len(p.server.seqs())
				after(13 * time.Second) // it began to wait a second before
				if more := len(p.server.seqs()) - delivered; more != 0 {
					t.Errorf("%d records at once after an outage", more)
				}
				after(10 * time.Second)
				if more := len(p.server.seqs()) - delivered; more < 800 || more > 1200 {
					t.Errorf("%d records in 10 s, want 100 a second", more)
				}
				after(5 * time.Minute)
				for seq := range uint64(before + 5011) {
					p.server.takenAt(t, seq+1)
				}
				if got := p.runner.Stats().Backlog; got != 0 {
					t.Errorf("a backlog of %d, %v after it is back", got, time.Since(p.server.began)-back)
				}
				p.end()
				p.wantLeft(0)
			})
		})
	}
}

// At a stop the pace holds, and what is left is the next agent's.
func TestPaceAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const old = 5000
		p := newPaced(t, old, 100)
		p.run()
		after(20*time.Second + 100*time.Millisecond) // between two batches
		if p.runner.Paced() {
			t.Error("nothing can come any more")
		}
		p.append(10)
		must(t, p.box.Close())
		synctest.Wait()
		after(p.server.takes)
		if !p.runner.Paced() {
			t.Error("it does more than to wait")
		}
		p.server.takenAt(t, old+10)
		p.cancel()
		if err := <-p.done; !errors.Is(err, context.Canceled) || !p.server.closed {
			t.Errorf("error %v, closed %v", err, p.server.closed)
		}
		must(t, p.box.Release())
		n := len(p.server.seqs())
		p.wantLeft(old + 10 - (n - 10)) // what was ahead comes again
	})
}

// Until the end is waited for long enough, all is delivered.
func TestPacedUntilTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaced(t, 5000, 100)
		p.server.fails = func([]outbox.Record) error {
			if p.runner.Paced() {
				t.Error("it waits while it delivers")
			}
			return nil
		}
		p.run()
		must(t, p.box.Close())
		must(t, <-p.done)
		p.cancel()
		if took := time.Since(p.server.began); took < 60*time.Second {
			t.Errorf("all after %v", took)
		}
		wantSeqs(t, p.server.seqs(), upTo(5000))
		must(t, p.box.Release())
		p.wantLeft(0)
	})
}

func TestPacedGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaced(t, 5000, 100)
		p.server.fails = func([]outbox.Record) error { return &GoneError{errors.New("for good")} }
		p.run()
		var gone *GoneError
		if err := <-p.done; !errors.As(err, &gone) {
			t.Errorf("error %v", err)
		}
		p.cancel()
		must(t, errors.Join(p.box.Close(), p.box.Release()))
	})
}

func TestPaceNeedsADivisibleSource(t *testing.T) {
	_, err := NewRunner(newQueue("a"), &scripted{}, RunnerConfig{Log: new(logbook).log(), Pace: new(perSecond)})
	if err == nil || !strings.Contains(err.Error(), "running sink a: it has a pace") {
		t.Errorf("error %v", err)
	}
}
