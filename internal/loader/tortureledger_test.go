package loader

import (
	"fmt"
	"sync"
	"testing"
	"time"
	"unsafe"

	"bittern/internal/event"
	"bittern/internal/loader/harness"
	"bittern/internal/rules"
)

// Sizes of the torture of bpf/harness.c.
const (
	tortureRules  = len(harness.HarnessExpectation{}.Versions)
	tortureKinds  = 64 / tortureRules // expectation.passes has that many
	tortureEpochs = 1 << 16
)

const (
	expectationWords = int(unsafe.Sizeof(harness.HarnessExpectation{}) / 8)
	tallyWords       = int(unsafe.Sizeof(harness.HarnessTally{}) / 8)
)

// ledger says what events must be judged by: it writes down the versions of the stock's rules
// that are live in an epoch, before the epoch comes. It is the fence of a kernel.
type ledger struct {
	k       *Kernel
	stock   *stock
	entries *words // struct expectation
	tallies *words // struct tally
	passing map[*rules.Rule]uint64
	inner   func() error // the kernel's own fence, or nil
	staged  time.Time    // when the last commit was staged; valid while one writer is at work

	mu   sync.Mutex
	live []epochRules // by epoch%tortureEpochs; nil unless they are needed
}

type epochRules struct {
	epoch uint64
	rules [tortureRules]*rules.Rule
}

func newLedger(t testing.TB, k *Kernel, c *court, s *stock) *ledger {
	t.Helper()
	l := &ledger{k: k, stock: s, inner: k.fence, passing: make(map[*rules.Rule]uint64)}
	for kind, ev := range s.kinds {
		s.kinds[kind] = asCaptured(t, c.file(kind, ev), ev)
	}
	for _, versions := range s.versions {
		for _, r := range versions {
			l.passing[r] = s.passing(r)
		}
	}
	var err error
	if l.entries, err = mapWords(c.objects.Expectations); err != nil {
		t.Fatal(err)
	}
	if l.tallies, err = mapWords(c.objects.Tallies); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.entries.unmap(); err != nil {
			t.Error(err)
		}
		if err := l.tallies.unmap(); err != nil {
			t.Error(err)
		}
	})
	k.fence = l.note
	return l
}

// note is called between staging and the epoch, with the writer's lock held.
func (l *ledger) note() error {
	l.staged = time.Now()
	e := epochRules{epoch: l.k.epoch() + 1}
	at := int(e.epoch%tortureEpochs) * expectationWords
	l.entries.store(at, 0) // nothing is known meanwhile
	passes := uint64(0)
	for i, id := range l.stock.ids {
		version := uint64(0)
		if v := l.k.versions.live(id); v != nil {
			version, e.rules[i] = v.id, v.rule
			passes |= l.passing[v.rule] << i
		}
		l.entries.store(at+1+i, version)
	}
	l.entries.store(at+1+tortureRules, passes)
	l.entries.store(at, e.epoch)
	if l.live != nil {
		l.mu.Lock()
		l.live[e.epoch%tortureEpochs] = e
		l.mu.Unlock()
	}
	if l.inner != nil {
		return l.inner()
	}
	return nil
}

// liveAt returns the rules of the stock that are live in an epoch, if that is still known.
func (l *ledger) liveAt(epoch uint64) (epochRules, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.live[epoch%tortureEpochs]
	return e, e.epoch == epoch
}

// verdicts is how many events were judged, and how many of them as they should not be.
type verdicts struct {
	judged, missed, doubled, mixed, backwards, unknown uint64
}

func (v *verdicts) wrong() uint64 {
	return v.missed + v.doubled + v.mixed + v.backwards + v.unknown
}

func (v *verdicts) add(o verdicts) {
	v.judged += o.judged
	v.missed += o.missed
	v.doubled += o.doubled
	v.mixed += o.mixed
	v.backwards += o.backwards
	v.unknown += o.unknown
}

// count files an event that lacks versions, or has strange ones.
func (v *verdicts) count(missing, strange int) {
	v.judged++
	switch {
	case missing > strange:
		v.missed++
	case strange > missing:
		v.doubled++
	case missing > 0:
		v.mixed++
	}
}

// judged is how many events the programs have judged so far.
func (l *ledger) judged() (sum uint64) {
	for at := 0; at < l.tallies.len(); at += tallyWords {
		sum += l.tallies.load(at)
	}
	return sum
}

// verdicts adds up what the programs saw, and describes the first event of each CPU that was wrong.
func (l *ledger) verdicts() (sum verdicts, first []string) {
	for at := 0; at < l.tallies.len(); at += tallyWords {
		y := *(*harness.HarnessTally)(unsafe.Pointer(&l.tallies.words[at]))
		sum.add(verdicts{y.Judged, y.Missed, y.Doubled, y.Mixed, y.Backwards, y.Unknown})
		if y.WrongEpoch != 0 {
			first = append(first, fmt.Sprintf("at epoch %d event %d was to pass rules %08b, and passed %08b and, if not 0, version %d",
				y.WrongEpoch, y.WrongKind, y.WrongWanted, y.WrongSeen, y.WrongVersion))
		}
	}
	return sum, first
}

// checked holds the rules that the kernel named for an event of an epoch against what it must
// be judged by. CPUs is where each CPU stands.
func (l *ledger) checked(v *verdicts, cpus map[uint32]uint64, ev *event.Event, named []*rules.Rule) {
	if ev.Epoch < cpus[ev.CPU] {
		v.backwards++
	}
	cpus[ev.CPU] = ev.Epoch
	live, known := l.liveAt(ev.Epoch)
	if !known {
		v.judged++
		v.unknown++
		return
	}
	wanted := make(map[*rules.Rule]bool)
	for _, r := range live.rules {
		if r != nil && r.Plans()[0].Passes(ev) {
			wanted[r] = true
		}
	}
	strange := 0
	for _, r := range named {
		if !wanted[r] {
			strange++
		}
		delete(wanted, r)
	}
	v.count(len(wanted), strange)
}

// hasty makes the kernel do without grace periods: each commit clears at once what the ones
// before it have made dead.
func (l *ledger) hasty() {
	inner := l.inner
	l.inner = func() error {
		l.k.clear(l.k.takeBurial(), false)
		if inner != nil {
			return inner()
		}
		return nil
	}
}
