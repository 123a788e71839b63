package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"bittern/internal/event"
)

// flood opens a file many times, on as many threads at once as args[1] says. args[0] is the
// directory, args[2] how often each thread opens its file.
func flood(args []string) error {
	threads, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	times, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	errs := make([]error, threads)
	var opening sync.WaitGroup
	for i := range threads {
		opening.Go(func() {
			errs[i] = onThread(func() error {
				for range times {
					fd, err := unix.Open(filepath.Join(args[0], strconv.Itoa(i)), unix.O_RDONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
					if err != nil {
						return err
					}
					unix.Close(fd)
				}
				return nil
			})
		})
	}
	opening.Wait()
	return errors.Join(errs...)
}

// burst is how many records a slow reader reads before it waits.
const burst = 32

// slowReader reads what a reader has that is slower than the events: now and then it takes the
// next record only when another one has found no room, or the flood has ended.
func slowReader(t *testing.T, k *Kernel, ended <-chan struct{}) (all []Match) {
	lost := func() uint64 {
		c, err := k.Counters()
		if err != nil {
			t.Error(err)
		}
		return c.Total().LostRingFull
	}
	r := k.Reader()
	for seen := uint64(0); ; {
		m, err := r.Next()
		if errors.Is(err, os.ErrClosed) {
			return all
		}
		if err != nil {
			t.Error(err)
			return all
		}
		all = append(all, m)
		if len(all)%burst == 0 {
			seen = lost()
		}
		for running := len(all)%burst == 0; running && lost() == seen; {
			select {
			case <-ended:
				running = false
			default:
			}
		}
	}
}

// numbered is one CPU's count of the records of a class.
type numbered struct {
	class event.Class
	cpu   uint32
}

// TestLossIsExact floods a small ring with events of two classes while a reader lags behind:
// those that were read and those that the counters say were lost are all that happened, and so
// do the gaps in the sequence numbers of each CPU say.
func TestLossIsExact(t *testing.T) {
	const threads, times = 4, 500
	rounds := uint64(10)
	if testing.Short() {
		rounds = 2
	}
	k, cgroup := openForTest(t, Config{RingBytes: 16384})
	dir := tempDir(t)
	watch(t, k, event.FileOpen, "  s: {file.path|startswith: "+dir+"/}")
	watch(t, k, event.ProcessExec, anything)
	ended := make(chan struct{})
	var all []Match
	var reading sync.WaitGroup
	reading.Go(func() { all = slowReader(t, k, ended) })
	for range rounds {
		mustRun(t, in(cgroup, actCommand(t, "flood", dir, fmt.Sprint(threads), fmt.Sprint(times))))
	}
	close(ended)
	counters, err := k.Counters()
	if err != nil {
		t.Fatal(err)
	}
	k.Stop()
	reading.Wait()

	read := make(map[event.Class]uint64)
	numbers := make(map[numbered]map[uint64]bool)
	for _, m := range all {
		ev := m.Event
		read[ev.Class]++
		at := numbered{ev.Class, ev.CPU}
		if numbers[at] == nil {
			numbers[at] = make(map[uint64]bool)
		}
		if numbers[at][ev.Sequence] {
			t.Errorf("%+v has the number %d twice", at, ev.Sequence)
		}
		numbers[at][ev.Sequence] = true
	}
	for class, made := range map[event.Class]uint64{event.ProcessExec: rounds, event.FileOpen: rounds * threads * times} {
		c := counters.Classes[class]
		got := read[class] + c.LostRingFull + c.LostBusy
		t.Logf("%s: %d read, %+v", class, read[class], c)
		// What is skipped may be of processes that are not watched.
		if got > made || got+c.LostSkipped < made {
			t.Errorf("%s: %d read and %+v lost of %d", class, read[class], c, made)
		}
		if class == event.FileOpen && c.LostRingFull == 0 {
			t.Error("the ring did not overflow")
		}
		if missing := missingNumbers(t, k, class, numbers); missing != c.LostRingFull {
			t.Errorf("%s: %d sequence numbers are missing, and %d records were lost", class, missing, c.LostRingFull)
		}
	}
}

// missingNumbers counts the sequence numbers of a class that were given and did not arrive.
func missingNumbers(t *testing.T, k *Kernel, class event.Class, arrived map[numbered]map[uint64]bool) (missing uint64) {
	t.Helper()
	var last []uint64
	if err := k.maps.Sequences.Lookup(uint32(class), &last); err != nil {
		t.Fatal(err)
	}
	for cpu, n := range last {
		got := arrived[numbered{class, uint32(cpu)}]
		for number := range got {
			if number == 0 || number > n {
				t.Errorf("CPU %d gave the number %d of %d", cpu, number, n)
			}
		}
		missing += n - uint64(len(got))
	}
	return missing
}
