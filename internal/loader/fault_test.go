package loader

import (
	"flag"
	"log/slog"
	"runtime"
	"slices"
	"testing"

	"bittern/internal/require"
)

var faults = flag.Int("faults", 211, "TestWriterEndsAnywhere lets the writer end at each so many of its steps; 1 is all")

// TestWriterEndsAnywhere ends the writer before each of the stores by which it commits and
// reclaims, as a kill would. Whatever it leaves, programs go on to judge each event by exactly the
// versions that were live: nothing that is half-staged is ever seen, for no other commit
// comes. (Who takes over makes tables of its own, see takeover.go.)
func TestWriterEndsAnywhere(t *testing.T) {
	require.Kernel(t, LeastKernel)
	require.BPF(t)
	steps := 0
	for end, ended := 1, true; ended; end += *faults {
		ended = endWriter(t, end)
		if t.Failed() {
			t.Fatalf("after step %d", end)
		}
		steps = end
	}
	if steps < 500 {
		t.Errorf("the writer made only %d steps", steps)
	}
	t.Logf("the writer was ended at every %dth of its %d steps", *faults, steps)
}

// endWriter ends the writer before the given step, and reports whether it came so far.
func endWriter(t *testing.T, end int) (ended bool) {
	cfg := Config{Slots: 32, Keys: 128, Cells: 512, RingBytes: 4096, Log: slog.New(slog.DiscardHandler)}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	k, err := load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}()
	c := newCourt(t, k)
	defer c.close()
	// The reclaimer's part is done between the commits, by the same writer.
	k.stopping.Do(func() { close(k.stop) })
	k.done.Wait()
	k.index.maxIdle = 2

	commit := func(n int) {
		a := parseRule(t, ruleText("A", n+1, hitting(curlSubject, n)))
		b := parseRule(t, ruleText("B", n+1, hitting(curlSubject, n*5+2)))
		if _, err := k.Commit(Swap{"A", a}, Swap{"B", b}); err != nil {
			t.Error(err)
		}
	}
	commit(0)
	done := 0
	for _, w := range k.memory {
		w.step = func() {
			if done++; done == end {
				ended = true
				runtime.Goexit() // this gives locks back, but nothing else
			}
		}
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for n := 1; n <= 2*waysToHit; n++ {
			commit(n)
			reclaimForTest(t, k)
		}
	}()
	<-finished
	for _, w := range k.memory {
		w.step = nil
	}
	c.file(0, curl())
	defer pin(t, 0)()
	epoch, ids := c.judge(t, c.objects.Judge, 0)
	slices.Sort(ids)
	var want []uint64
	for _, v := range k.versions.known() {
		if v.born <= epoch && epoch < v.died {
			want = append(want, v.id)
		}
	}
	if epoch != k.epoch() || len(want) != 2 || !slices.Equal(slices.Compact(ids), want) {
		t.Errorf("epoch %d: judged by versions %v at epoch %d, want %v", k.epoch(), ids, epoch, want)
	}
	return ended
}

func reclaimForTest(t *testing.T, k *Kernel) {
	k.writer.Lock()
	defer k.writer.Unlock()
	if err := k.reclaimNow(); err != nil {
		t.Error(err)
	}
	if err := k.index.evict(); err != nil {
		t.Error(err)
	}
}
